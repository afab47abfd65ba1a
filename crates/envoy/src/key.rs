//! Keys under which rows find each other, and the names of resources.

use model::facts::WasmModule;
use model::{Name, Ns, Str, shared};
use output::{Encoded, Resource};
use proto::Scope;
use std::net::IpAddr;

/// A port of a service at a waypoint of that service, or one that sends there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct PortKey {
    /// The waypoint.
    pub waypoint: Name,
    /// The service, `NAMESPACE/HOSTNAME`.
    pub service: Str,
    /// Its port.
    pub port: u16,
}

/// A cluster of a gateway: a port of a service, or of a subset of it, for whoever the same holds of the way there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ClusterKey {
    /// The gateway, mostly a waypoint.
    pub gateway: Name,
    /// The service, `NAMESPACE/HOSTNAME`.
    pub service: Str,
    /// Its port.
    pub port: u16,
    /// How its traffic is taken apart; `None` if the gateway is no waypoint of the service.
    pub layer: Option<Layer>,
    /// The subset; empty for all of it.
    pub subset: Str,
    /// The namespace that sends, where other rules hold for it than for the service's own.
    pub client: Option<Ns>,
    /// What passes, where that makes a difference.
    pub payload: Payload,
}

/// What is known of what passes from outside of the mesh to an upstream, besides what its port says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Payload {
    /// Nothing.
    #[default]
    Unknown,
    /// It is TLS already, and meant for the backend.
    Tls,
    /// It is gRPC, which is HTTP/2.
    Grpc,
}

impl ClusterKey {
    /// The cluster of a port at the service's own waypoint, as it is without routes.
    pub fn own(of: &PortKey, layer: Layer) -> Self {
        Self {
            gateway: of.waypoint.clone(),
            service: of.service.clone(),
            port: of.port,
            layer: Some(layer),
            subset: Str::new(),
            client: None,
            payload: Payload::Unknown,
        }
    }

    /// Returns its name: that of istiod, which knows but one client, the namespace of the gateway.
    pub fn name(&self) -> String {
        let hostname = self.service.split_once('/').map_or(self.service.as_str(), |(_, hostname)| hostname);
        let Self { port, subset, .. } = self;
        let name = match (self.layer, subset.as_str()) {
            (Some(layer), "") => inbound(*port, layer, hostname),
            (Some(layer), _) => format!("inbound-vip|{port}|{}/{subset}|{hostname}", layer.name()),
            (None, _) => format!("outbound|{port}|{subset}|{hostname}"),
        };
        let name = match &self.client {
            Some(client) => format!("{name}|{}", &**client),
            None => name,
        };
        match self.payload {
            Payload::Unknown => name,
            Payload::Tls => name + ";tls",
            Payload::Grpc => name + ";grpc",
        }
    }
}

/// A resource of a gateway, unique within its type.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ResourceKey {
    /// The gateway, mostly a waypoint.
    pub gateway: Name,
    /// What its scope has behind the gateway's name, if it is for instances at one place alone.
    pub place: Str,
    /// The name of the resource.
    pub name: Str,
}

impl ResourceKey {
    pub fn new(gateway: &Name, name: &str) -> Self {
        Self::at(gateway, Str::new(), name)
    }

    /// The key of what is for the instances at one place. Resources of several types have one name, whose text they
    /// share.
    pub fn at(gateway: &Name, place: Str, name: &str) -> Self {
        Self { gateway: gateway.clone(), place, name: shared(name) }
    }

    /// Returns the key of a resource; `None` if the scope is not that of a proxy.
    pub fn of(scope: &Scope, name: &str) -> Option<Self> {
        let (gateway, place) = gateway_of(scope)?;
        Some(Self::at(&gateway, place.into(), name))
    }

    /// Returns the resource of this key.
    pub fn resource<'r>(&'r self, encoded: &'r Encoded) -> Resource<'r> {
        Resource::new(self.name.as_str(), encoded)
            .scope(Scope::proxy(&format!("{}{}", self.gateway, self.place)))
    }
}

/// How traffic of a cluster is taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Layer {
    /// As requests.
    Http,
    /// As bytes.
    Tcp,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// The cluster of a port at the service's own waypoint; its routes and their scope are called so, too.
pub(crate) fn inbound(port: u16, layer: Layer, hostname: &str) -> String {
    format!("inbound-vip|{port}|{}|{hostname}", layer.name())
}

/// The listener, and the cluster that leads to it, of a port that is not HTTP alone.
pub(crate) fn port_listener(port: u16, hostname: &str) -> String {
    format!("main_internal|{port}|{hostname}")
}

/// The endpoints of the cluster by which an instance of a waypoint is told to close its connections: it has none before.
pub(crate) fn drain(pod: &str) -> String {
    format!("drain|{pod}")
}

/// The scope of CONNECTs to an address, or to a host.
pub(crate) fn connect_scope(to: &str) -> String {
    format!("{CONNECT_SCOPE}{to}")
}

/// An address that a waypoint is called for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct AddressKey {
    /// The waypoint.
    pub waypoint: Name,
    /// The address.
    pub address: IpAddr,
}

impl AddressKey {
    /// Returns the key of a scope of CONNECTs; `None` if it is none.
    pub fn of(scope: &Scope, name: &str) -> Option<Self> {
        let (waypoint, _) = gateway_of(scope).filter(|(_, place)| place.is_empty())?;
        Some(Self { waypoint, address: name.strip_prefix(CONNECT_SCOPE)?.parse().ok()? })
    }

    /// Returns the resource of this key.
    pub fn resource<'r>(&self, encoded: &'r Encoded) -> Resource<'r> {
        Resource::new(connect_scope(&self.address.to_string()), encoded)
            .scope(Scope::proxy(&self.waypoint.to_string()))
    }
}

