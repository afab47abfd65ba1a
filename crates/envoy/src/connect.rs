//! What CONNECTs to an address lead to: ports of services, and whatever port a workload has.

use engine::{Builder, Cx, Table};
use mesh::destination::CalledWorkload;
use output::Encoded;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::key::{AddressKey, DIRECT, Layer, PortKey, ResourceKey, inbound, port_listener};
use crate::policy::{self, Policies};
use crate::port::{Port, Traffic};
use crate::profiles::Profiles;
use crate::route::{self, Connect};
use crate::send::resource;

/// Declares the scopes of CONNECTs from other networks, which name the host of a service.
pub(crate) fn declare_by_name(
    b: &mut Builder,
    ports: Table<PortKey, Port>,
    (policies, profiles): (policy::Tables, Profiles),
) -> Table<ResourceKey, Encoded> {
    b.expand("connect_scopes_of_names", ports, move |cx, key, port| {
        let scope = || {
            let of = Called::new(cx, profiles, key, port);
            let policies = if of.requests.is_none() { policies.of(cx, key) } else { None };
            let to = of.connect(policies.as_deref());
            // What policies know it by is where it is called within the network.
            let at = port.addresses.first().map(|ip| SocketAddr::new(*ip, key.port));
            let scope = route::connect_by_name(&format!("{}:{}", port.hostname, key.port), at, &to);
            resource(&key.waypoint, &scope.name, &scope)
        };
        port.is_for_networks.then(scope).into_iter().collect()
    })
}

/// Declares the scopes of CONNECTs, by waypoint and address: of those that ports of services have, and of those that
/// only workloads have.
pub(crate) fn declare(
    b: &mut Builder,
    ports: Table<PortKey, Port>,
    (policies, profiles): (policy::Tables, Profiles),
    workloads: Table<CalledWorkload, ()>,
) -> [Table<AddressKey, Encoded>; 2] {
    let ports_at = b.index(ports, "waypoint_port_by_address", addresses);
    let workloads_at = b.index(workloads, "workload_by_address", |key, ()| [workload_address(key)]);
    let of_ports = b.group("connect_scopes", ports_at, move |cx, key: &AddressKey, ports| {
        Some(scope(cx, key, ports, (policies, profiles), cx.any(workloads_at, key)))
    });
    let of_workloads =
        b.group("connect_scopes_of_workloads", workloads_at, move |cx, key: &AddressKey, _| {
            (!cx.any(ports_at, key)).then(|| scope(cx, key, &[], (policies, profiles), true))
        });
    [of_ports, of_workloads]
}

fn scope(
    cx: &Cx<'_>,
    key: &AddressKey,
    ports: &[(PortKey, Arc<Port>)],
    (policies, profiles): (policy::Tables, Profiles),
    has_workload: bool,
) -> Encoded {
    let ports: Vec<_> = ports.iter().map(|(of, port)| Called::new(cx, profiles, of, port)).collect();
    let decisions: Vec<_> = ports
        .iter()
        // A port of requests has none of its own here, so that a policy's edit does not send them.
        .map(|of| if of.requests.is_none() { policies.of(cx, &of.key) } else { None })
        .collect();
    let mut to = Vec::new();
    for (of, policies) in ports.iter().zip(&decisions) {
        to.push(of.connect(policies.as_deref()));
    }
    if has_workload {
        to.push(Connect { port: None, listener: DIRECT, requests: Some(DIRECT), policies: None });
    }
    Encoded::message(&route::connect(key.address, &to))
}

fn addresses(key: &PortKey, port: &Port) -> Vec<AddressKey> {
    let of = |address: &IpAddr| AddressKey { waypoint: key.waypoint.clone(), address: *address };
    port.addresses.iter().map(of).collect()
}

fn workload_address((waypoint, address, _): &CalledWorkload) -> AddressKey {
    AddressKey { waypoint: waypoint.clone(), address: *address }
}

/// A port, and where its connections are taken.
struct Called {
    key: PortKey,
    listener: String,
    requests: Option<String>,
}

impl Called {
    fn new(cx: &Cx<'_>, profiles: Profiles, key: &PortKey, port: &Port) -> Self {
        let traffic = port.traffic();
        let listener = if traffic == Traffic::Http {
            profiles.listener(cx, key, port)
        } else {
            port_listener(key.port, &port.hostname)
        };
        let requests = (traffic != Traffic::Tcp).then(|| inbound(key.port, Layer::Http, &port.hostname));
        Self { key: key.clone(), listener, requests }
    }

    fn connect<'a>(&'a self, policies: Option<&'a Policies>) -> Connect<'a> {
        Connect {
            port: Some(self.key.port),
            listener: &self.listener,
            requests: self.requests.as_deref(),
            policies,
        }
    }
}
