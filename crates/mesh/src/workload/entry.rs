//! Workloads that are no pods: WorkloadEntries, and endpoints of ServiceEntries.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{
    EntryAddress, Meta, Resolution, ServiceEntry, TargetPort, WorkloadEntry, WorkloadEntrySpec,
};
use model::{Kind, Labels, Name, Ns, ObjectRef, Str, shared};
use output::{Encoded, Outputs, Rank, Resource};
use proto::ResourceType;
use proto::workload::{self, PortList, WorkloadType};
use std::sync::Arc;

use super::fields::{canonical, is_captured, is_redirected, port, sent_services, status, tunnel};
use super::inputs::{Inputs, NamespaceContext};
use super::remote::Remote;
use crate::encode::{self, ip_bytes};
use crate::enforcement::EnforcementTarget;
use crate::key::{self, Selected};
use crate::service::{HostKey, ServiceView};
use crate::waypoint::{BindError, WaypointRequirement, WorkloadMeta};

const WORKLOAD_NAME_LABEL: &str = "service.istio.io/workload-name";
const GROUP_ANNOTATION: &str = "istio.io/autoRegistrationGroup";

/// A workload that is no pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EntryWorkload {
    content: Content,
    /// What it is labelled with itself: subsets of services are chosen by it.
    pub labels: Labels,
    /// The waypoint that it is bound to: none for an instance of one.
    pub waypoint: Result<Option<Name>, BindError>,
    /// What it says itself of the waypoints before it; `None` for an instance of a gateway.
    pub requirement: Option<WaypointRequirement>,
    /// Whether a ztunnel of this network stands before it.
    pub is_captured: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    /// Sent as it is.
    Sent(Encoded),
    /// Of another network, and there behind a gateway.
    Remote(Box<Remote>),
    /// Not sent, since its address, as written here, is none.
    Invalid(Str),
}

impl EntryWorkload {
    /// Declares that a table of them, by resource name, is sent.
    pub(super) fn declare_output(b: &mut Builder, out: &mut Outputs, table: Table<Str, Self>, rank: Rank) {
        out.resources(b, table, ResourceType::Address, rank, |uid, workload| {
            Some(Resource::new(uid.as_str(), workload.sent()?))
        });
    }

    /// Returns what there is to know of one of another network.
    pub fn remote(&self) -> Option<&Remote> {
        match &self.content {
            Content::Remote(remote) => Some(remote),
            Content::Sent(_) | Content::Invalid(_) => None,
        }
    }

    /// Returns the address that is none, for which it is not sent.
    pub fn invalid_address(&self) -> Option<&Str> {
        match &self.content {
            Content::Invalid(text) => Some(text),
            Content::Sent(_) | Content::Remote(_) => None,
        }
    }

    /// Returns what is sent.
    pub fn sent(&self) -> Option<&Encoded> {
        match &self.content {
            Content::Sent(encoded) => Some(encoded),
            Content::Remote(_) | Content::Invalid(_) => None,
        }
    }
}

/// What differs between the two sources of such a workload.
struct Entry<'a> {
    uid: String,
    kind: Kind,
    /// Which of the endpoints that the object lists.
    endpoint: Option<usize>,
    meta: &'a Meta,
    /// What policies, tunnel and canonical name are read from.
    labels: &'a Labels,
    /// What the waypoint is read from; `None` for an endpoint that can have none.
    binding: Option<Binding<'a>>,
    workload_name: Str,
    spec: &'a WorkloadEntrySpec,
    services: Vec<Arc<ServiceView>>,
}

/// What a workload says of its waypoint itself, and what its namespace does.
#[derive(Clone, Copy)]
struct Binding<'a> {
    labels: &'a Labels,
    /// The annotations that are the workload's own, and not a service's.
    annotations: &'a Labels,
    namespace_context: &'a NamespaceContext,
}

