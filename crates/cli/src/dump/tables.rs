//! Resources as tables for people: one line each, `-` where there is nothing.

use super::config;
use super::listings;
use super::resources::{Resources, ip, is_enrolled};
use super::rules;
use super::view::View;
use crate::table::{self, Cell, Column, Rendered, Room};
use proto::security::{Authorization, Scope};
use proto::workload::gateway_address::Destination;
use proto::workload::{
    AppProtocol, GatewayAddress, NetworkAddress, Port, Service, TunnelProtocol, Workload, WorkloadStatus,
};
use std::collections::{BTreeMap, BTreeSet};

const WORKLOADS: [Column; 9] = [
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("ADDRESS", 3),
    Column::of("NODE", 6),
    Column::of("ACCOUNT", 5),
    Column::of("PROTOCOL", 2),
    Column::of("WAYPOINT", 4),
    Column::of("POLICIES", 3),
    Column::of("STATUS", 1),
];

const SERVICES: [Column; 7] = [
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("HOSTNAME", 5),
    Column::of("VIPS", 3),
    Column::of("PORTS", 2),
    Column::of("WAYPOINT", 4),
    Column::of("ENDPOINTS", 1),
];

/// The last one only where statuses are known.
const POLICIES: [Column; 6] = [
    Column::key("NAMESPACE"),
    Column::key("NAME"),
    Column::of("SCOPE", 4),
    Column::of("ACTION", 1),
    Column::of("RULES", 2).at_most(100),
    Column::of("STATUS", 3),
];

const NODES: [Column; 4] =
    [Column::key("NODE"), Column::of("ZONE", 3), Column::of("WORKLOADS", 2), Column::of("ENROLLED", 1)];

/// Returns the table of a view; with a namespace only its rows.
pub fn render(all: &Resources, view: View, namespace: Option<&str>, room: Room) -> Rendered {
    let shown = |ns: &str| namespace.is_none_or(|wanted| wanted == ns);
    match view {
        View::Workloads => {
            let context = Context::of(all);
            let rows = all.workloads.iter().filter(|w| shown(&w.namespace)).map(|w| context.workload(w));
            table::render(&WORKLOADS, &rows.collect::<Vec<_>>(), room)
        }
        View::Services => {
            let context = Context::of(all);
            let rows = all.services.iter().filter(|s| shown(&s.namespace)).map(|s| context.service(s));
            table::render(&SERVICES, &rows.collect::<Vec<_>>(), room)
        }
        View::Policies => {
            let columns = &POLICIES[..if all.statuses.is_some() { 6 } else { 5 }];
            table::render(columns, &policies(all, shown), room)
        }
        View::Nodes => {
            let rows = all.nodes(namespace).into_iter().map(|n| {
                let counts = [n.workloads, n.enrolled].map(|count| Cell::text(count.to_string()));
                [Cell::text(n.name), Cell::text(n.zone)].into_iter().chain(counts).collect()
            });
            table::render(&NODES, &rows.collect::<Vec<_>>(), room)
        }
        View::Gateways | View::Routes | View::Status => listings::render(all, view, namespace, room),
        View::Waypoints | View::Config => config::render(all, view, namespace, room),
    }
}

/// How many workloads a service has.
#[derive(Default)]
struct Endpoints {
    healthy: usize,
    all: usize,
}

/// What lines say about other resources.
struct Context<'a> {
    /// Services by network and address.
    by_address: BTreeMap<(&'a str, &'a [u8]), &'a Service>,
    /// Endpoints by `namespace/hostname`.
    endpoints: BTreeMap<&'a str, Endpoints>,
    /// Names of policies that workloads may list.
    policies: BTreeSet<(&'a str, &'a str)>,
    /// Policies that count for whole namespaces, and those for the mesh.
    wide: Vec<&'a Authorization>,
}

impl<'a> Context<'a> {
    fn of(all: &'a Resources) -> Self {
        let addresses = all.services.iter().flat_map(|service| {
            service.addresses.iter().map(move |a| ((a.network.as_str(), a.address.as_ref()), service))
        });
        let mut endpoints: BTreeMap<&str, Endpoints> = BTreeMap::new();
        for workload in &all.workloads {
            for service in workload.services.keys() {
                let of = endpoints.entry(service).or_default();
                of.all += 1;
                of.healthy += usize::from(workload.status() == WorkloadStatus::Healthy);
            }
        }
        Self {
            by_address: addresses.collect(),
            endpoints,
            policies: all.policies.iter().map(|p| (p.namespace.as_str(), p.name.as_str())).collect(),
            wide: all.policies.iter().filter(|p| p.scope() != Scope::WorkloadSelector).collect(),
        }
    }

