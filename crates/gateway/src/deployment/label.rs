//! The labels by which what is deployed is found.

/// The label with the name of the Gateway.
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label without which an object is somebody else's.
pub const MANAGED: &str = "gateway.istio.io/managed";