impl Inputs {
    pub(super) fn workload_entry(
        &self,
        cx: &Cx<'_>,
        namespace_context: Memo<Ns, NamespaceContext>,
        name: &Name,
        entry: &WorkloadEntry,
    ) -> Vec<(Str, EntryWorkload)> {
        let Some(namespace_context) =
            cx.memo(namespace_context, &name.ns).filter(|_| (self.is_ours)(&entry.meta))
        else {
            return Vec::new();
        };
        if let EntryAddress::Invalid(text) = &entry.spec.address {
            let row = EntryWorkload {
                content: Content::Invalid(text.clone()),
                labels: entry.labels.clone(),
                waypoint: Ok(None),
                requirement: None,
                is_captured: false,
            };
            return vec![(Str::from(key::workload_entry_uid(&self.cluster, name)), row)];
        }
        let selected = Selected { ns: name.ns.clone(), labels: entry.labels.clone() };
        let mut services =
            cx.memo(self.selected_services, &selected).map(|s| s.0.clone()).unwrap_or_default();
        services.retain(|service| self.services_select_entries || service.is_entry);
        let group = entry.meta.annotations.get(GROUP_ANNOTATION);
        let sent = Entry {
            uid: key::workload_entry_uid(&self.cluster, name),
            kind: Kind::WorkloadEntry,
            endpoint: None,
            meta: &entry.meta,
            labels: &entry.labels,
            binding: Some(Binding {
                labels: &entry.labels,
                annotations: &entry.meta.annotations,
                namespace_context: &namespace_context,
            }),
            workload_name: group.or(entry.labels.get(WORKLOAD_NAME_LABEL)).unwrap_or(&name.name).clone(),
            spec: &entry.spec,
            services,
        };
        self.entry(cx, sent).into_iter().collect()
    }

    pub(super) fn service_entry(
        &self,
        cx: &Cx<'_>,
        namespace_context: Memo<Ns, NamespaceContext>,
        name: &Name,
        entry: &ServiceEntry,
    ) -> Vec<(Str, EntryWorkload)> {
        let mut hosts = entry.hosts.clone();
        hosts.sort();
        hosts.dedup();
        let won: Vec<(Str, Arc<ServiceView>)> = hosts
            .into_iter()
            .filter_map(|host| {
                let key = HostKey { ns: name.ns.clone(), host: host.clone() };
                let is_winner = cx.get(self.entries.winners, &key).is_some_and(|w| w.entry == *name);
                Some((host, cx.get(self.entries.views, &key).filter(|_| is_winner)?))
            })
            .collect();
        if won.is_empty() {
            return Vec::new();
        }
        if entry.endpoints.is_empty() {
            return self.implicit(cx, name, entry, &won);
        }
        let Some(namespace_context) = cx.memo(namespace_context, &name.ns) else { return Vec::new() };
        let services: Vec<Arc<ServiceView>> = won.into_iter().map(|(_, s)| s).collect();
        let annotations = Labels::default();
        let rows = entry.endpoints.iter().enumerate().filter_map(|(n, spec)| {
            let address = match &spec.address {
                EntryAddress::Ip(ip) => ip.to_string(),
                EntryAddress::Hostname(host) => host.to_string(),
                EntryAddress::Invalid(_) => return None,
            };
            let sent = Entry {
                uid: key::service_entry_uid(&self.cluster, name, &address),
                kind: Kind::ServiceEntry,
                endpoint: Some(n),
                meta: &entry.meta,
                labels: &entry.meta.labels,
                binding: Some(Binding {
                    labels: &spec.labels,
                    annotations: &annotations,
                    namespace_context: &namespace_context,
                }),
                workload_name: name.name.clone(),
                spec,
                services: services.clone(),
            };
            self.entry(cx, sent)
        });
        rows.collect()
    }

