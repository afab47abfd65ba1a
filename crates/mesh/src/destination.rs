//! What waypoints are told: services with their waypoints and ports, and endpoints of services.
//!
//! Both are read from what ztunnels are sent, so the two can never disagree.

use engine::{Builder, Cx, Index, Key, Memo, Row, Table};
use model::facts::{FailoverLabel, GatewayAddress, Pod, Resolution, Service, topology};
use model::{Kind, Labels, Name, Str, shared};
use output::Encoded;
use prost::Message;
use proto::workload::{
    self, Address, TunnelProtocol, WorkloadStatus, address::Type, gateway_address, load_balancing,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::network::Networks;
use crate::service::{Entries, HostKey, PortProtocol, ServiceRow, entry_tcp_ports, tcp_ports};
use crate::split_horizon::Summary;
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
    pub addresses: Vec<IpAddr>,
    /// Its ports of TCP, and what is spoken there; in order.
    pub ports: Vec<(u16, PortProtocol)>,
    /// The names of its ports, in the order of `ports`.
    pub port_names: Vec<Str>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// Its waypoints that are configured here: its own, then its canary.
    pub waypoints: Vec<Name>,
    /// `trafficDistribution`, its own or what stands in for it: instances that have most of these in common with who
    /// calls, in order, go first.
    pub preferred: Vec<FailoverLabel>,
    /// `internalTrafficPolicy`: no other instances are used than those that have all of these in common.
    pub required: Vec<FailoverLabel>,
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
    pub networks: Networks,
    /// The network of the cluster.
    pub network: Table<(), Str>,
    pub binder: Binder,
    pub families: Table<Name, Families>,
    pub located: Table<Name, Vec<Instance>>,
    pub leaving: Leaving,
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
    /// Waypoints that workloads may be bound to, by their address as workloads have it.
    by_address: Index<Vec<u8>, Name, Waypoint>,
}

/// A workload that is called at its own address through a waypoint: the waypoint, the address, and its name.
pub type CalledWorkload = (Name, IpAddr, Str);

/// Endpoints that somebody wants.
#[derive(Clone, Copy)]
pub struct Endpoints {
    /// The workloads that are called at their own addresses, and take HBONE.
    pub called: Table<CalledWorkload, ()>,
    by_service: [Index<Str, EndpointKey, Endpoint>; 4],
    summary_by_service: Option<Index<Str, EndpointKey, Endpoint>>,
    /// Those on other networks that are reached.
    elsewhere: [Option<Index<Str, EndpointKey, Endpoint>>; 5],
}

/// The service, and the name of the workload.
type EndpointKey = (Str, Str);

