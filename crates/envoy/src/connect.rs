//! What CONNECTs to an address lead to: ports of services, and whatever port a workload has.

use engine::{Builder, Table};
use mesh::destination::CalledWorkload;
use output::Encoded;
use std::net::IpAddr;

use crate::key::{AddressKey, DIRECT, Layer, MAIN_INTERNAL, PortKey, inbound, port_listener};
use crate::policy::Policies;
use crate::port::{Port, Traffic};
use crate::route::{self, Connect};

/// Declares the scopes of CONNECTs, by waypoint and address.
pub(crate) fn declare(
    b: &mut Builder,
    ports: Table<PortKey, Port>,
    policies: Table<PortKey, Policies>,
    workloads: Table<CalledWorkload, ()>,
) -> Table<AddressKey, Encoded> {
    let ports_at = b.index(ports, "waypoint_port_by_address", addresses);
    let workloads_at = b.index(workloads, "workload_by_address", |key, ()| [workload_address(key)]);
    let scopes = b.memo("connect_scope", move |cx, key: &AddressKey| {
        let ports = cx.lookup(ports_at, key);
        let ports: Vec<_> = ports.into_iter().map(|(of, port)| Called::new(&of, &port)).collect();
        let mut to = Vec::new();
        let decisions: Vec<_> = ports
            .iter()
            // A port of requests has none of its own here, so that a policy's edit does not send them.
            .map(|of| if of.requests.is_none() { cx.get(policies, &of.key) } else { None })
            .collect();
        for (of, policies) in ports.iter().zip(&decisions) {
            to.push(Connect {
                port: Some(of.key.port),
                listener: &of.listener,
                requests: of.requests.as_deref(),
                policies: policies.as_deref(),
            });
        }
        if cx.any(workloads_at, key) {
            to.push(Connect { port: None, listener: DIRECT, requests: Some(DIRECT), policies: None });
        }
        (!to.is_empty()).then(|| Encoded::message(&route::connect(key.address, &to)))
    });
    b.derive("addresses_of_ports", ports, move |cx, key, port| {
        for address in addresses(key, port) {
            cx.memo(scopes, &address);
        }
        Some(())
    });
    b.derive("addresses_of_workloads", workloads, move |cx, key, ()| {
        cx.memo(scopes, &workload_address(key));
        Some(())
    });
    b.in_use("connect_scopes", scopes)
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
    fn new(key: &PortKey, port: &Port) -> Self {
        let traffic = port.traffic();
        let listener = if traffic == Traffic::Http {
            MAIN_INTERNAL.to_owned()
        } else {
            port_listener(key.port, &port.hostname)
        };
        let requests = (traffic != Traffic::Tcp).then(|| inbound(key.port, Layer::Http, &port.hostname));
        Self { key: key.clone(), listener, requests }
    }
}
