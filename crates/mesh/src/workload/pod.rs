//! Pods as sent.

use engine::{Cx, Table};
use model::facts::{Phase, Pod, TargetPort};
use model::{Kind, Name, Ns, ObjectRef, Str};
use output::Encoded;
use proto::workload::{self, NetworkMode, PortList, WorkloadType};
use std::sync::Arc;

use super::fields::{canonical, is_captured, port, salt, sent_services, status, tunnel};
use super::inputs::{Around, Inputs, NamespaceContext, Shared};
use crate::encode::{self, ip_bytes};
use crate::enforcement::EnforcementTarget;
use crate::key::{self, Selected};
use crate::service::ServiceView;
use crate::waypoint::{WaypointRequirement, WorkloadMeta};

impl Inputs {
    pub(super) fn pod(
        &self,
        cx: &Cx<'_>,
        around: Around,
        shared: Table<(), Shared>,
        name: &Name,
        pod: &Pod,
    ) -> Option<Encoded> {
        if pod.phase == Phase::Done || pod.ips.is_empty() {
            return None;
        }
        let namespace_context = cx.memo(around.namespace_context, &name.ns)?;
        let NamespaceContext { view, inherited, has_slice_targets } = &*namespace_context;
        let selected = Selected { ns: name.ns.clone(), labels: pod.labels.clone() };
        let mut services =
            cx.memo(self.selected_services, &selected).map(|s| s.0.clone()).unwrap_or_default();
        services.retain(|service| self.entries_select_pods || !service.is_entry);
        if *has_slice_targets {
            self.add_targeted(cx, around, name, pod, &mut services);
        }
        let shared = cx.single(shared)?;
        let (tunnel, native) = tunnel(pod.captured, &pod.labels);
        let (waypoint, application_tunnel) = self.waypoint(cx, &name.ns, &pod.labels, inherited);
        let salt = salt(pod.ready, &services);
        let services: Vec<_> = services
            .into_iter()
            .map(|service| {
                let ports = pod_ports(&service, pod);
                (service, ports)
            })
            .collect();
        let meta = WorkloadMeta {
            ns: &name.ns,
            labels: &pod.labels,
            annotations: &pod.annotations,
            view,
            inherited,
        };
        let target = EnforcementTarget {
            object: ObjectRef { kind: Kind::Pod, name: name.clone() },
            requirement: WaypointRequirement::of_workload(cx, &self.binder, &meta, self.requires_waypoints),
            services: &services,
            is_captured: is_captured(tunnel, native),
        };
        if let Err(error) = &waypoint {
            let (object, requirement) = (&target.object, target.requirement.as_ref());
            self.unbound.tell(cx, object, None, &pod.labels, requirement, error);
        }
        let listed = self.listed(cx, &selected, &target)?;
        let (canonical_name, canonical_revision) = canonical(&pod.labels, &pod.workload_name);
        let sent = workload::Workload {
            uid: key::pod_uid(&self.cluster, name),
            name: name.name.to_string(),
            namespace: name.ns.to_string(),
            addresses: pod.ips.iter().map(ip_bytes).collect(),
            network: shared.network.to_string(),
            network_gateway: shared.network_gateway.clone(),
            tunnel_protocol: tunnel.into(),
            native_tunnel: native,
            trust_domain: shared.trust_domain.to_string(),
            service_account: pod.service_account.to_string(),
            waypoint: waypoint.ok().flatten().and_then(|w| w.gateway_address()),
            application_tunnel,
            node: pod.node.to_string(),
            canonical_name: canonical_name.to_string(),
            canonical_revision: canonical_revision.to_string(),
            workload_type: WorkloadType::Pod.into(),
            workload_name: pod.workload_name.to_string(),
            services: sent_services(services),
            authorization_policies: listed,
            status: status(pod.ready),
            cluster_id: key::cluster_id(&self.cluster, &name.ns).to_string(),
            locality: self.locality(cx, &name.ns, &pod.node),
            network_mode: if pod.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard }
                .into(),
            ..Default::default()
        };
        Some(encode::workload(sent, salt))
    }

    /// Adds the services without a selector whose slices name the pod by its uid.
    fn add_targeted(
        &self,
        cx: &Cx<'_>,
        around: Around,
        name: &Name,
        pod: &Pod,
        services: &mut Vec<Arc<ServiceView>>,
    ) {
        for (_, target) in cx.lookup(around.by_pod, name) {
            if target.uid == pod.uid
                && let Some(view) = cx.get(self.services.views, &target.service)
                && !services.iter().any(|s| s.key == view.key)
            {
                services.push(view);
            }
        }
    }

    fn locality(&self, cx: &Cx<'_>, ns: &Ns, node: &Str) -> Option<workload::Locality> {
        if node.is_empty() {
            return None;
        }
        let node = cx.get(self.nodes, &Name::in_cluster(ns, node))?;
        let known = !(node.region.is_empty() && node.zone.is_empty() && node.subzone.is_empty());
        known.then(|| workload::Locality {
            region: node.region.to_string(),
            zone: node.zone.to_string(),
            subzone: node.subzone.to_string(),
        })
    }
}

fn pod_ports(service: &ServiceView, pod: &Pod) -> PortList {
    let ports = service.ports.iter().filter_map(|p| {
        let target = match &p.target {
            // A container port of that name goes before the number that an entry gives.
            TargetPort::Number(n) if service.is_entry => pod_port(pod, &p.name).unwrap_or(*n),
            TargetPort::Number(n) => *n,
            TargetPort::Name(name) => pod_port(pod, name)?,
        };
        Some(port(p.port, target))
    });
    PortList { ports: ports.collect() }
}

fn pod_port(pod: &Pod, name: &Str) -> Option<u16> {
    pod.named_ports.iter().find(|(n, _)| n == name).map(|(_, port)| *port)
}
