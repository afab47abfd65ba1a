//! What waypoints are told: services with their waypoints and ports, and endpoints of services.
//!
//! Both are read from what ztunnels are sent, so the two can never disagree.

use engine::{Builder, Cx, Index, Key, Memo, Row, Table};
use model::facts::{FailoverLabel, GatewayAddress, Meta, Pod, Resolution, Service, topology};
use model::{Kind, Labels, Name, RequestLimit, Str, is_same_for_all, shared};
use output::Encoded;
use prost::Message;
use proto::workload::{
    self, Address, TunnelProtocol, WorkloadStatus, address::Type, gateway_address, load_balancing,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::network::Networks;
use crate::service::{Entries, HostKey, PortProtocol, ServiceRow, entry_tcp_ports, tcp_ports};
use crate::split_horizon::{GlobalService, Summary};
use crate::waypoint::{Binder, Binding, HBONE_PORT, Leaving, Waypoint};
pub use crate::waypoint::{Detail, Families, Instance, Location};
use crate::workload::{EntryWorkload, Workloads};

/// The port on which whatever takes HBONE does.
pub const HBONE: u16 = HBONE_PORT;

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// `Service` or `ServiceEntry`.
    pub kind: Kind,
    /// The object that it stands for.
    pub object: Name,
    /// Its hostname.
    pub hostname: Str,
    /// The addresses that it is called at, those of networks left out; in order.
    pub addresses: Box<[IpAddr]>,
    /// Its ports of TCP, and what is spoken there; in order.
    pub ports: Box<[(u16, PortProtocol)]>,
    /// The names of its ports, in the order of `ports`.
    pub port_names: Box<[Str]>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// Its waypoints that are configured here: its own, then its canary.
    pub waypoints: Box<[Name]>,
    /// How many requests to it there may be at each instance of its waypoint.
    pub limit: Option<RequestLimit>,
    /// Whether it has a waypoint, be that configured here or not.
    pub is_behind_waypoint: bool,
    /// Whether it is for every network (scope GLOBAL).
    pub is_for_networks: bool,
    /// Whether what comes from gateways at the edge goes through its waypoint, too (`istio.io/ingress-use-waypoint`).
    pub edge_uses_waypoint: bool,
    /// `trafficDistribution`, its own or what stands in for it: instances that have most of these in common with who
    /// calls, in order, go first.
    pub preferred: Box<[FailoverLabel]>,
    /// `internalTrafficPolicy`: no other instances are used than those that have all of these in common.
    pub required: Box<[FailoverLabel]>,
}

/// An instance of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub place: Place,
    /// Ports of the service, and its own for each.
    pub ports: Vec<(u16, u16)>,
    /// Whether it is reached by HBONE.
    pub is_hbone: bool,
    /// Whether it is to be used.
    pub is_healthy: bool,
    /// How much of the traffic it takes beside the others; 1 unless somebody says it.
    pub weight: u32,
    /// The network that it is in.
    pub network: Str,
    /// Region, zone and subzone; empty where they are not known.
    pub locality: [Str; 3],
    /// The node that it is on; empty for none.
    pub node: Str,
    /// The cluster that it is of.
    pub cluster: Str,
    /// How it is reached, if it is on another network; `None` where it is not, and where nothing leads there.
    pub through: Option<Through>,
    /// What it is labelled with.
    pub labels: Labels,
    /// The workload, as metrics name it: name, namespace, canonical service, its revision, and the cluster.
    pub workload: Str,
}

/// The way to what is on another network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Through {
    /// Where the gateway of that network takes HBONE.
    pub address: SocketAddr,
    /// The account that the gateway proves.
    pub gateway: Name,
    /// The accounts of which who answers behind it proves one; ascending.
    pub accounts: Vec<Name>,
}

/// Where an instance is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// At an address.
    Address(IpAddr),
    /// Wherever a name leads.
    Name(Str),
}