impl Destinations {
    pub(crate) fn declare(b: &mut Builder, of: Inputs) -> Self {
        let Inputs { services, pods, service_rows, entries, workloads, binder, families, .. } = of;
        let Inputs { summaries, networks, network, located, leaving, .. } = of;
        let waypoints = b.derive("configured_waypoints", binder.waypoints, |_, _, waypoint| {
            waypoint.is_served.then_some(())
        });
        let of_services = b.expand("service_destinations", service_rows, move |cx, name, row| {
            let found = cx.get(services, name).and_then(|service| {
                destination(cx, waypoints, Kind::Service, row, &tcp_ports(&service), Resolution::Static)
            });
            found.into_iter().collect()
        });
        let of_entries = b.expand("entry_destinations", entries.rows, move |cx, _: &HostKey, row| {
            let found = cx.get(entries.entries, &row.object).and_then(|entry| {
                destination(
                    cx,
                    waypoints,
                    Kind::ServiceEntry,
                    row,
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

    /// Declares the endpoints of services that are wanted.
    pub fn declare_endpoints(
        &self,
        b: &mut Builder,
        is_wanted: impl Fn(&Cx<'_>, &Str) -> bool + Clone + Send + 'static,
    ) -> Endpoints {
        let Workloads { pods, entries, inline, endpoints } = self.workloads;
        let rows = b.memo("called_workload", |_, _: &CalledWorkload| Some(()));
        let called = Called { rows, by_address: self.by_address, configured: self.waypoints };
        let from = EndpointInputs { called, networks: self.networks, network: self.network };
        let facts = self.pods;
        let of_pod =
            move |cx: &Cx<'_>, name: &Name, _: &Encoded| cx.get(facts, name).map(|pod| pod.labels.clone());
        let of_entry = |_: &Cx<'_>, _: &Str, row: &EntryWorkload| Some(row.labels.clone());
        let wanted = is_wanted.clone();
        let pods = expand(b, from, "pod_endpoints", pods, (|row| Some(row), of_pod), wanted);
        let wanted = is_wanted.clone();
        let entries = expand(b, from, "entry_endpoints", entries, (EntryWorkload::sent, of_entry), wanted);
        let wanted = is_wanted.clone();
        let inline = expand(b, from, "inline_endpoints", inline, (EntryWorkload::sent, of_entry), wanted);
        let wanted = is_wanted.clone();
        let unlabelled = |_: &Cx<'_>, _: &Str, _: &Encoded| None;
        let endpoints = expand(b, from, "slice_endpoints", endpoints, (|row| Some(row), unlabelled), wanted);
        let summaries = self.summaries.map(|table| summary_endpoints(b, from, table, is_wanted));
        let by_service = [pods, entries, inline, endpoints].map(|table| index(b, table));
        let all = [Some(pods), Some(entries), Some(inline), Some(endpoints), summaries];
        let elsewhere = all.map(|table| {
            let of_service = |key: &EndpointKey, of: &Endpoint| of.through.as_ref().map(|_| key.0.clone());
            table.map(|table| b.index(table, "endpoint_elsewhere", of_service))
        });
        let summary_by_service = summaries.map(|table| index(b, table));
        Endpoints { by_service, summary_by_service, elsewhere, called: b.in_use("called_workloads", rows) }
    }
}

impl Endpoints {
    /// Returns those of a service, ascending by source and name.
    pub fn of(&self, cx: &Cx<'_>, service: &Str) -> Vec<Arc<Endpoint>> {
        let all = self.by_service.iter().chain(&self.summary_by_service);
        all.flat_map(|index| cx.lookup(*index, service)).map(|(_, endpoint)| endpoint).collect()
    }

    /// Tells whether some of a service's are on another network, and reached there.
    pub fn is_elsewhere(&self, cx: &Cx<'_>, service: &Str) -> bool {
        self.elsewhere.iter().flatten().any(|index| cx.any(*index, service))
    }
}

fn index(b: &mut Builder, table: Table<EndpointKey, Endpoint>) -> Index<Str, EndpointKey, Endpoint> {
    b.index(table, "endpoint_by_service", |key: &EndpointKey, _| [key.0.clone()])
}

/// How a workload tells that it is called at its own addresses.
#[derive(Clone, Copy)]
struct Called {
    rows: Memo<CalledWorkload, ()>,
    by_address: Index<Vec<u8>, Name, Waypoint>,
    configured: Table<Name, ()>,
}

impl Called {
    fn tell(self, cx: &Cx<'_>, workload: &workload::Workload) {
        let waypoint = workload.waypoint.as_ref().filter(|_| is_hbone(workload));
        let Some(waypoint) = waypoint.map(Message::encode_to_vec) else { return };
        let bound = cx.lookup(self.by_address, &waypoint).into_iter();
        for (name, _) in bound.filter(|(name, _)| cx.get(self.configured, name).is_some()) {
            for address in workload.addresses.iter().filter_map(|bytes| ip(bytes)) {
                cx.memo(self.rows, &(name.clone(), address, Str::from(workload.uid.as_str())));
            }
        }
    }
}

fn is_hbone(workload: &workload::Workload) -> bool {
    workload.tunnel_protocol() == TunnelProtocol::Hbone
}

/// What endpoints are made from, besides their workloads.
#[derive(Clone, Copy)]
struct EndpointInputs {
    called: Called,
    networks: Networks,
    network: Table<(), Str>,
}

impl EndpointInputs {
    /// Returns the way to a workload of another network.
    fn through(self, cx: &Cx<'_>, of: &workload::Workload) -> Option<Through> {
        if cx.single(self.network).is_none_or(|own| own.as_str() == of.network) {
            return None;
        }
        let named = of.network_gateway.as_ref()?;
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

/// Declares the endpoints that stand for workloads of other networks.
fn summary_endpoints(
    b: &mut Builder,
    from: EndpointInputs,
    table: Table<Str, Summary>,
    is_wanted: impl Fn(&Cx<'_>, &Str) -> bool + Send + 'static,
) -> Table<EndpointKey, Endpoint> {
    let unlabelled = |_: &Cx<'_>, _: &Str, _: &Summary| None;
    let found =
        expand(b, from, "summarised_endpoints", table, (|row| Some(&row.encoded), unlabelled), is_wanted);
    b.derive("summary_endpoints", found, move |cx, (_, name), endpoint| {
        let accounts = cx.get(table, name)?.accounts.clone();
        let through = endpoint.through.clone().map(|through| Through { accounts, ..through });
        Some(Endpoint { through, ..endpoint.clone() })
    })
}

fn expand<K: Key, V: Row>(
    b: &mut Builder,
    from: EndpointInputs,
    name: &'static str,
    table: Table<K, V>,
    (sent, labels): (
        impl Fn(&V) -> Option<&Encoded> + Send + 'static,
        impl Fn(&Cx<'_>, &K, &V) -> Option<Labels> + Send + 'static,
    ),
    is_wanted: impl Fn(&Cx<'_>, &Str) -> bool + Send + 'static,
) -> Table<EndpointKey, Endpoint> {
    b.expand(name, table, move |cx, key, row| {
        let Some(Type::Workload(workload)) = sent(row).and_then(decoded) else { return Vec::new() };
        from.called.tell(cx, &workload);
        let uid = Str::from(workload.uid.as_str());
        let rows = workload.services.iter().filter_map(|(service, ports)| {
            let service = shared(service);
            if !is_wanted(cx, &service) {
                return None;
            }
            let through = from.through(cx, &workload);
            let gateway = through.as_ref().map(|through| Place::Address(through.address.ip()));
            let at = (gateway.or_else(|| place(&workload))?, through);
            let labels = labels(cx, key, row).unwrap_or_default();
            Some(((service, uid.clone()), endpoint(&workload, at, ports, labels)))
        });
        rows.collect()
    })
}

fn place(of: &workload::Workload) -> Option<Place> {
    let name = || (!of.hostname.is_empty()).then(|| Place::Name(shared(&of.hostname)));
    of.addresses.first().and_then(|bytes| ip(bytes)).map(Place::Address).or_else(name)
}

fn endpoint(
    workload: &workload::Workload,
    (place, through): (Place, Option<Through>),
    ports: &workload::PortList,
    labels: Labels,
) -> Endpoint {
    let port = |number: u32| u16::try_from(number).ok();
    let ports = ports.ports.iter().filter_map(|of| Some((port(of.service_port)?, port(of.target_port)?)));
    let at = workload.locality.as_ref();
    let workload::Workload {
        workload_name, namespace, canonical_name, canonical_revision, cluster_id, ..
    } = workload;
    let named = format!("{workload_name};{namespace};{canonical_name};{canonical_revision};{cluster_id}");
    let part = |of: fn(&workload::Locality) -> &String| at.map(|at| shared(of(at))).unwrap_or_default();
    Endpoint {
        place,
        ports: ports.collect(),
        is_hbone: is_hbone(workload),
        is_healthy: workload.status() == WorkloadStatus::Healthy,
        weight: workload.capacity.unwrap_or(1),
        network: shared(&workload.network),
        locality: [part(|at| &at.region), part(|at| &at.zone), part(|at| &at.subzone)],
        node: shared(&workload.node),
        cluster: shared(cluster_id),
        through,
        labels,
        workload: shared(&named),
    }
}

fn destination(
    cx: &Cx<'_>,
    configured: Table<Name, ()>,
    kind: Kind,
    row: &ServiceRow,
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
        preferred,
        required,
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

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
