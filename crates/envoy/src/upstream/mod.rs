//! Upstreams: ports of services, or of subsets of them, with what their authors say of the way there.

mod security;

pub(crate) use security::{Origination, Shown, Trust};

use engine::{Builder, Cx, Memo, Table};
use gateway::{Path, PathPolicy, Policies, PortPath};
use mesh::PortProtocol;
use mesh::destination::Destinations;
use model::facts::{Algorithm, HashKey, KeyPair, LocalitySetting, Resolution, RetryBudget};
use model::{Name, Ns, Str, shared};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::key::{ClusterKey, Layer, Payload, PortKey};
use crate::locality::Preference;
use crate::port::{self, Port, Traffic};

/// What a cluster and its endpoints are made from. It is no row: both compute it, each what it needs.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub port: Port,
    /// What DestinationRules say, if they say anything.
    policy: Option<Arc<PathPolicy>>,
    /// Which of its instances are preferred by where they are.
    pub preference: Option<Preference>,
    /// The waypoint that all traffic to it goes through, and the address that it has there.
    pub waypoint: Option<(Name, IpAddr)>,
}

/// How connections to an upstream are made.
#[derive(Debug)]
pub(crate) struct Way {
    /// How they are secured, if they are.
    pub security: Option<Origination>,
    /// How much may be tried again.
    pub retries: Option<RetryBudget>,
    /// Which version of HTTP is spoken where nothing says it.
    pub unsaid: Unsaid,
}

/// Which version of HTTP is spoken where nothing says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unsaid {
    /// That of the client, who knows what a port takes when it calls in a mesh.
    AsClient,
    /// HTTP/1.1: who calls from outside does not know.
    Http1,
    /// HTTP/2, since it is gRPC.
    Http2,
    /// That which the server takes, as TLS tells.
    Negotiated,
}

impl Upstream {
    /// Returns what DestinationRules say.
    pub fn policy(&self) -> &PathPolicy {
        static NONE: LazyLock<PathPolicy> = LazyLock::new(PathPolicy::default);
        self.policy.as_deref().unwrap_or(&NONE)
    }

    /// Returns the cluster by whose name the endpoints of this one are called: both layers of a port have the same.
    pub fn with_endpoints(&self, key: &ClusterKey) -> ClusterKey {
        let first = self.port.traffic().layers().first().copied();
        ClusterKey { layer: key.layer.and(first), ..key.clone() }
    }

    /// Tells whether its endpoints are a resource of their own.
    pub fn is_by_instances(&self, key: &ClusterKey) -> bool {
        self.waypoint.is_some() || !(self.is_resolved_by_name() || self.is_asked_for_by_name(key))
    }

    /// Tells whether its endpoints are wherever the names lead that requests, or clients of TLS, ask for.
    pub fn is_asked_for_by_name(&self, key: &ClusterKey) -> bool {
        let is_requests = self.port.traffic() != Traffic::Tcp && key.layer != Some(Layer::Tcp);
        self.port.resolution == Resolution::DynamicDns
            && (is_requests || self.port.protocol == PortProtocol::Tls)
    }

    /// Tells whether its endpoints are wherever names lead, which a waypoint finds out itself.
    pub fn is_resolved_by_name(&self) -> bool {
        matches!(self.port.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
    }
}

/// What streams to an upstream are subject to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StreamLimits {
    /// After which time without a byte one ends; zero for never.
    pub idle_timeout: Option<Duration>,
    /// After which time one ends.
    pub max_duration: Option<Duration>,
    /// Whether those from one address are to go to one instance.
    pub hashes_source: bool,
}

/// What becomes of the streams to a port: clusters and their shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    pub shares: Vec<(String, u32)>,
    /// What holds of them at the first.
    pub limits: StreamLimits,
    /// The host and the port that clients of TLS may ask for, where they are led to what they ask for.
    pub asked: Option<(Str, u16)>,
}

/// Upstreams: those that somebody wants, by reading them here, are configured.
#[derive(Clone, Copy)]
pub(crate) struct Upstreams {
    destinations: Destinations,
    rules: gateway::Destinations,
    wanted: Memo<ClusterKey, ()>,
    hashes: Memo<PortPath, HashKey>,
    limits: Memo<PortPath, StreamLimits>,
    /// What is preferred where nothing else says it.
    locality: Table<(), LocalitySetting>,
    policies: Policies,
    security: security::Sources,
    /// The gateways at the edge.
    edges: Table<Name, ()>,
}

