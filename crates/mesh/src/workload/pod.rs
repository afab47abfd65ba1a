//! Pods as sent.

use engine::{Cx, Table};
use model::facts::{Phase, Pod, TargetPort};
use model::{Kind, Name, Ns, ObjectRef, Str};
use output::Encoded;
use proto::workload::{self, NetworkMode, PortList, WorkloadType};
use std::sync::Arc;

use super::fields::{canonical, is_captured, port, salt, sent_services, status, tunnel};
use super::inputs::{Around, Inputs, NamespaceContext, Shared, SliceTarget};
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
        if pod.phase == Phase::Done {
            return None;
        }
        let Some(namespace_context) = cx.memo(around.namespace_context, &name.ns) else {
            self.left_out.tell(cx, name, pod);
            return None;
        };
        if pod.ips.is_empty() {
            return None;
        }
        let NamespaceContext { view, inherited, has_slice_targets } = &*namespace_context;
        let is_used = self.is_used(cx, name, pod);
        let selected = Selected { ns: name.ns.clone(), labels: pod.labels.clone() };
        let by_selector = cx.memo(self.selected_services, &selected).map(|s| s.0.clone()).unwrap_or_default();
        let by_selector = by_selector.into_iter().filter(|of| self.entries_select_pods || !of.is_entry);
        let mut members: Vec<Membership> =
            by_selector.map(|service| Membership::by_selector(service, pod, is_used)).collect();
        if *has_slice_targets {
            self.add_targeted(cx, around, name, pod, &mut members);
        }
        let shared = cx.single(shared)?;
        let (tunnel, native) = tunnel(pod.captured, &pod.labels);
        let (waypoint, application_tunnel) = self.waypoint(cx, &name.ns, &pod.labels, inherited);
        let is_healthy = is_used || members.iter().any(|member| member.is_ready);
        // A workload has one status. Where the services differ, it is left out of those for which it is not
        // ready, unless they want it all the same.
        let is_sent = |m: &Membership| m.is_ready || !is_healthy || m.service.allow_all;
        let unused: Vec<usize> =
            members.iter().enumerate().filter(|(_, m)| !is_sent(m)).map(|(at, _)| at).collect();
        let services: Vec<_> = members.into_iter().map(|m| (m.service, m.ports)).collect();
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
        let sent: Vec<_> = services
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !unused.contains(at))
            .map(|(_, of)| of)
            .collect();
        let salt = salt(is_healthy, sent.iter().map(|(service, _)| &**service));
        let sent = workload::Workload {
            uid: key::pod_uid(&self.cluster, name),
            name: name.name.to_string(),
            namespace: name.ns.to_string(),
            addresses: pod.ips.iter().map(ip_bytes).collect(),
            network: shared.network.to_string(),
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
            services: sent_services(sent),
            authorization_policies: listed,
            status: status(is_healthy),
            cluster_id: key::cluster_id(&self.cluster, &name.ns).to_string(),
            locality: self.locality(cx, &name.ns, &pod.node),
            network_mode: if pod.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard }
                .into(),
            ..Default::default()
        };
        Some(encode::workload(sent, salt))
    }

    /// Adds what slices say that decide about their services and name the pod.
    fn add_targeted(
        &self,
        cx: &Cx<'_>,
        around: Around,
        name: &Name,
        pod: &Pod,
        members: &mut Vec<Membership>,
    ) {
        for (_, target) in cx.lookup(around.by_pod, name) {
            if target.of.is(pod.uid, &pod.ips)
                && let Some(service) = cx.get(self.services.views, &target.service)
            {
                match members.iter_mut().find(|member| member.service.key == service.key) {
                    Some(member) => member.join(&target),
                    None => members.push(Membership {
                        service,
                        ports: target.ports.clone(),
                        is_ready: target.is_ready,
                        is_selected: false,
                    }),
                }
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

/// A service that a pod belongs to.
struct Membership {
    service: Arc<ServiceView>,
    ports: PortList,
    /// Whether it is to be used for the service.
    is_ready: bool,
    /// Whether by the selector of the service.
    is_selected: bool,
}

impl Membership {
    fn by_selector(service: Arc<ServiceView>, pod: &Pod, is_ready: bool) -> Self {
        let ports = pod_ports(&service, pod);
        Self { service, ports, is_ready, is_selected: true }
    }

    /// Adds what a slice says. Of ready endpoints a hand-made slice goes before the selector, and of two
    /// slices the first before the other: a ztunnel takes one port of a pod for each of the service.
    fn join(&mut self, target: &SliceTarget) {
        if !target.is_ready {
            return;
        }
        if !self.is_ready {
            self.ports = target.ports.clone();
            (self.is_ready, self.is_selected) = (true, false);
            return;
        }
        for port in &target.ports.ports {
            let same = self.ports.ports.iter_mut().find(|own| own.service_port == port.service_port);
            match same {
                Some(own) if self.is_selected => own.target_port = port.target_port,
                Some(_) => {}
                None => self.ports.ports.push(*port),
            }
        }
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