/// What the tables are made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub services: Table<Name, Service>,
    pub pods: Table<Name, Pod>,
    pub service_rows: Table<Name, ServiceRow>,
    pub entries: Entries,
    pub workloads: Workloads,
    /// What stands for workloads of other networks, where it does.
    pub summaries: Option<Table<Str, Summary>>,
    /// The services that are for every network, where there are several.
    pub global: Option<Table<Name, GlobalService>>,
    pub networks: Networks,
    /// The network of the cluster.
    pub network: Table<(), Str>,
    pub binder: Binder,
    pub families: Table<Name, Families>,
    pub located: Table<Name, Vec<Instance>>,
    pub leaving: Leaving,
    /// Whether endpoints may be at addresses of whoever dials them.
    pub is_one_machine: bool,
}

/// Services by `NAMESPACE/HOSTNAME`, and what their endpoints are found in.
#[derive(Clone, Copy)]
pub struct Destinations {
    /// Those of Services, and those of ServiceEntries. No key is in both.
    pub services: [Table<Str, Destination>; 2],
    /// The waypoints that are configured here.
    pub waypoints: Table<Name, ()>,
    /// Of which families the addresses of their instances are.
    pub families: Table<Name, Families>,
    /// Where their instances are, as exactly as asked for; each place once, ascending.
    pub locations: Memo<(Name, Detail), Vec<Location>>,
    leaving: Leaving,
    pods: Table<Name, Pod>,
    workloads: Workloads,
    summaries: Option<Table<Str, Summary>>,
    networks: Networks,
    network: Table<(), Str>,
    /// Whether there may be several networks.
    pub is_multi_network: bool,
    is_one_machine: bool,
    /// Waypoints that workloads may be bound to, by their address as workloads have it.
    by_address: Index<Vec<u8>, Name, Waypoint>,
}

/// A workload that is called at its own address through a waypoint: the waypoint, the address, and its name.
pub type CalledWorkload = (Name, IpAddr, Str);

/// Endpoints of services. They are no rows of their own: there are many more of them than of anything else, and all that
/// is to be known of one is in what ztunnels are sent.
#[derive(Clone, Copy)]
pub struct Endpoints {
    /// The workloads that are called at their own addresses, and take HBONE.
    pub called: Table<CalledWorkload, ()>,
    pods: Index<Str, Name, Encoded>,
    /// What pods are labelled with.
    facts: Table<Name, Pod>,
    /// Namespaces of services that have other workloads than pods: most have none, and it is not remembered of each
    /// service that there is nothing.
    with_others: Memo<Str, ()>,
    entries: [Index<Str, Str, EntryWorkload>; 2],
    slices: Index<Str, Str, Encoded>,
    summaries: Option<Index<Str, Str, Summary>>,
    /// Workloads on other networks that are reached, by service.
    elsewhere: [Option<Index<Str, Str, Vec<Str>>>; 3],
    ways: Ways,
    is_one_machine: bool,
}