/// An upstream that is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The name of its cluster.
    pub cluster: String,
    /// What holds of the way there is found by it.
    pub path: PortPath,
}

/// Where traffic is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    /// The namespace that sends.
    pub client: &'a Ns,
    /// The namespace of the service.
    pub ns: &'a Ns,
    pub hostname: &'a Str,
    pub port: u16,
    /// The subset; empty for all of it.
    pub subset: &'a Str,
    pub layer: Layer,
    pub payload: Payload,
}

impl Upstreams {
    pub fn declare(
        b: &mut Builder,
        destinations: Destinations,
        mesh: &mesh::Tables,
        gateway: &gateway::Tables,
        edges: Table<Name, ()>,
    ) -> Self {
        let rules = gateway.destinations;
        let certificates = security::declare_certificates(b);
        Self {
            destinations,
            rules,
            // Whoever leads there reads no more than that it is there.
            wanted: b.memo("wanted_clusters", |_, _: &ClusterKey| Some(())),
            hashes: b.memo("hash_keys", move |cx, path: &PortPath| {
                match &rules.policy(cx, path)?.port.load_balancer.as_ref()?.algorithm {
                    Algorithm::Hash(key, _) => Some(key.clone()),
                    Algorithm::LeastRequest | Algorithm::RoundRobin | Algorithm::Random => None,
                }
            }),
            limits: b.memo("stream_limits", move |cx, path: &PortPath| {
                let policy = &rules.policy(cx, path)?.port;
                let pool = policy.connections.as_ref();
                let algorithm = policy.load_balancer.as_ref().map(|of| &of.algorithm);
                Some(StreamLimits {
                    idle_timeout: pool.and_then(|pool| pool.tcp_idle_timeout),
                    max_duration: pool.and_then(|pool| pool.max_connection_duration),
                    hashes_source: matches!(algorithm, Some(Algorithm::Hash(HashKey::SourceIp, _))),
                })
            }),
            locality: mesh.locality,
            policies: gateway.policies,
            edges,
            security: security::Sources {
                policies: gateway.policies,
                credentials: rules.credentials,
                certificates,
                of_gateways: gateway.client_certificates,
            },
        }
    }

    /// Wants the clusters of a port at its service's own waypoint.
    pub fn want(self, cx: &Cx<'_>, port: &PortKey, protocol: PortProtocol) {
        for layer in Traffic::of(protocol).layers() {
            cx.memo(self.wanted, &ClusterKey::own(port, *layer));
        }
    }

    /// Returns an upstream of a gateway; `None` where there is no such port.
    pub fn find(self, cx: &Cx<'_>, gateway: &Name, to: To<'_>) -> Option<Found> {
        let (key, path) = self.key(cx, gateway, to)?;
        // Read so that there is such a cluster.
        cx.memo(self.wanted, &key);
        Some(Found { cluster: key.name(), path })
    }

    /// Returns the key of the cluster that [`find`](Self::find) finds, which is not there for that.
    pub fn key(self, cx: &Cx<'_>, gateway: &Name, to: To<'_>) -> Option<(ClusterKey, PortPath)> {
        let service = shared(&format!("{}/{}", &**to.ns, to.hostname));
        let destination = self.destinations.get(cx, &service)?;
        let (_, protocol) = destination.ports.iter().find(|(port, _)| *port == to.port)?;
        // Requests may be sent to what is said to be no HTTP, and the other way round.
        let layers = Traffic::of(*protocol).layers();
        let layer = if layers.contains(&to.layer) { to.layer } else { layers[0] };
        let path = PortPath {
            path: Path { client: to.client.clone(), service: to.ns.clone(), hostname: to.hostname.clone() },
            port: to.port,
            subset: to.subset.clone(),
        };
        let mut key = ClusterKey {
            gateway: gateway.clone(),
            service,
            port: to.port,
            layer: destination.waypoints.contains(gateway).then_some(layer),
            subset: to.subset.clone(),
            client: self.rules.of_client(cx, &path.path),
            payload: Payload::Unknown,
        };
        if to.payload != Payload::Unknown && cx.get(self.edges, gateway).is_some() {
            key.payload = self.payload(cx, &key, to.payload);
        }
        Some((key, path))
    }

