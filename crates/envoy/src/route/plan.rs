//! The rules of a port, with the clusters that they lead to.

use engine::{Builder, Cx, Memo, Table};
use gateway::{Action, Backend, HostKey, Placed, Routing, Rule, ServiceTarget, Target};
use mesh::destination::Destinations;
use model::{Kind, Str};
use std::sync::Arc;

use crate::key::{Layer, NO_CLUSTER, PortKey, inbound, outbound};
use crate::port::{Port, Traffic};

/// A rule, and the clusters of what it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Routed {
    pub rule: Arc<Rule>,
    /// Of each backend that it forwards to.
    pub backends: Vec<String>,
    /// Of each mirror.
    pub mirrors: Vec<String>,
}

/// What becomes of the requests to a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Routes {
    /// The cluster of the port, by whose name the routes are found.
    pub cluster: String,
    pub hostname: Str,
    pub port: u16,
    /// In order. Without any, all goes to the port.
    pub rules: Vec<Routed>,
}

/// What becomes of the streams to a port: clusters and their shares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Streams {
    pub hostname: Str,
    pub shares: Vec<(String, u32)>,
    pub traffic: Traffic,
}

/// Where rules and what they name are found.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub ports: Table<PortKey, Port>,
    pub routing: Routing,
    pub destinations: Destinations,
    pub outbound: Memo<PortKey, Port>,
}

pub(crate) fn declare_requests(b: &mut Builder, of: Sources) -> Table<PortKey, Routes> {
    b.derive("port_routes", of.ports, move |cx, key, port| {
        if port.traffic() == Traffic::Tcp {
            return None;
        }
        let rules = of.rules(cx, key, port, Layer::Http);
        let route = |placed: Placed| Routed {
            backends: match &placed.rule.action {
                Action::Forward(backends) => {
                    backends.iter().map(|to| of.cluster(cx, key, to.backend.as_ref(), Layer::Http)).collect()
                }
                Action::Redirect(_) | Action::Respond(_) | Action::Refuse => Vec::new(),
            },
            mirrors: {
                let mirrors = placed.rule.mirrors.iter();
                mirrors.map(|to| of.cluster(cx, key, Some(&to.backend), Layer::Http)).collect()
            },
            rule: placed.rule,
        };
        Some(Routes {
            cluster: inbound(key.port, Layer::Http, &port.hostname),
            hostname: port.hostname.clone(),
            port: key.port,
            rules: rules.into_iter().map(route).collect(),
        })
    })
}

pub(crate) fn declare_streams(b: &mut Builder, of: Sources) -> Table<PortKey, Streams> {
    b.derive("port_streams", of.ports, move |cx, key, port| {
        let traffic = port.traffic();
        if traffic == Traffic::Http {
            return None;
        }
        let first = of.rules(cx, key, port, Layer::Tcp).into_iter().next();
        let refused = || vec![(NO_CLUSTER.to_owned(), 1)];
        let shares = match first.as_ref().map(|placed| &placed.rule.action) {
            None => vec![(inbound(key.port, Layer::Tcp, &port.hostname), 1)],
            Some(Action::Forward(backends)) => {
                let share = |to: &gateway::WeightedBackend| {
                    (of.cluster(cx, key, to.backend.as_ref(), Layer::Tcp), to.weight)
                };
                backends.iter().map(share).collect()
            }
            Some(Action::Redirect(_) | Action::Respond(_) | Action::Refuse) => refused(),
        };
        Some(Streams { hostname: port.hostname.clone(), shares, traffic })
    })
}

impl Sources {
    /// Returns the rules of a port that are its waypoint's matter: not those that callers of another
    /// namespace chose for themselves.
    fn rules(&self, cx: &Cx<'_>, key: &PortKey, port: &Port, layer: Layer) -> Vec<Placed> {
        let at = usize::from(port.kind == Kind::ServiceEntry) + 1;
        let table = match layer {
            Layer::Http => self.routing.requests[at],
            Layer::Tcp => self.routing.streams[at],
        };
        let target = Target::Service(ServiceTarget { kind: port.kind, name: port.object.clone() });
        let Some(host) = cx.get(table, &HostKey { target, hostname: port.hostname.clone() }) else {
            return Vec::new();
        };
        let is_its = |placed: &&Placed| {
            placed.port.is_none_or(|port| port == key.port)
                && placed.callers.as_ref().is_none_or(|ns| *ns == key.waypoint.ns)
        };
        host.rules.iter().filter(is_its).cloned().collect()
    }

    /// Returns the cluster of a backend: that of the waypoint's own port where it is one.
    pub fn cluster(&self, cx: &Cx<'_>, key: &PortKey, to: Option<&Backend>, layer: Layer) -> String {
        let Some(to) = to else { return NO_CLUSTER.to_owned() };
        let service = Str::from(format!("{}/{}", &*to.ns, to.hostname));
        let Some(destination) = self.destinations.get(cx, &service) else { return NO_CLUSTER.to_owned() };
        let to_port = to.port.unwrap_or(key.port);
        let protocol = destination.ports.iter().find(|(port, _)| *port == to_port).map(|(_, of)| *of);
        let Some(protocol) = protocol else { return NO_CLUSTER.to_owned() };
        if destination.waypoints.contains(&key.waypoint) {
            // Requests may be sent to what is said to be no HTTP, and the other way round.
            let layers = Traffic::of(protocol).layers();
            let layer = if layers.contains(&layer) { layer } else { layers[0] };
            return inbound(to_port, layer, &to.hostname);
        }
        let outbound_key = PortKey { waypoint: key.waypoint.clone(), service, port: to_port };
        // Read so that there is such a cluster.
        cx.memo(self.outbound, &outbound_key);
        outbound(to_port, &to.hostname)
    }
}
