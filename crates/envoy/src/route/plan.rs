//! The rules of a port, with the clusters that they lead to.

use engine::Cx;
use gateway::{Action, Backend, HostKey, Placed, PortPath, Routing, Rule, ServiceTarget, Target};
use mesh::PortProtocol;
use model::facts::{HashKey, Resolution};
use model::{Kind, Name, Ns, RequestLimit, Str};
use std::sync::Arc;

use crate::key::{Layer, NO_CLUSTER, Payload, PortKey};
use crate::port::{Port, Traffic};
use crate::upstream::{Found, Streams, To, Upstreams};

/// A rule, and the clusters of what it names.
#[derive(Debug)]
pub(crate) struct Routed {
    pub rule: Arc<Rule>,
    /// Of each backend that it forwards to.
    pub backends: Vec<String>,
    /// Of each mirror.
    pub mirrors: Vec<String>,
    /// What of requests is hashed, so that equal ones go to one instance of a backend.
    pub hashes: Vec<HashKey>,
}

/// What becomes of the requests to a port.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The cluster of the port, by whose name the routes are found.
    pub cluster: String,
    pub port: u16,
    /// The hosts that a request may ask for, so that it leads nowhere else; empty for any.
    pub asked: Vec<String>,
    /// In order. Without any, all goes to the port.
    pub rules: Vec<Routed>,
    /// What of requests to the port itself is hashed.
    pub hash: Option<HashKey>,
    /// How many requests there may be, but for those of rules that say it themselves.
    pub limit: Option<RequestLimit>,
}

/// Where traffic comes by: a gateway, and the port that it is for unless somebody names another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    pub gateway: &'a Name,
    pub port: u16,
    /// What it is, as far as the way by which it comes says it.
    pub payload: Payload,
}

impl<'a> By<'a> {
    fn port(key: &'a PortKey) -> Self {
        Self { gateway: &key.waypoint, port: key.port, payload: Payload::Unknown }
    }
}

/// Where rules and what they name are found.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub routing: Routing,
    pub upstreams: Upstreams,
}

/// Returns how a request may ask for a host at a port: without a port it means that of HTTP.
fn asked(hostname: &Str, port: u16) -> Vec<String> {
    let bare = (port == HTTP).then(|| hostname.to_string());
    bare.into_iter().chain([format!("{hostname}:{port}")]).collect()
}

const HTTP: u16 = 80;

fn cluster(of: Option<Found>) -> String {
    of.map_or_else(|| NO_CLUSTER.to_owned(), |of| of.cluster)
}

impl Sources {
    /// Returns what becomes of the requests to a port; `None` if there are none.
    pub fn requests(&self, cx: &Cx<'_>, key: &PortKey, port: &Port) -> Option<Routes> {
        if port.traffic() == Traffic::Tcp {
            return None;
        }
        let rules = self.rules(cx, key, port, Layer::Http).into_iter();
        let own = self.own(cx, key, port, Layer::Http)?;
        Some(Routes {
            hash: self.upstreams.hash(cx, &own.path),
            cluster: own.cluster,
            port: key.port,
            limit: port.limit,
            asked: match port.resolution {
                Resolution::DynamicDns => asked(&port.hostname, key.port),
                _ => Vec::new(),
            },
            rules: rules.map(|placed| self.routed(cx, By::port(key), placed.rule)).collect(),
        })
    }

    /// Returns what becomes of the streams to a port; `None` if there are none.
    pub fn streams(&self, cx: &Cx<'_>, key: &PortKey, port: &Port) -> Option<Streams> {
        if port.traffic() == Traffic::Http {
            return None;
        }
        let streams = match self.rules(cx, key, port, Layer::Tcp).first() {
            None => self.shares(cx, vec![(self.own(cx, key, port, Layer::Tcp), 1)]),
            Some(first) => self.streams_of(cx, By::port(key), &first.rule),
        };
        let is_asked = port.resolution == Resolution::DynamicDns && port.protocol == PortProtocol::Tls;
        Some(Streams { asked: is_asked.then(|| (port.hostname.clone(), key.port)), ..streams })
    }