    fn workload(&self, workload: &Workload) -> Vec<Cell> {
        let addresses = match workload.addresses.as_slice() {
            [] => Cell::text(&workload.hostname),
            some => list(some.iter().map(|bytes| ip(bytes))),
        };
        let protocol = match workload.tunnel_protocol() {
            TunnelProtocol::None => "TCP",
            _ if is_enrolled(workload) => "HBONE",
            other => other.as_str_name(),
        };
        vec![
            Cell::text(&workload.namespace),
            Cell::text(&workload.name),
            addresses,
            Cell::text(&workload.node),
            Cell::text(&workload.service_account),
            Cell::text(protocol),
            Cell::text(self.waypoint(workload.waypoint.as_ref(), &workload.namespace)),
            self.policies_of(workload),
            Cell::text(enum_text(
                WorkloadStatus::try_from(workload.status).ok().map(|s| s.as_str_name()),
                workload.status,
            )),
        ]
    }

    /// The policies that judge a workload: those that it lists, those of its namespace, and those of
    /// the mesh. One that it lists and that does not exist is marked, since it judges nothing.
    fn policies_of(&self, workload: &Workload) -> Cell {
        let listed = workload.authorization_policies.iter().map(|listed| {
            let (namespace, name) = listed.split_once('/').unwrap_or(("", listed));
            let short = within(namespace, name, &workload.namespace);
            if self.policies.contains(&(namespace, name)) { short } else { format!("{short}(missing)") }
        });
        let wide = self.wide.iter().filter(|p| match p.scope() {
            Scope::Namespace => p.namespace == workload.namespace,
            _ => true,
        });
        list(listed.chain(wide.map(|p| within(&p.namespace, &p.name, &workload.namespace))))
    }

    fn service(&self, service: &Service) -> Vec<Cell> {
        let key = format!("{}/{}", service.namespace, service.hostname);
        let endpoints = self.endpoints.get(key.as_str());
        let (healthy, all) = endpoints.map_or((0, 0), |e| (e.healthy, e.all));
        vec![
            Cell::text(&service.namespace),
            Cell::text(&service.name),
            Cell::text(&service.hostname),
            list(service.addresses.iter().map(network_address)),
            list(service.ports.iter().map(port)),
            Cell::text(self.waypoint(service.waypoint.as_ref(), &service.namespace)),
            Cell::text(format!("{healthy}/{all}")),
        ]
    }

    /// A waypoint by the name of its service where that is known, as seen from a namespace.
    fn waypoint(&self, gateway: Option<&GatewayAddress>, namespace: &str) -> String {
        match gateway.and_then(|g| g.destination.as_ref().map(|d| (d, g.hbone_mtls_port))) {
            None => String::new(),
            Some((Destination::Hostname(host), _)) => {
                let service = host.hostname.split('.').next().unwrap_or_default();
                within(&host.namespace, service, namespace)
            }
            Some((Destination::Address(address), port)) => {
                match self.by_address.get(&(address.network.as_str(), address.address.as_ref())) {
                    Some(service) => within(&service.namespace, &service.name, namespace),
                    None => format!("{}:{port}", network_address(address)),
                }
            }
        }
    }
}

/// Policies that are sent, with their status where that is known, and those that have a status only:
/// no ztunnel is sent them.
fn policies(all: &Resources, shown: impl Fn(&str) -> bool) -> Vec<Vec<Cell>> {
    let mut rows: BTreeMap<(&str, &str), Vec<Cell>> = BTreeMap::new();
    for of in &all.policies {
        rows.insert((&of.namespace, &of.name), policy(of));
    }
    if let Some(statuses) = &all.statuses {
        for ((namespace, name), status) in statuses {
            let unsent = || vec![Cell::text(""), Cell::text(""), Cell::text("")];
            let row = rows.entry((namespace, name)).or_insert_with(unsent);
            row.push(Cell::list(status, ", "));
        }
        rows.values_mut().for_each(|row| row.resize(4, Cell::text("")));
    }
    let rows = rows.into_iter().filter(|((namespace, _), _)| shown(namespace));
    let named = rows.map(|((namespace, name), row)| {
        [Cell::text(namespace), Cell::text(name)].into_iter().chain(row).collect()
    });
    named.collect()
}

/// Scope, action and rules.
fn policy(policy: &Authorization) -> Vec<Cell> {
    use proto::security::Action;
    let scope = Scope::try_from(policy.scope).ok().map(|s| s.as_str_name());
    let action = Action::try_from(policy.action).ok().map(|a| a.as_str_name());
    let dry = if policy.dry_run { " (dry run)" } else { "" };
    vec![
        Cell::text(enum_text(scope, policy.scope)),
        Cell::text(format!("{}{dry}", enum_text(action, policy.action))),
        Cell::list(rules::alternatives(policy), rules::OR),
    ]
}

/// `9080`, `80:8080` where the pods have another port, with the protocol where one is known.
fn port(port: &Port) -> String {
    let mut text = port.service_port.to_string();
    if port.target_port != 0 && port.target_port != port.service_port {
        text = format!("{text}:{}", port.target_port);
    }
    match port.app_protocol() {
        AppProtocol::Unknown => text,
        known => format!("{text}/{}", known.as_str_name()),
    }
}