/// Returns the gateway that a scope is of, and what the scope has behind its name.
fn gateway_of(scope: &Scope) -> Option<(Name, &str)> {
    let Scope::Proxy(scope) = scope else { return None };
    let (ns, gateway) = scope.split_once('/')?;
    let (gateway, place) = gateway.split_at(gateway.find('@').unwrap_or(gateway.len()));
    Some((Name::new(ns, gateway), place))
}

/// The scope of requests at a port of a gateway at the edge, for a hostname.
pub(crate) fn edge_scope(port: u16, hostname: &str) -> String {
    format!("http.{port}|{hostname}")
}

/// A port of a gateway at the edge.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EdgePort {
    pub gateway: Name,
    pub port: u16,
}

impl EdgePort {
    /// The name of its listener.
    pub fn listener(&self) -> String {
        format!("{EDGE_LISTENER}{}", self.port)
    }

    /// Returns the key of a listener; `None` if it is none of these.
    pub fn of_listener(scope: &Scope, name: &str) -> Option<Self> {
        Self::named(scope, name.strip_prefix(EDGE_LISTENER)?)
    }

    /// The name of its listener of QUIC.
    pub fn quic(&self) -> String {
        self.listener() + QUIC
    }

    /// Returns the key of a listener of QUIC; `None` if it is none of these.
    pub fn of_quic(scope: &Scope, name: &str) -> Option<Self> {
        Self::of_listener(scope, name.strip_suffix(QUIC)?)
    }

    /// Returns the key of the scope that tells which hostnames there are; `None` if it is another one.
    pub fn of_scope(scope: &Scope, name: &str) -> Option<Self> {
        let (port, hostname) = name.strip_prefix("http.")?.split_once('|')?;
        Self::named(scope, port).filter(|_| hostname == ANY_HOSTNAME)
    }

    fn named(scope: &Scope, port: &str) -> Option<Self> {
        let (gateway, _) = gateway_of(scope).filter(|(_, place)| place.is_empty())?;
        Some(Self { gateway, port: port.parse().ok()? })
    }
}

/// Where a module of WebAssembly is fetched.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ModuleKey {
    pub is_tls: bool,
    /// A name, or an address.
    pub host: Str,
    pub port: u16,
}

impl ModuleKey {
    pub fn of(module: &WasmModule) -> Self {
        Self { is_tls: module.is_tls, host: module.host.clone(), port: module.port }
    }

    /// The name of its cluster.
    pub fn cluster(&self) -> String {
        format!("module|{}", self.url(""))
    }

    /// Returns the URL of a path there.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        let bracket = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{}{}{}:{}{path}", bracket.0, self.host, bracket.1, self.port)
    }
}

/// How listeners of gateways at the edge begin.
const EDGE_LISTENER: &str = "0.0.0.0_";
/// How those of QUIC end.
const QUIC: &str = "_quic";
/// What stands for a hostname that has no scope of its own: none is written so.
pub(crate) const ANY_HOSTNAME: &str = "*.*";
/// The header that says which listener a request came by.
pub(crate) const LISTENER_HEADER: &str = "x-pilothouse-listener";
/// The filters that look for the hostname of a request which has no scope of its own.
pub(crate) const HOSTNAME_FILTERS: [&str; 2] = ["pilothouse.hostname", "pilothouse.wildcard"];
/// The filter that runs Lua; its metadata is what scripts see.
pub(crate) const LUA: &str = "envoy.filters.http.lua";
/// How scopes of CONNECTs begin: no cluster does.
pub(crate) const CONNECT_SCOPE: &str = "connect|";
/// The abstract socket of the admin interface of an Envoy: nothing that a user writes leads to one.
pub(crate) const ADMIN_SOCKET: &str = "@envoy-admin";
/// The filter that answers for other origins.
pub(crate) const CORS: &str = "envoy.filters.http.cors";
/// The filter that delays and aborts requests.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// The filter that limits requests.
pub(crate) const LIMIT: &str = "envoy.filters.http.local_ratelimit";
/// Its statistics.
pub(crate) const LIMITED: &str = "request_limit";
/// The filter that keeps sessions with one endpoint.
pub(crate) const SESSION: &str = "envoy.filters.http.stateful_session";
/// What a share of traffic is sent to whose backend is not there: there is no such cluster.
pub(crate) const NO_CLUSTER: &str = "UnknownService";
/// The listener that takes HBONE.
pub(crate) const CONNECT_TERMINATE: &str = "connect_terminate";
/// The listener of requests to all ports that are HTTP, and the cluster that leads to it.
pub(crate) const MAIN_INTERNAL: &str = "main_internal";
/// The listener of workloads that are called at their own addresses, the cluster that leads to it, and the scope of
/// requests to them.
pub(crate) const DIRECT: &str = "direct";
/// The cluster that sends to where a connection was to.
pub(crate) const ENCAP: &str = "encap";
/// The listener that sends by HBONE, and the cluster of what it sends to.
pub(crate) const CONNECT_ORIGINATE: &str = "connect_originate";
/// The listener of gateways at the edge that sends to services by their waypoints.
pub(crate) const WAYPOINT_ORIGINATE: &str = "waypoint_originate";
/// The listener that sends to another network what only its target is to read, and the cluster that leads to the next.
pub(crate) const INNER_CONNECT_ORIGINATE: &str = "inner_connect_originate";
/// The listener that sends it to the gateway of that network by HBONE, and the cluster of gateways.
pub(crate) const OUTER_CONNECT_ORIGINATE: &str = "outer_connect_originate";
