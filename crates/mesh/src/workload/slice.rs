//! Endpoints of slices that are no pods, as sent.

use engine::{Cx, Memo, Table};
use model::facts::{AddressType, Endpoint, EndpointSlice, EndpointTarget, Protocol};
use model::{Kind, Name, ObjectRef, Str};
use output::Encoded;
use proto::workload::{self, NetworkMode, PortList};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::fields::{port, salt, sent_services, status};
use super::inputs::{Inputs, NamedPod, PodTarget, Shared};
use crate::encode::{self, ip_bytes};
use crate::enforcement::EnforcementTarget;
use crate::key;
use crate::service::{ServiceView, Services};
use crate::waypoint::WaypointRequirement;

/// Returns the service of a slice, if clients are sent it and the slice decides about its endpoints: where
/// the service selects pods, the slices of the controller only repeat what the selector says.
pub(super) fn deciding(
    cx: &Cx<'_>,
    services: Services,
    service: &Name,
    slice: &EndpointSlice,
) -> Option<Arc<ServiceView>> {
    let view = sent(cx, services, service, slice)?;
    (!slice.follows_selector || view.selector.is_empty()).then_some(view)
}

/// A service out of scope has no view, and neither has one that is not sent.
fn sent(cx: &Cx<'_>, services: Services, service: &Name, slice: &EndpointSlice) -> Option<Arc<ServiceView>> {
    if slice.service.is_empty() || slice.address_type == AddressType::Fqdn {
        return None;
    }
    cx.get(services.views, service)
}

impl Inputs {
    pub(super) fn endpoints(
        &self,
        cx: &Cx<'_>,
        shared: Table<(), Shared>,
        named_pods: Memo<Name, NamedPod>,
        name: &Name,
        slice: &EndpointSlice,
    ) -> Vec<(Str, Encoded)> {
        let service = Name { ns: name.ns.clone(), name: slice.service.clone() };
        let Some(service) = sent(cx, self.services, &service, slice) else { return Vec::new() };
        let follows_selector = slice.follows_selector && !service.selector.is_empty();
        // Of a pod there is much more to tell, so an endpoint that is one is left to it.
        let is_pod = |endpoint: &Endpoint| match &endpoint.target {
            EndpointTarget::Other => false,
            EndpointTarget::Pod { .. } if follows_selector => true,
            EndpointTarget::Pod { name, uid } => {
                let target = PodTarget { uid: *uid, addresses: endpoint.addresses.to_vec() };
                cx.memo(named_pods, name).is_some_and(|pod| target.is(pod.uid, &pod.ips))
            }
        };
        let (pods, others): (Vec<_>, Vec<_>) = slice.endpoints.iter().partition(|e| is_pod(e));
        let of_pods: BTreeSet<IpAddr> = pods.into_iter().flat_map(|e| e.addresses.iter().copied()).collect();
        let Some(shared) = cx.single(shared) else { return Vec::new() };
        let mut rows: Vec<(Str, Encoded)> = Vec::new();
        for endpoint in others {
            let Some(first) = endpoint.addresses.first().filter(|first| !of_pods.contains(first)) else {
                continue;
            };
            let uid = key::slice_endpoint_uid(&self.cluster, name, first);
            let services = [(service.clone(), slice_ports(&service, slice))];
            let target = EnforcementTarget {
                object: ObjectRef { kind: Kind::EndpointSlice, name: name.clone() },
                requirement: Some(WaypointRequirement::default()),
                services: &services,
                is_captured: false,
            };
            let listed = self.enforcements.listed(cx, &target);
            let sent = workload::Workload {
                uid: uid.clone(),
                name: name.name.to_string(),
                namespace: name.ns.to_string(),
                addresses: endpoint.addresses.iter().map(ip_bytes).collect(),
                network: shared.network.to_string(),
                trust_domain: shared.trust_domain.to_string(),
                authorization_policies: listed.iter().map(|name| name.to_string()).collect(),
                services: sent_services(services),
                status: status(endpoint.ready),
                cluster_id: key::cluster_id(&self.cluster, &name.ns).to_string(),
                network_mode: NetworkMode::HostNetwork.into(),
                ..Default::default()
            };
            let salt = salt(endpoint.ready, std::iter::once(&*service));
            // Of endpoints with one first address the engine keeps the first.
            rows.push((Str::from(uid), encode::workload(sent, salt)));
        }
        rows
    }
}

/// Joins the slice's explicit TCP ports to the service's by name.
pub(super) fn slice_ports(service: &ServiceView, slice: &EndpointSlice) -> PortList {
    let ports = slice.ports.iter().filter_map(|p| {
        let (Some(name), Some(target), Some(Protocol::Tcp)) = (&p.name, p.port, p.protocol) else {
            return None;
        };
        let of = service.ports.iter().find(|s| s.name == *name && s.is_tcp)?;
        Some(port(of.port, target))
    });
    PortList { ports: ports.collect() }
}