    /// Returns what payload to an upstream, if the way there is another one for that.
    fn payload(self, cx: &Cx<'_>, key: &ClusterKey, payload: Payload) -> Payload {
        let Some(upstream) = self.of(cx, key) else { return Payload::Unknown };
        let differs = match payload {
            Payload::Unknown => false,
            Payload::Tls => self.way(cx, key, &upstream).security.is_some(),
            Payload::Grpc => !matches!(upstream.port.protocol, PortProtocol::Http2 | PortProtocol::Grpc),
        };
        if differs { payload } else { Payload::Unknown }
    }

    /// Returns what of a request to an upstream is hashed, if its endpoints are chosen so.
    pub fn hash(self, cx: &Cx<'_>, of: &PortPath) -> Option<HashKey> {
        self.rules.held(cx, &of.path)?;
        cx.memo(self.hashes, of).map(|key| (*key).clone())
    }

    /// Returns what streams to an upstream are subject to.
    pub fn limits(self, cx: &Cx<'_>, of: &PortPath) -> StreamLimits {
        cx.memo(self.limits, of).map(|of| *of).unwrap_or_default()
    }

    /// Declares the clusters that are wanted; to be called after all tables that want any.
    pub fn declare_wanted(self, b: &mut Builder) -> Table<ClusterKey, ()> {
        b.in_use("clusters_in_use", self.wanted)
    }

    /// Declares what gateways show to upstreams: whose gateway, the Secret, and what is in it. To be called after all
    /// tables that read the ways there.
    pub fn declare_certificates(self, b: &mut Builder) -> Table<(Name, Name), KeyPair> {
        security::declare_pairs(b, self.security)
    }

    /// Returns what a cluster and its endpoints are made from; `None` if there is no such port.
    pub fn of(self, cx: &Cx<'_>, key: &ClusterKey) -> Option<Upstream> {
        let port = port::find(cx, self.destinations, &key.service, key.port)?;
        let service = port.object.ns.clone();
        let client = key.client.clone().unwrap_or_else(|| service.clone());
        let path = PortPath {
            path: Path { client, service, hostname: port.hostname.clone() },
            port: key.port,
            subset: key.subset.clone(),
        };
        let policy = self.rules.policy(cx, &path);
        let service = self.destinations.get(cx, &key.service)?;
        let mut of = Upstream { port, policy, preference: None, waypoint: None };
        of.preference = Preference::of(&service, &of.policy().port, cx.single(self.locality).as_deref());
        if service.edge_uses_waypoint && cx.get(self.edges, &key.gateway).is_some() {
            of.waypoint = service.waypoints.first().cloned().zip(service.addresses.first().copied());
        }
        Some(of)
    }

    /// Returns how connections to an upstream are made.
    pub fn way(self, cx: &Cx<'_>, key: &ClusterKey, to: &Upstream) -> Way {
        let is_requests = to.port.traffic() != Traffic::Tcp && key.layer != Some(Layer::Tcp);
        // A waypoint does it for whatever goes through it.
        let security = match to.waypoint {
            Some(_) => None,
            None if key.payload == Payload::Tls => None,
            None => self.security.of(cx, &key.gateway, &to.port, to.policy(), is_requests),
        };
        let unsaid = match (cx.get(self.edges, &key.gateway), &security) {
            (None, _) => Unsaid::AsClient,
            (Some(_), None) if key.payload == Payload::Grpc => Unsaid::Http2,
            (Some(_), None) => Unsaid::Http1,
            (Some(_), Some(_)) => Unsaid::Negotiated,
        };
        Way { security, retries: self.retries(cx, &to.port).or(to.policy().retries), unsaid }
    }

    /// Returns what a policy of the Gateway API says of how much may be tried again.
    fn retries(self, cx: &Cx<'_>, port: &Port) -> Option<RetryBudget> {
        let mut targets = security::targets(port).into_iter();
        let of = targets.find_map(|target| self.policies.traffic.get(cx, &target))?.retries?;
        Some(RetryBudget {
            percent: Some(of.budget.count.min(100) * 1_000),
            min_concurrency: Some(of.min_rate.count),
            interval: Some(of.budget.interval),
        })
    }
}
