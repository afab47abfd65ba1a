//! Waypoints: which gateways are one, who is bound to which, and who requires one.

mod behind;
mod bind;
mod gateway;
mod implicit_allow;
mod require;
mod unbound;

pub(crate) use behind::{BehindWaypoint, BehindWaypoints};
pub(crate) use bind::{BindError, Binder, Bound, Inherited, Route};
pub use gateway::Families;
pub(crate) use gateway::{
    Binding, GATEWAY_NAME_LABEL, HBONE_PORT, Instances, Leaving, WAYPOINT_CONTROLLER, Waypoint, declare,
    declare_instances, declare_traffic,
};
pub(crate) use implicit_allow::ImplicitAllowPolicies;
pub(crate) use require::{WaypointRequirement, WorkloadMeta};
pub(crate) use unbound::UnboundWorkloads;
