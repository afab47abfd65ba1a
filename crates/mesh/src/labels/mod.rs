//! What labels and annotations of the mesh say, wherever they stand: on an object or on its namespace.

mod traffic;
mod waypoint;

pub(crate) use traffic::{INGRESS_LABEL, annotated};
pub(crate) use waypoint::{CanaryLabels, CanaryRef, REQUIRE_ANNOTATION, Require, UseWaypoint};
