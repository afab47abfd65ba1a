//! Gateways, routes, statuses and waypoints as people look at them: pages and the command show the same.

mod gateways;
mod routes;
mod statuses;
mod waypoints;

pub use gateways::{GatewayView, ListenerView};
pub use routes::{BackendView, ParentView, RouteRows, RouteView};
pub use statuses::{ObjectName, StatusRows, StatusView};
pub(crate) use waypoints::plural;
pub use waypoints::{
    ConfigView, RefusedRows, RefusedView, ReplicaView, Sent, WaypointRows, WaypointView, find_waypoint,
};

use plane::Condition;

/// Types of conditions that say that something is wrong when they are `True`.
const NEGATIVE: [&str; 3] = ["Conflicted", "InsecureFrontendValidationMode", "PartiallyInvalid"];

/// Says what conditions say that is wrong.
fn problems<'c>(conditions: impl IntoIterator<Item = &'c Condition>) -> Vec<String> {
    let is_wrong = |of: &&Condition| of.status == NEGATIVE.contains(&of.kind);
    let told = conditions.into_iter().filter(is_wrong);
    told.map(|of| format!("{} ({}): {}", of.kind, of.reason, of.message)).collect()
}