    /// A name that is resolved by DNS is its own endpoint.
    fn implicit(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        entry: &ServiceEntry,
        won: &[(Str, Arc<ServiceView>)],
    ) -> Vec<(Str, EntryWorkload)> {
        let by_dns =
            matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns);
        if !by_dns || entry.selector.is_some() {
            return Vec::new();
        }
        let rows = won.iter().filter_map(|(host, service)| {
            let spec = WorkloadEntrySpec {
                address: EntryAddress::Hostname(host.clone()),
                ..WorkloadEntrySpec::default()
            };
            let sent = Entry {
                uid: key::service_entry_uid(&self.cluster, name, host),
                kind: Kind::ServiceEntry,
                endpoint: None,
                meta: &entry.meta,
                labels: &entry.meta.labels,
                binding: None,
                workload_name: name.name.clone(),
                spec: &spec,
                services: vec![service.clone()],
            };
            self.entry(cx, sent)
        });
        rows.collect()
    }

    fn entry(&self, cx: &Cx<'_>, of: Entry<'_>) -> Option<(Str, EntryWorkload)> {
        let name = &of.meta.name;
        let local = cx.single(self.settings.network)?;
        let network = if of.spec.network.is_empty() { &*local } else { &of.spec.network };
        let (tunnel, native) = tunnel(is_redirected(of.meta), of.labels);
        let (waypoint, application_tunnel) = match of.binding {
            Some(of) => self.waypoint(cx, &name.ns, of.labels, &of.namespace_context.inherited),
            None => (Ok(None), None),
        };
        let selected = Selected { ns: name.ns.clone(), labels: of.labels.clone() };
        let services: Vec<_> =
            of.services.iter().map(|service| (service.clone(), entry_ports(service, of.spec))).collect();
        let requirement = match of.binding {
            Some(Binding {
                labels,
                annotations,
                namespace_context: NamespaceContext { view, inherited, .. },
            }) => {
                let meta = WorkloadMeta { ns: &name.ns, labels, annotations, view, inherited };
                WaypointRequirement::of_workload(cx, &self.binder, &meta, self.requires_waypoints)
            }
            None => Some(WaypointRequirement::default()),
        };
        let target = EnforcementTarget {
            object: ObjectRef { kind: of.kind, name: name.clone() },
            requirement,
            services: &services,
            is_captured: is_captured(tunnel, native),
        };
        if let (Some(binding), Err(error)) = (of.binding, &waypoint) {
            let (object, requirement) = (&target.object, target.requirement.as_ref());
            self.unbound.tell(cx, object, of.endpoint, binding.labels, requirement, error);
        }
        let is_remote = self.multi_network && network != &*local;
        let row = |content| EntryWorkload {
            content,
            labels: of.binding.map(|own| own.labels.clone()).unwrap_or_default(),
            waypoint: waypoint.as_ref().map(|w| w.as_ref().map(|w| w.name.clone())).map_err(Clone::clone),
            requirement: target.requirement.clone(),
            is_captured: target.is_captured && !is_remote,
        };
        if is_remote {
            self.enforcements.unprotected(cx, &target);
            let remote = row(Content::Remote(Box::new(remote(&of))));
            return Some((Str::from(of.uid), remote));
        }
        let listed = self.listed(cx, &selected, &target)?;
        let (canonical_name, canonical_revision) = canonical(of.labels, &of.workload_name);
        let (addresses, hostname) = match &of.spec.address {
            EntryAddress::Ip(ip) => (vec![ip_bytes(ip)], String::new()),
            EntryAddress::Hostname(host) => (Vec::new(), host.to_string()),
            EntryAddress::Invalid(_) => return None,
        };
        let sent = workload::Workload {
            uid: of.uid.clone(),
            name: name.name.to_string(),
            namespace: name.ns.to_string(),
            addresses,
            hostname,
            network_gateway: self.networks.gateway(cx, network),
            network: network.to_string(),
            tunnel_protocol: tunnel.into(),
            native_tunnel: native,
            trust_domain: cx.single(self.settings.sent_trust_domain)?.to_string(),
            service_account: of.spec.service_account.to_string(),
            authorization_policies: listed,
            waypoint: waypoint.as_ref().ok().and_then(|w| w.as_ref()?.gateway_address()),
            application_tunnel,
            canonical_name: canonical_name.to_string(),
            canonical_revision: canonical_revision.to_string(),
            workload_type: WorkloadType::Pod.into(),
            workload_name: of.workload_name.to_string(),
            services: sent_services(services.iter().cloned()),
            status: status(true),
            cluster_id: key::cluster_id(&self.cluster, &name.ns).to_string(),
            locality: locality(&of.spec.locality),
            capacity: (of.spec.weight > 0).then_some(of.spec.weight),
            ..Default::default()
        };
        Some((Str::from(of.uid), row(Content::Sent(encode::workload(sent, 0)))))
    }
}

fn remote(of: &Entry<'_>) -> Remote {
    let name = &of.meta.name;
    // A ztunnel takes a workload without an account for one of `default`; an empty name is one that
    // nobody can prove.
    let account = match of.spec.service_account.as_str() {
        "" => shared("default"),
        _ => of.spec.service_account.clone(),
    };
    Remote {
        object: ObjectRef { kind: of.kind, name: name.clone() },
        endpoint: of.endpoint,
        network: of.spec.network.clone(),
        services: of.services.iter().filter(|s| !s.is_entry).map(|s| s.object.clone()).collect(),
        account: Name { ns: name.ns.clone(), name: account },
        capacity: of.spec.weight.max(1),
    }
}

/// `region/zone/subzone`, as many as are given.
fn locality(text: &str) -> Option<workload::Locality> {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let locality = workload::Locality { region: next(), zone: next(), subzone: next() };
    (locality != workload::Locality::default()).then_some(locality)
}

/// The entry's own port of that name goes before what the service says.
fn entry_ports(service: &ServiceView, spec: &WorkloadEntrySpec) -> PortList {
    let own = |name: &Str| spec.ports.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
    let ports = service.ports.iter().filter_map(|p| {
        let target = match &p.target {
            TargetPort::Number(n) => own(&p.name).unwrap_or(*n),
            TargetPort::Name(name) => own(name)?,
        };
        Some(port(p.port, target))
    });
    PortList { ports: ports.collect() }
}