impl Destinations {
    pub(crate) fn declare(b: &mut Builder, of: Inputs) -> Self {
        let Inputs { services, pods, service_rows, entries, workloads, binder, families, .. } = of;
        let Inputs { summaries, global, networks, network, located, leaving, is_one_machine, .. } = of;
        let waypoints = b.derive("configured_waypoints", binder.waypoints, |_, _, waypoint| {
            waypoint.is_served.then_some(())
        });
        let of_services = b.expand("service_destinations", service_rows, move |cx, name, row| {
            let found = cx.get(services, name).and_then(|service| {
                destination(
                    cx,
                    waypoints,
                    Kind::Service,
                    row,
                    &service.meta,
                    &tcp_ports(&service),
                    Resolution::Static,
                )
            });
            let is_for_networks = global.is_some_and(|global| cx.get(global, name).is_some());
            let found = found.map(|(key, of)| (key, Destination { is_for_networks, ..of }));
            found.into_iter().collect()
        });
        let of_entries = b.expand("entry_destinations", entries.rows, move |cx, _: &HostKey, row| {
            let found = cx.get(entries.entries, &row.object).and_then(|entry| {
                destination(
                    cx,
                    waypoints,
                    Kind::ServiceEntry,
                    row,
                    &entry.meta,
                    &entry_tcp_ports(&entry),
                    entry.resolution,
                )
            });
            found.into_iter().collect()
        });
        let by_address = b.index(binder.waypoints, "waypoint_by_address", |_, waypoint| {
            let address = waypoint.gateway_address().filter(|_| waypoint.traffic.accepts(Binding::Workload));
            address.map(|address| address.encode_to_vec())
        });
        let locations = b.memo("waypoint_locations", move |cx, (waypoint, detail): &(Name, Detail)| {
            let instances = cx.get(located, waypoint)?;
            let mut all: Vec<Location> = instances.iter().map(|of| of.location.at(*detail)).collect();
            all.sort();
            all.dedup();
            Some(all)
        });
        let services = [of_services, of_entries];
        Self {
            services,
            waypoints,
            families,
            locations,
            leaving,
            pods,
            workloads,
            summaries,
            networks,
            network,
            is_multi_network: global.is_some(),
            is_one_machine,
            by_address,
        }
    }

    /// Returns a service.
    pub fn get(&self, cx: &Cx<'_>, service: &Str) -> Option<Arc<Destination>> {
        self.services.iter().find_map(|table| cx.get(*table, service))
    }

    /// Returns the instances of a waypoint that are being deleted, and that nobody is sent to any more; ascending.
    pub fn replaced(&self, cx: &Cx<'_>, waypoint: &Name) -> Vec<Str> {
        self.leaving.replaced(cx, waypoint)
    }

    /// Returns the addresses of the instances of a waypoint that take traffic: of each the first; ascending.
    pub fn serving(&self, cx: &Cx<'_>, waypoint: &Name) -> Vec<IpAddr> {
        self.leaving.serving(cx, waypoint)
    }

    /// Declares the endpoints of services.
    pub fn declare_endpoints(&self, b: &mut Builder) -> Endpoints {
        let Workloads { pods, entries, inline, endpoints } = self.workloads;
        let rows = b.memo("called_workload", |_, _: &CalledWorkload| Some(()));
        let called = Called { rows, by_address: self.by_address, configured: self.waypoints };
        called.declare(b, "called_pods", pods, |row| Some(row));
        called.declare(b, "called_entries", entries, EntryWorkload::sent);
        called.declare(b, "called_inline_workloads", inline, EntryWorkload::sent);
        called.declare(b, "called_endpoints", endpoints, |row| Some(row));
        let summaries = self.summaries;
        if let Some(table) = summaries {
            called.declare(b, "called_summaries", table, |row| Some(&row.encoded));
        }
        let ways = Ways { networks: self.networks, network: self.network };
        let elsewhere = [
            Some(ways.declare(b, "entries_elsewhere", entries, EntryWorkload::sent)),
            Some(ways.declare(b, "inline_workloads_elsewhere", inline, EntryWorkload::sent)),
            summaries.map(|table| ways.declare(b, "summaries_elsewhere", table, |row| Some(&row.encoded))),
        ];
        let of_entry = |_: &Str, row: &EntryWorkload| row.sent().map(services).unwrap_or_default();
        let in_namespaces = |services: Vec<Str>| services.iter().map(namespace).collect::<Vec<_>>();
        let entries_in = [(entries, "entry_workload_by_namespace"), (inline, "inline_workload_by_namespace")]
            .map(|(table, name)| b.index(table, name, move |key, row| in_namespaces(of_entry(key, row))));
        let slices_in = b.index(endpoints, "endpoint_workload_by_namespace", move |_, row: &Encoded| {
            in_namespaces(services(row))
        });
        let summaries_in = summaries.map(|table| {
            b.index(table, "summary_by_namespace", move |_, row: &Summary| {
                in_namespaces(services(&row.encoded))
            })
        });
        let with_others = b.memo("namespaces_with_other_workloads", move |cx, ns: &Str| {
            let has_summaries = summaries_in.is_some_and(|index| cx.any(index, ns));
            let has_others = cx.any(slices_in, ns) || entries_in.iter().any(|index| cx.any(*index, ns));
            (has_summaries || has_others).then_some(())
        });
        Endpoints {
            called: b.in_use("called_workloads", rows),
            pods: b.index(pods, "pod_workload_by_service", |_, row| services(row)),
            facts: self.pods,
            with_others,
            entries: [
                b.index(entries, "entry_workload_by_service", of_entry),
                b.index(inline, "inline_workload_by_service", of_entry),
            ],
            slices: b.index(endpoints, "endpoint_workload_by_service", |_, row| services(row)),
            summaries: summaries
                .map(|table| b.index(table, "summary_by_service", |_, row| services(&row.encoded))),
            elsewhere,
            ways,
            is_one_machine: self.is_one_machine,
        }
    }
}

