//! Annotations.

/// The annotations that are read anywhere in the mesh; no other reaches the facts.
pub const ANNOTATIONS: &[&str] = &[
    REDIRECTION,
    "ambient.istio.io/waypoint-inbound-binding",
    "ambient.pilothouse.io/require-waypoint",
    "gateway.istio.io/service-account",
    "istio.io/autoRegistrationGroup",
    "istio.io/connect-strategy",
    DRY_RUN,
    "istio.io/ignore-policy-attachment",
    "istio.io/use-waypoint-canary-weight",
    "networking.istio.io/traffic-distribution",
];

/// The annotation by which the CNI agent tells that a pod is captured.
pub(super) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The annotation that makes a policy log only.
pub(super) const DRY_RUN: &str = "istio.io/dry-run";
