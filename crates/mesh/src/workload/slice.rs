//! Endpoints of slices that are no pods, as sent.

use engine::{Cx, Table};
use model::facts::{AddressType, EndpointSlice, EndpointTarget, Protocol};
use model::{Kind, Name, ObjectRef, Str};
use output::Encoded;
use proto::workload::{self, NetworkMode, PortList};

use super::fields::{port, salt, sent_services, status};
use super::inputs::{Inputs, Shared};
use crate::encode::{self, ip_bytes};
use crate::enforcement::EnforcementTarget;
use crate::key;
use crate::service::ServiceView;
use crate::waypoint::WaypointRequirement;

impl Inputs {
    pub(super) fn endpoints(
        &self,
        cx: &Cx<'_>,
        shared: Table<(), Shared>,
        name: &Name,
        slice: &EndpointSlice,
    ) -> Vec<(Str, Encoded)> {
        if slice.service.is_empty() || slice.address_type == AddressType::Fqdn {
            return Vec::new();
        }
        let service = Name { ns: name.ns.clone(), name: slice.service.clone() };
        // A service out of scope has no view, and neither has one that is not sent.
        let Some(service) = cx.get(self.services.views, &service) else { return Vec::new() };
        let Some(shared) = cx.single(shared) else { return Vec::new() };
        let mut rows: Vec<(Str, Encoded)> = Vec::new();
        for endpoint in slice.endpoints.iter().filter(|e| e.target == EndpointTarget::Other) {
            let Some(first) = endpoint.addresses.first() else { continue };
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
            let salt = salt(endpoint.ready, std::slice::from_ref(&service));
            // Of endpoints with one first address the engine keeps the first.
            rows.push((Str::from(uid), encode::workload(sent, salt)));
        }
        rows
    }
}

/// Joins the slice's explicit TCP ports to the service's by name.
fn slice_ports(service: &ServiceView, slice: &EndpointSlice) -> PortList {
    let ports = slice.ports.iter().filter_map(|p| {
        let (Some(name), Some(target), Some(Protocol::Tcp)) = (&p.name, p.port, p.protocol) else {
            return None;
        };
        let of = service.ports.iter().find(|s| s.name == *name)?;
        Some(port(of.port, target))
    });
    PortList { ports: ports.collect() }
}