/// The address, behind the name of its network if that has one.
fn network_address(of: &NetworkAddress) -> String {
    let length = of.length.map(|bits| format!("/{bits}")).unwrap_or_default();
    match of.network.as_str() {
        "" => format!("{}{length}", ip(&of.address)),
        network => format!("{network}/{}{length}", ip(&of.address)),
    }
}

/// The name alone where it is in the same namespace.
fn within(of: &str, name: &str, namespace: &str) -> String {
    if of == namespace { name.to_owned() } else { format!("{of}/{name}") }
}

/// A value by its name; one of a newer version by its number.
fn enum_text(name: Option<&str>, value: i32) -> String {
    name.map_or_else(|| value.to_string(), str::to_owned)
}

fn list(texts: impl Iterator<Item = String>) -> Cell {
    Cell::list(texts, ",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::workload::PortList;

    fn gateway(ip: [u8; 4]) -> Option<GatewayAddress> {
        let address = NetworkAddress { address: ip.to_vec().into(), ..NetworkAddress::default() };
        Some(GatewayAddress { destination: Some(Destination::Address(address)), hbone_mtls_port: 15008 })
    }

    fn service(name: &str, ip: [u8; 4]) -> Service {
        Service {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            hostname: format!("{name}.shop.svc"),
            addresses: vec![NetworkAddress { address: ip.to_vec().into(), ..NetworkAddress::default() }],
            ports: vec![
                Port { service_port: 80, target_port: 8080, app_protocol: AppProtocol::Http2.into() },
                Port { service_port: 443, target_port: 0, app_protocol: 0 },
            ],
            ..Service::default()
        }
    }

    fn workload(name: &str, status: WorkloadStatus) -> Workload {
        Workload {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            addresses: vec![vec![10, 0, 0, 1].into(), vec![0; 16].into()],
            status: status.into(),
            services: [("shop/web.shop.svc".to_owned(), PortList::default())].into(),
            ..Workload::default()
        }
    }

    fn render(all: &Resources, view: View, namespace: Option<&str>) -> String {
        super::render(all, view, namespace, Room::Shortened).text
    }

    fn lines(text: &str) -> Vec<Vec<&str>> {
        text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn a_service_counts_its_workloads_and_names_its_waypoint() {
        let web = Service { waypoint: gateway([10, 1, 0, 2]), ..service("web", [10, 1, 0, 1]) };
        let all = Resources {
            workloads: vec![workload("a", WorkloadStatus::Healthy), workload("b", WorkloadStatus::Unhealthy)],
            services: vec![service("gate", [10, 1, 0, 2]), web],
            ..Resources::default()
        };
        let text = render(&all, View::Services, None);
        assert_eq!(
            lines(&text),
            [
                ["shop", "gate", "gate.shop.svc", "10.1.0.2", "80:8080/HTTP2,443", "-", "0/0"],
                ["shop", "web", "web.shop.svc", "10.1.0.1", "80:8080/HTTP2,443", "gate", "1/2"],
            ]
        );
    }

    #[test]
    fn a_waypoint_that_is_no_known_service_keeps_its_address() {
        let of = Workload { waypoint: gateway([10, 9, 9, 9]), ..workload("a", WorkloadStatus::Healthy) };
        let all = Resources { workloads: vec![of], ..Resources::default() };
        assert!(render(&all, View::Workloads, None).contains(" 10.9.9.9:15008 "));
    }

    #[test]
    fn a_workload_shows_every_policy_that_judges_it() {
        let policy = |namespace: &str, name: &str, scope: Scope| Authorization {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            scope: scope.into(),
            ..Authorization::default()
        };
        let of = Workload {
            authorization_policies: vec!["shop/own".to_owned(), "shop/lost".to_owned()],
            ..workload("a", WorkloadStatus::Healthy)
        };
        let all = Resources {
            workloads: vec![of],
            policies: vec![
                policy("other", "not-here", Scope::Namespace),
                policy("root", "mesh", Scope::Global),
                policy("shop", "all", Scope::Namespace),
                policy("shop", "own", Scope::WorkloadSelector),
            ],
            ..Resources::default()
        };
        let text = render(&all, View::Workloads, None);
        let cells =
            ["shop", "a", "10.0.0.1,::", "-", "-", "TCP", "-", "own,lost(missing),root/mesh,all", "HEALTHY"];
        assert_eq!(lines(&text), [cells]);
    }

    #[test]
    fn only_the_namespace_asked_for_is_shown() {
        let all = Resources { services: vec![service("web", [10, 1, 0, 1])], ..Resources::default() };
        assert_eq!(lines(&render(&all, View::Services, Some("shop"))).len(), 1);
        assert_eq!(lines(&render(&all, View::Services, Some("other"))).len(), 0);
    }
}
