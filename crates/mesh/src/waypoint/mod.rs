//! Waypoints: which gateways are one, who is bound to which, and who requires one.

mod behind;
mod bind;
mod gateway;
mod implicit_allow;
mod instance;
mod require;
mod unbound;

pub(crate) use behind::{BehindWaypoint, BehindWaypoints};
pub(crate) use bind::{BindError, Binder, Bound, Inherited, Route};
pub use gateway::Families;
pub(crate) use gateway::{
    Binding, HBONE_PORT, Inputs, Instances, Leaving, WAYPOINT_CONTROLLER, Waypoint, declare,
    declare_instances, declare_traffic,
};
pub(crate) use implicit_allow::ImplicitAllowPolicies;
pub(crate) use instance::GATEWAY_NAME_LABEL;
pub use instance::{Detail, Instance, Location, is_live};
pub(crate) use require::{WaypointRequirement, WorkloadMeta};
pub(crate) use unbound::UnboundWorkloads;
