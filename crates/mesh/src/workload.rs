//! Workloads as sent: pods, and endpoints that are no pods.

mod entry;

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{
    AddressType, EndpointSlice, EndpointTarget, Meta, Node, Phase, Pod, Protocol, TargetPort, WorkloadEntry,
};
use model::{Kind, Labels, Name, Ns, ObjectRef, Str};
use output::{Encoded, Outputs, Resource};
use proto::ResourceType;
use proto::workload::{self, NetworkMode, Port, PortList, TunnelProtocol, WorkloadStatus, WorkloadType};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::encode::{self, ip_bytes};
use crate::guard::{Guarded, Guards};
use crate::key::{self, Selected};
use crate::namespace::NamespaceView;
use crate::network::Networks;
use crate::rank;
use crate::selection::SelectedServices;
use crate::service::{ServiceView, Services};
use crate::service_entry::Entries;
use crate::settings::Settings;
use crate::waypoint::{
    BindError, Binder, Demand, GATEWAY_NAME_LABEL, Inherited, Passes, UnboundWorkloads, Waypoint,
    WorkloadMeta,
};

pub(crate) use entry::EntryWorkload;

const TUNNEL_LABEL: &str = "networking.istio.io/tunnel";
const CANONICAL_NAME_LABELS: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const CANONICAL_REVISION_LABELS: [&str; 3] =
    ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];

/// A pod named by an endpoint slice of a service that selects nothing itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SliceTarget {
    pub pod: Name,
    pub uid: u128,
    pub service: Name,
}

/// What workloads are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub cluster: Str,
    pub pods: Table<Name, Pod>,
    pub nodes: Table<Name, Node>,
    pub slices: Table<Name, EndpointSlice>,
    pub entries: Entries,
    pub workload_entries: Table<Name, WorkloadEntry>,
    /// Whether an object belongs to the revision served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
    pub namespaces: Memo<Ns, NamespaceView>,
    pub settings: Settings,
    pub services: Services,
    pub networks: Networks,
    pub binder: Binder,
    pub passes: Option<Passes>,
    pub guards: Guards,
    pub unbound: UnboundWorkloads,
    /// Whether waypoints are required, where no annotation says otherwise.
    pub requires_waypoints: bool,
    pub selected_services: Memo<Selected, SelectedServices>,
    /// Whether ServiceEntries select pods.
    pub entries_select_pods: bool,
    /// Whether Services select WorkloadEntries.
    pub services_select_entries: bool,
    /// Whether workloads of other networks are summed up behind the gateways of those networks.
    pub multi_network: bool,
    pub selected_policies: Memo<Selected, Vec<Str>>,
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Workloads {
    pub pods: Table<Name, Encoded>,
    /// By resource name, as the following.
    pub entries: Table<Str, EntryWorkload>,
    pub inline: Table<Str, EntryWorkload>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: Inputs) -> Workloads {
    let services = inputs.services;
    // Slices of a service with a selector repeat what the selector says; only the others count.
    let targets = b.expand("slice_targets", inputs.slices, move |cx, name, slice| {
        let service = Name { ns: name.ns.clone(), name: slice.service.clone() };
        let is_plain = !slice.service.is_empty()
            && cx.get(services.views, &service).is_some_and(|v| v.selector.is_empty());
        let pods = slice.endpoints.iter().filter(|_| is_plain).filter_map(|e| match &e.target {
            EndpointTarget::Pod { name: pod, uid } => Some((pod.clone(), *uid)),
            EndpointTarget::Other => None,
        });
        pods.map(|(pod, uid)| {
            ((name.clone(), pod.clone(), uid), SliceTarget { pod, uid, service: service.clone() })
        })
        .collect()
    });
    let by_pod = b.index(targets, "slice_target_by_pod", |_, t: &SliceTarget| [t.pod.clone()]);
    let by_ns = b.index(targets, "slice_target_by_namespace", |_, t: &SliceTarget| [t.pod.ns.clone()]);
    // Asked once for a namespace, and not by each of its workloads.
    let (namespaces, binder) = (inputs.namespaces, inputs.binder);
    let surroundings = b.memo("surroundings", move |cx, ns: &Ns| {
        let view = cx.memo(namespaces, ns).filter(|view| view.in_scope)?;
        let inherited = binder.inherited(cx, ns, &view);
        Some(Surroundings { view, inherited, has_slice_targets: cx.any(by_ns, ns) })
    });
    let around = Around { surroundings, by_pod };
    let shared = shared_fields(b, inputs.settings, inputs.networks);
    let slices = inputs.slices;
    let of_pods = inputs.clone();
    let pods = b.derive("pod_workloads", inputs.pods, move |cx, name, pod| {
        of_pods.pod(cx, around, shared, name, pod)
    });
    let of_entries = inputs.clone();
    let entries = b.expand("entry_workloads", inputs.workload_entries, move |cx, name, entry| {
        of_entries.workload_entry(cx, surroundings, name, entry)
    });
    let of_inline = inputs.clone();
    let inline = b.expand("inline_workloads", inputs.entries.entries, move |cx, name, entry| {
        of_inline.service_entry(cx, surroundings, name, entry)
    });
    let cluster = inputs.cluster.clone();
    let endpoints = b.expand("endpoint_workloads", slices, move |cx, name, slice| {
        inputs.endpoints(cx, shared, name, slice)
    });
    out.resources(b, pods, ResourceType::Address, rank::POD, move |name, encoded| {
        Some(Resource::new(key::pod_uid(&cluster, name), encoded))
    });
    EntryWorkload::declare_output(b, out, entries, rank::WORKLOAD_ENTRY);
    EntryWorkload::declare_output(b, out, inline, rank::INLINE_ENDPOINT);
    out.resources(b, endpoints, ResourceType::Address, rank::SLICE_ENDPOINT, |uid, encoded| {
        Some(Resource::new(uid.as_str(), encoded))
    });
    Workloads { pods, entries, inline }
}