impl Endpoints {
    /// Returns those of a service, ascending by source and name. Labels are left out unless they are asked for: then
    /// whoever asks is computed again when a pod's change.
    pub fn of(&self, cx: &Cx<'_>, service: &Str, with_labels: bool) -> Vec<Endpoint> {
        let of = |row: &Encoded| endpoint(row, service, |workload| self.ways.through(cx, workload));
        let labelled = |row: &Encoded, labels: Option<Labels>| {
            let labels = labels.filter(|_| with_labels).unwrap_or_default();
            of(row).map(|endpoint| Endpoint { labels, ..endpoint })
        };
        let mut all = Vec::new();
        for (name, row) in cx.lookup(self.pods, service) {
            let facts = if with_labels { cx.get(self.facts, &name) } else { None };
            all.extend(labelled(&row, facts.map(|pod| pod.labels.clone())));
        }
        if cx.memo(self.with_others, &namespace(service)).is_none() {
            return all;
        }
        for (_, row) in self.entries.iter().flat_map(|index| cx.lookup(*index, service)) {
            let found = row.sent().and_then(|sent| labelled(sent, Some(row.labels.clone())));
            all.extend(found.filter(|endpoint| self.may_be_sent_to(&endpoint.place)));
        }
        all.extend(cx.lookup(self.slices, service).iter().filter_map(|(_, row)| of(row)));
        for (_, row) in self.summaries.iter().flat_map(|index| cx.lookup(*index, service)) {
            let with_accounts = |mut endpoint: Endpoint| {
                if let Some(through) = &mut endpoint.through {
                    through.accounts.clone_from(&row.accounts);
                }
                endpoint
            };
            all.extend(of(&row.encoded).map(with_accounts));
        }
        all
    }

    /// Tells whether a waypoint may send to what an author wrote: not to itself, and not to its link.
    fn may_be_sent_to(&self, place: &Place) -> bool {
        match place {
            Place::Address(ip) => self.is_one_machine || is_same_for_all(*ip),
            Place::Name(_) => true,
        }
    }

    /// Tells whether some of a service's are on another network, and reached there.
    pub fn is_elsewhere(&self, cx: &Cx<'_>, service: &Str) -> bool {
        // Pods are of the local network.
        cx.memo(self.with_others, &namespace(service)).is_some()
            && self.elsewhere.iter().flatten().any(|index| cx.any(*index, service))
    }
}

/// How a workload tells that it is called at its own addresses.
#[derive(Clone, Copy)]
struct Called {
    rows: Memo<CalledWorkload, ()>,
    by_address: Index<Vec<u8>, Name, Waypoint>,
    configured: Table<Name, ()>,
}

impl Called {
    fn declare<K: Key, V: Row>(
        self,
        b: &mut Builder,
        name: &'static str,
        table: Table<K, V>,
        sent: impl Fn(&V) -> Option<&Encoded> + Send + 'static,
    ) {
        b.derive(name, table, move |cx, _, row| self.tell(cx, &workload(sent(row)?)?));
    }

