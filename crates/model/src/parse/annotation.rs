//! Annotations.

/// The annotation by which the CNI agent tells that a pod is captured.
pub(super) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The annotation that makes a policy log only.
pub(super) const DRY_RUN: &str = "istio.io/dry-run";
