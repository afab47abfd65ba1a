//! Enforcement of waypoints: ports of workloads to which only waypoints may connect.
//!
//! ```text
//! requirements of services and workload ─▶ WaypointEnforcement ─┬▶ name, which the workload lists
//!                                                               └▶ while any lists it: DENY policy
//! ```
//!
//! A port is restricted if a binding that covers it requires its waypoint: that of a service covers the
//! ports to which the service leads, that of a workload covers all. To a restricted port every waypoint
//! may connect through which a binding leads to it, and nobody else. So of two services with one
//! port, where one requires its waypoint, the other is reached through a waypoint or not at all.
//!
//! An enforcement names waypoints, not accounts: pods of a waypoint that come and go change one policy and
//! no workload.

mod finding;
mod tables;
mod target;

pub(crate) use finding::Finding;
pub(crate) use tables::{EnforcementTables, Enforcements};
pub(crate) use target::EnforcementTarget;
