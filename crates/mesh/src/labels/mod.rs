//! What labels and annotations of the mesh say, wherever they stand: on an object or on its namespace.

mod traffic;
mod waypoint;

pub(crate) use traffic::{INGRESS_LABEL, annotated};
pub(crate) use waypoint::{CanaryRef, REQUIRE_ANNOTATION, Require, UseWaypoint};