    /// Returns what becomes of streams by a rule.
    pub fn streams_of(&self, cx: &Cx<'_>, by: By<'_>, rule: &Rule) -> Streams {
        let backends = match &rule.action {
            Action::Forward(backends) => {
                let found = |to: &Option<Backend>| self.upstream(cx, by, rule, to.as_ref()?, Layer::Tcp);
                backends.iter().map(|to| (found(&to.backend), to.weight)).collect()
            }
            Action::Redirect(_) | Action::Respond(_) | Action::Refuse => vec![(None, 1)],
        };
        self.shares(cx, backends)
    }

    fn shares(&self, cx: &Cx<'_>, backends: Vec<(Option<Found>, u32)>) -> Streams {
        let path = backends.iter().find_map(|(found, _)| Some(&found.as_ref()?.path));
        let limits = path.map(|path| self.upstreams.limits(cx, path)).unwrap_or_default();
        let shares = backends.into_iter().map(|(found, weight)| (cluster(found), weight)).collect();
        Streams { shares, limits, asked: None }
    }

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
            placed.is_at(key.port) && placed.callers.as_ref().is_none_or(|ns| *ns == key.waypoint.ns)
        };
        host.rules.iter().filter(is_its).cloned().collect()
    }

    /// Returns a rule with the clusters that it leads to.
    pub fn routed(&self, cx: &Cx<'_>, by: By<'_>, rule: Arc<Rule>) -> Routed {
        let found = |to: &Backend| self.upstream(cx, by, &rule, to, Layer::Http);
        let backends: Vec<Option<Found>> = match &rule.action {
            Action::Forward(backends) => backends.iter().map(|to| found(to.backend.as_ref()?)).collect(),
            Action::Redirect(_) | Action::Respond(_) | Action::Refuse => Vec::new(),
        };
        let mirrors = rule.mirrors.iter().map(|to| cluster(found(&to.backend))).collect();
        let mut paths: Vec<&PortPath> = backends.iter().flatten().map(|of| &of.path).collect();
        paths.dedup();
        let mut hashes: Vec<HashKey> = Vec::new();
        for hash in paths.into_iter().filter_map(|path| self.upstreams.hash(cx, path)) {
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
        }
        Routed { backends: backends.into_iter().map(cluster).collect(), mirrors, hashes, rule }
    }

    /// Returns where traffic of a port goes without routes.
    fn own(&self, cx: &Cx<'_>, key: &PortKey, port: &Port, layer: Layer) -> Option<Found> {
        let ns = &port.object.ns;
        let (hostname, subset) = (&port.hostname, &Str::new());
        let payload = Payload::Unknown;
        let to = To { client: ns, ns, hostname, port: key.port, subset, layer, payload };
        self.upstreams.find(cx, &key.waypoint, to)
    }

    /// Returns the cluster of a provider that a gateway asks; `None` where there is none, or its port is not said.
    pub fn provider(&self, cx: &Cx<'_>, gateway: &Name, to: &Backend) -> Option<String> {
        self.upstreams.find(cx, gateway, to_provider(gateway, to)?).map(|found| found.cluster)
    }

    /// Tells whether a gateway can ask a provider, without a cluster for that.
    pub fn has_provider(&self, cx: &Cx<'_>, gateway: &Name, to: &Backend) -> bool {
        to_provider(gateway, to).is_some_and(|to| self.upstreams.key(cx, gateway, to).is_some())
    }

    /// Returns a backend of a rule: the namespace that wrote the rule is the one that sends.
    fn upstream(&self, cx: &Cx<'_>, by: By<'_>, rule: &Rule, to: &Backend, layer: Layer) -> Option<Found> {
        let Backend { ns, hostname, port, subset } = to;
        let client: &Ns = &rule.route.name.ns;
        let payload = if rule.route.kind == Kind::GRPCRoute { Payload::Grpc } else { by.payload };
        let to = To { client, ns, hostname, port: port.unwrap_or(by.port), subset, layer, payload };
        self.upstreams.find(cx, by.gateway, to)
    }
}

fn to_provider<'a>(gateway: &'a Name, to: &'a Backend) -> Option<To<'a>> {
    let Backend { ns, hostname, port, subset } = to;
    let (client, layer, payload) = (&gateway.ns, Layer::Http, Payload::Unknown);
    Some(To { client, ns, hostname, port: (*port)?, subset, layer, payload })
}