    fn tell(self, cx: &Cx<'_>, workload: &workload::Workload) -> Option<()> {
        let waypoint = workload.waypoint.as_ref().filter(|_| is_hbone(workload))?.encode_to_vec();
        let bound = cx.lookup(self.by_address, &waypoint).into_iter();
        for (name, _) in bound.filter(|(name, _)| cx.get(self.configured, name).is_some()) {
            for address in workload.addresses.iter().filter_map(|bytes| ip(bytes)) {
                cx.memo(self.rows, &(name.clone(), address, Str::from(workload.uid.as_str())));
            }
        }
        Some(())
    }
}

fn is_hbone(workload: &workload::Workload) -> bool {
    workload.tunnel_protocol() == TunnelProtocol::Hbone
}

/// How other networks are reached.
#[derive(Clone, Copy)]
struct Ways {
    networks: Networks,
    network: Table<(), Str>,
}

impl Ways {
    /// Declares the services of workloads of other networks that are reached.
    fn declare<K: Key, V: Row>(
        self,
        b: &mut Builder,
        name: &'static str,
        table: Table<K, V>,
        sent: impl Fn(&V) -> Option<&Encoded> + Send + 'static,
    ) -> Index<Str, K, Vec<Str>> {
        let services = b.derive(name, table, move |cx, _, row| {
            let workload = workload(sent(row)?)?;
            self.through(cx, &workload)?;
            Some(workload.services.keys().map(|service| shared(service)).collect::<Vec<_>>())
        });
        b.index(services, "workload_elsewhere_by_service", |_, services: &Vec<Str>| services.clone())
    }

    /// Returns the way to a workload of another network.
    fn through(self, cx: &Cx<'_>, of: &workload::Workload) -> Option<Through> {
        let named = of.network_gateway.as_ref()?;
        if cx.single(self.network).is_none_or(|own| own.as_str() == of.network) {
            return None;
        }
        let Some(gateway_address::Destination::Address(address)) = &named.destination else { return None };
        let address = ip(&address.address)?;
        let mut all = self.networks.gateways(cx, &shared(&of.network));
        let gateway = all.find(|gateway| gateway.address == GatewayAddress::Ip(address))?;
        let port = u16::try_from(named.hbone_mtls_port).ok().filter(|port| *port != 0).unwrap_or(HBONE);
        let account = if of.service_account.is_empty() { "default" } else { &of.service_account };
        Some(Through {
            address: SocketAddr::new(address, port),
            gateway: gateway.identity.clone(),
            accounts: vec![Name::new(&of.namespace, account)],
        })
    }
}

fn place(of: &workload::Workload) -> Option<Place> {
    let name = || (!of.hostname.is_empty()).then(|| Place::Name(shared(&of.hostname)));
    of.addresses.first().and_then(|bytes| ip(bytes)).map(Place::Address).or_else(name)
}

/// Returns a workload as an endpoint of a service, if it is one.
fn endpoint(
    sent: &Encoded,
    service: &Str,
    through: impl FnOnce(&workload::Workload) -> Option<Through>,
) -> Option<Endpoint> {
    let workload = workload(sent)?;
    let ports = workload.services.get(service.as_str())?;
    let through = through(&workload);
    let gateway = through.as_ref().map(|through| Place::Address(through.address.ip()));
    let place = gateway.or_else(|| place(&workload))?;
    let port = |number: u32| u16::try_from(number).ok();
    let ports = ports.ports.iter().filter_map(|of| Some((port(of.service_port)?, port(of.target_port)?)));
    let at = workload.locality.as_ref();
    let workload::Workload {
        workload_name, namespace, canonical_name, canonical_revision, cluster_id, ..
    } = &workload;
    let named = format!("{workload_name};{namespace};{canonical_name};{canonical_revision};{cluster_id}");
    let part = |of: fn(&workload::Locality) -> &String| at.map(|at| shared(of(at))).unwrap_or_default();
    Some(Endpoint {
        place,
        ports: ports.collect(),
        is_hbone: is_hbone(&workload),
        is_healthy: workload.status() == WorkloadStatus::Healthy,
        weight: workload.capacity.unwrap_or(1),
        network: shared(&workload.network),
        locality: [part(|at| &at.region), part(|at| &at.zone), part(|at| &at.subzone)],
        node: shared(&workload.node),
        cluster: shared(cluster_id),
        through,
        labels: Labels::default(),
        workload: shared(&named),
    })
}

