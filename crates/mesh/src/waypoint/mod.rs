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
pub(crate) use gateway::{
    Binding, HBONE_PORT, Inputs, Instances, Leaving, Waypoint, declare, declare_instances, declare_traffic,
    is_edge,
};
pub use gateway::{EDGE_CONTROLLER, Families, WAYPOINT_CONTROLLER};
pub(crate) use implicit_allow::ImplicitAllowPolicies;
pub(crate) use instance::GATEWAY_NAME_LABEL;
pub use instance::{Detail, Instance, Location, is_live};
pub(crate) use require::{WaypointRequirement, WorkloadMeta};
pub(crate) use unbound::UnboundWorkloads;
