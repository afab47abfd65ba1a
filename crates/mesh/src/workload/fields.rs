//! Fields that workloads of all sources have, as sent.

use model::facts::Meta;
use model::{Labels, Str};
use proto::workload::{Port, PortList, TunnelProtocol, WorkloadStatus};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::service::ServiceView;

const TUNNEL_LABEL: &str = "networking.istio.io/tunnel";
const CANONICAL_NAME_LABELS: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const CANONICAL_REVISION_LABELS: [&str; 3] =
    ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];

/// Services as workloads list them.
pub(super) fn sent_services(
    services: impl IntoIterator<Item = (Arc<ServiceView>, PortList)>,
) -> BTreeMap<String, PortList> {
    services.into_iter().map(|(service, ports)| (service.key.to_string(), ports)).collect()
}

/// Tells whether a ztunnel stands before the workload: not before one that takes HBONE itself.
pub(super) fn is_captured(tunnel: TunnelProtocol, native: bool) -> bool {
    tunnel == TunnelProtocol::Hbone && !native
}

pub(super) fn status(ready: bool) -> i32 {
    if ready { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy }.into()
}

/// A ztunnel forgets an unhealthy endpoint of a service that wants only healthy ones. When the
/// service begins to want all, the workload must come again although it is the same.
pub(super) fn salt<'s>(ready: bool, services: impl Iterator<Item = &'s ServiceView> + Clone) -> u64 {
    if ready || !services.clone().any(|s| s.allow_all) {
        return 0;
    }
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    for service in services.filter(|s| s.allow_all) {
        hasher.write(service.key.as_bytes());
    }
    hasher.finish() | 1
}

/// Tells whether an object other than a pod says that the CNI agent has captured it.
pub(super) fn is_redirected(meta: &Meta) -> bool {
    meta.annotations.get("ambient.istio.io/redirection").is_some_and(|v| v == "enabled")
}

/// What the CNI agent has captured speaks HBONE; a proxy may also say so by its label, and then
/// takes HBONE itself.
pub(super) fn tunnel(captured: bool, labels: &Labels) -> (TunnelProtocol, bool) {
    let native = labels.get(TUNNEL_LABEL).is_some_and(|list| list.split(',').any(|t| t == "http"));
    let protocol = if captured || native { TunnelProtocol::Hbone } else { TunnelProtocol::None };
    (protocol, native)
}

pub(super) fn canonical<'a>(labels: &'a Labels, workload_name: &'a Str) -> (&'a str, &'a str) {
    let first = |keys: [&str; 3]| keys.into_iter().find_map(|k| labels.get(k));
    (
        first(CANONICAL_NAME_LABELS).unwrap_or(workload_name),
        first(CANONICAL_REVISION_LABELS).map_or("latest", |v| v.as_str()),
    )
}

pub(super) fn port(service_port: u16, target_port: u16) -> Port {
    Port { service_port: u32::from(service_port), target_port: u32::from(target_port), app_protocol: 0 }
}