fn destination(
    cx: &Cx<'_>,
    configured: Table<Name, ()>,
    kind: Kind,
    row: &ServiceRow,
    meta: &Meta,
    ports: &[(u16, PortProtocol, Str)],
    resolution: Resolution,
) -> Option<(Str, Destination)> {
    let Type::Service(service) = decoded(&row.encoded)? else { return None };
    let single = service.addresses.iter().filter(|of| of.length.is_none());
    let bound = row.waypoint.as_ref().ok().and_then(Option::as_ref);
    let waypoints = bound.into_iter().chain(&row.canary_waypoint);
    let (preferred, required) = routing(service.load_balancing.as_ref());
    let destination = Destination {
        kind,
        object: row.object.clone(),
        hostname: shared(&service.hostname),
        addresses: single.filter_map(|of| ip(&of.address)).collect(),
        ports: ports.iter().map(|(number, protocol, _)| (*number, *protocol)).collect(),
        port_names: ports.iter().map(|(_, _, name)| name.clone()).collect(),
        resolution,
        waypoints: waypoints.filter(|name| cx.get(configured, name).is_some()).cloned().collect(),
        limit: RequestLimit::of(meta.annotations.get(RequestLimit::ANNOTATION)),
        is_behind_waypoint: bound.is_some(),
        is_for_networks: false,
        edge_uses_waypoint: service.ingress_use_waypoint,
        preferred: preferred.into(),
        required: required.into(),
    };
    Some((row.resource.clone(), destination))
}

/// Returns which instances go first, and which alone are used, as ztunnels are told.
fn routing(of: Option<&workload::LoadBalancing>) -> (Vec<FailoverLabel>, Vec<FailoverLabel>) {
    use load_balancing::{Mode, Scope};
    let Some(of) = of else { return Default::default() };
    let labels = of.routing_preference().filter_map(|scope| match scope {
        Scope::Region => Some(topology::REGION),
        Scope::Zone => Some(topology::ZONE),
        Scope::Subzone => Some(topology::SUBZONE),
        Scope::Node => Some(topology::NODE),
        Scope::Cluster => Some(topology::CLUSTER),
        Scope::Network => Some(topology::NETWORK),
        Scope::UnspecifiedScope => None,
    });
    let labels: Vec<FailoverLabel> = labels.map(FailoverLabel::from).collect();
    match of.mode() {
        Mode::Failover => (labels, Vec::new()),
        Mode::Strict => (Vec::new(), labels),
        Mode::UnspecifiedMode | Mode::Passthrough => Default::default(),
    }
}

fn decoded(encoded: &Encoded) -> Option<Type> {
    Address::decode(&*encoded.body).ok()?.r#type
}

fn workload(encoded: &Encoded) -> Option<workload::Workload> {
    match decoded(encoded)? {
        Type::Workload(workload) => Some(workload),
        Type::Service(_) => None,
    }
}

/// Returns the services that a workload is of.
fn services(encoded: &Encoded) -> Vec<Str> {
    let services = workload(encoded).map(|workload| workload.services).unwrap_or_default();
    services.keys().map(|service| shared(service)).collect()
}

/// Returns the namespace of a service.
fn namespace(service: &Str) -> Str {
    shared(service.split_once('/').map_or("", |(ns, _)| ns))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