/// What a namespace says of its workloads.
#[derive(Clone, PartialEq, Debug)]
struct Surroundings {
    view: Arc<NamespaceView>,
    inherited: Inherited,
    /// Whether slices of services without selectors name any of its pods.
    has_slice_targets: bool,
}

/// Where pods find what is around them.
#[derive(Clone, Copy)]
struct Around {
    /// Of namespaces in scope.
    surroundings: Memo<Ns, Surroundings>,
    by_pod: Index<Name, (Name, Name, u128), SliceTarget>,
}

/// What all workloads of the cluster have in common.
#[derive(Clone, PartialEq, Debug)]
struct Shared {
    network: Str,
    network_gateway: Option<workload::GatewayAddress>,
    trust_domain: Str,
}

fn shared_fields(b: &mut Builder, settings: Settings, networks: Networks) -> Table<(), Shared> {
    b.single("workload_shared", move |cx| {
        let network = cx.single(settings.network).map(|n| (*n).clone()).unwrap_or_default();
        Shared {
            network_gateway: networks.gateway(cx, &network),
            network,
            trust_domain: cx.single(settings.sent_trust_domain).map(|d| (*d).clone()).unwrap_or_default(),
        }
    })
}

impl Inputs {
    fn pod(
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
        let surroundings = cx.memo(around.surroundings, &name.ns)?;
        let Surroundings { view, inherited, has_slice_targets } = &*surroundings;
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
        let guarded = Guarded {
            object: ObjectRef { kind: Kind::Pod, name: name.clone() },
            demand: Demand::of_workload(cx, &self.binder, &meta, self.requires_waypoints),
            services: &services,
            is_captured: is_captured(tunnel, native),
        };
        if let Err(error) = &waypoint {
            let (object, demand) = (&guarded.object, guarded.demand.as_ref());
            self.unbound.tell(cx, object, None, &pod.labels, demand, error);
        }
        let listed = self.listed(cx, &selected, &guarded)?;
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

    /// The names of the policies that a workload lists, in the order in which it lists them.
    fn listed(&self, cx: &Cx<'_>, selected: &Selected, guarded: &Guarded<'_>) -> Option<Vec<String>> {
        let policies = cx.memo(self.selected_policies, selected)?;
        let mut listed: Vec<String> = policies.iter().map(|p| p.to_string()).collect();
        if let Some(passes) = &self.passes {
            let own = guarded.demand.iter().flat_map(|demand| &demand.route);
            let of_services = guarded.services.iter().flat_map(|(s, _)| &s.demand.route);
            let names = passes.names(cx, &self.binder, &selected.ns, own.chain(of_services));
            listed.extend(names.iter().map(|n| n.to_string()));
        }
        listed.extend(self.guards.listed(cx, guarded).map(|name| name.to_string()));
        Some(listed)
    }

    /// An instance of a gateway has that gateway's tunnel and no waypoint of its own.
    fn waypoint(
        &self,
        cx: &Cx<'_>,
        ns: &Ns,
        labels: &Labels,
        inherited: &Inherited,
    ) -> (Result<Option<Arc<Waypoint>>, BindError>, Option<workload::ApplicationTunnel>) {
        if let Some(gateway) = labels.get(GATEWAY_NAME_LABEL) {
            let gateway = Name { ns: ns.clone(), name: gateway.clone() };
            if let Some(instance_of) = cx.get(self.binder.waypoints, &gateway) {
                return (Ok(None), instance_of.application_tunnel());
            }
        }
        (self.binder.bind_workload(cx, labels, ns, inherited), None)
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

    fn endpoints(
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
            let guarded = Guarded {
                object: ObjectRef { kind: Kind::EndpointSlice, name: name.clone() },
                demand: Some(Demand::default()),
                services: &services,
                is_captured: false,
            };
            let listed = self.guards.listed(cx, &guarded);
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

/// Services as workloads list them.
fn sent_services(
    services: impl IntoIterator<Item = (Arc<ServiceView>, PortList)>,
) -> BTreeMap<String, PortList> {
    services.into_iter().map(|(service, ports)| (service.key.to_string(), ports)).collect()
}

/// Tells whether a ztunnel stands before the workload: not before one that takes HBONE itself.
fn is_captured(tunnel: TunnelProtocol, native: bool) -> bool {
    tunnel == TunnelProtocol::Hbone && !native
}

fn status(ready: bool) -> i32 {
    if ready { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy }.into()
}

/// A ztunnel forgets an unhealthy endpoint of a service that wants only healthy ones. When the
/// service begins to want all, the workload must come again although it is the same.
fn salt(ready: bool, services: &[Arc<ServiceView>]) -> u64 {
    if ready || !services.iter().any(|s| s.allow_all) {
        return 0;
    }
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    for service in services.iter().filter(|s| s.allow_all) {
        hasher.write(service.key.as_bytes());
    }
    hasher.finish() | 1
}

/// Tells whether an object other than a pod says that the CNI agent has captured it.
fn is_redirected(meta: &Meta) -> bool {
    meta.annotations.get("ambient.istio.io/redirection").is_some_and(|v| v == "enabled")
}

/// What the CNI agent has captured speaks HBONE; a proxy may also say so by its label, and then
/// takes HBONE itself.
fn tunnel(captured: bool, labels: &Labels) -> (TunnelProtocol, bool) {
    let native = labels.get(TUNNEL_LABEL).is_some_and(|list| list.split(',').any(|t| t == "http"));
    let protocol = if captured || native { TunnelProtocol::Hbone } else { TunnelProtocol::None };
    (protocol, native)
}

fn canonical<'a>(labels: &'a Labels, workload_name: &'a Str) -> (&'a str, &'a str) {
    let first = |keys: [&str; 3]| keys.into_iter().find_map(|k| labels.get(k));
    (
        first(CANONICAL_NAME_LABELS).unwrap_or(workload_name),
        first(CANONICAL_REVISION_LABELS).map_or("latest", |v| v.as_str()),
    )
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

fn port(service_port: u16, target_port: u16) -> Port {
    Port { service_port: u32::from(service_port), target_port: u32::from(target_port), app_protocol: 0 }
}
