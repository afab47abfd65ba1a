//! Routes of every kind in one shape.

use super::{BackendReference, Filter, Meta, ObjectReference};
use crate::Str;
use std::time::Duration;

/// The kinds of routes, by what they route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum RouteProtocol {
    /// `HTTPRoute`.
    #[default]
    Http,
    /// `GRPCRoute`.
    Grpc,
    /// `TLSRoute`.
    Tls,
    /// `TCPRoute`.
    Tcp,
    /// `UDPRoute`.
    Udp,
}

impl RouteProtocol {
    /// Tells whether requests are routed, and not streams of bytes.
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::Grpc)
    }
}

/// Facts of a Gateway API `HTTPRoute`, `GRPCRoute`, `TLSRoute`, `TCPRoute` or `UDPRoute`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Route {
    /// Metadata.
    pub meta: Meta,
    /// What it routes.
    pub protocol: RouteProtocol,
    /// `spec.parentRefs`, in order.
    pub parents: Vec<ParentReference>,
    /// `spec.hostnames` in lower case, in order; empty for all that its parents have.
    pub hostnames: Vec<Str>,
    /// `spec.rules`, in order.
    pub rules: Vec<RouteRule>,
}

/// An entry of `spec.parentRefs`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ParentReference {
    /// The object.
    pub object: ObjectReference,
    /// `sectionName`; empty for every listener or port.
    pub section: Str,
    /// `port`; `None` for every one.
    pub port: Option<u16>,
}

/// One entry of `spec.rules`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteRule {
    /// `name`; empty when unset.
    pub name: Str,
    /// What is routed, in order. One that is not valid is left out, so a rule with none routes nothing; a
    /// rule without `matches` has the one that matches everything.
    pub matches: Vec<RequestMatch>,
    /// `filters`, in order.
    pub filters: Vec<Filter>,
    /// `backendRefs`, in order.
    pub backends: Vec<BackendReference>,
    /// `timeouts`.
    pub timeouts: RouteTimeouts,
    /// `retry`.
    pub retry: Option<Retry>,
    /// `sessionPersistence`.
    pub session: Option<SessionPersistence>,
    /// What is not valid. A rule that has any must not route as if it were not there: what still matches
    /// is refused.
    pub faults: Vec<RouteFault>,
}

/// What of a rule is not valid.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteFault {
    /// The field, as in `spec.rules[0].filters[1]`.
    pub field: String,
    /// What is wrong; text from outside is quoted.
    pub message: String,
}

/// An entry of `matches`: all of its parts must match.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RequestMatch {
    /// `path`, or the `method` of a GRPCRoute as the path that it is on the wire; `None` for every one.
    pub path: Option<PathMatch>,
    /// `headers`, of which the first of each name counts. Those of HTTP/2 that begin with a colon are matched alike:
    /// `:authority`, `:scheme`, and `:method` where it is no plain `method`.
    pub headers: Vec<ValueMatch>,
    /// `queryParams`, of which the first of each name counts.
    pub query: Vec<ValueMatch>,
    /// `method`; empty for every one.
    pub method: Str,
    /// Whether `path` is compared without regard to case, unless it is a regular expression.
    pub ignores_case: bool,
    /// The port of the service by which the traffic came; `None` for every one.
    pub port: Option<u16>,
    /// The namespace that it comes from; empty for every one.
    pub callers: Str,
    /// Of streams: the hostnames that clients of TLS ask for, perhaps with a wildcard; empty for all streams.
    pub sni: Vec<Str>,
}

/// A match of the path of a request.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PathMatch {
    /// `Exact`.
    Exact(Str),
    /// `PathPrefix`, by whole elements, without a slash at the end unless it is `/`.
    Prefix(Str),
    /// `uri.prefix` of a VirtualService: the text that the path begins with.
    StartsWith(Str),
    /// `RegularExpression`, of the whole path.
    Regex(Str),
}

/// A match of a header or query parameter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ValueMatch {
    /// `name`; of headers in lower case.
    pub name: Str,
    /// `value`.
    pub value: Str,
    /// `type` is `RegularExpression`: `value` is one, of the whole value; `.*` for any.
    pub is_regex: bool,
    /// Whether what has no such value matches, and not what has one.
    pub is_negated: bool,
}

/// `timeouts` of a rule; zero counts as unset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RouteTimeouts {
    /// `request`: until the response is complete.
    pub request: Option<Duration>,
    /// `backendRequest`: of one try.
    pub backend_request: Option<Duration>,
}

/// `retry` of a rule.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Retry {
    /// `attempts` beyond the first, 1 when unset; 0 for none.
    pub attempts: u32,
    /// `codes` of responses that are retried, ascending.
    pub codes: Vec<u16>,
    /// `backoff`, at least.
    pub backoff: Option<Duration>,
    /// What is retried besides, as Envoy calls it (`reset`, `cancelled`); empty for what is by default.
    pub conditions: Vec<Str>,
    /// Whether endpoints of other localities may be tried.
    pub in_other_localities: bool,
    /// Whether endpoints that were tried before may be tried again.
    pub at_previous_hosts: bool,
}

/// `sessionPersistence` of a rule or a policy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct SessionPersistence {
    /// `type` is `Header`: by a header and not by a cookie.
    pub by_header: bool,
    /// `sessionName`, or `cookie.name` or `header.name`; empty for one of our choice.
    pub name: Str,
    /// `absoluteTimeout`.
    pub absolute_timeout: Option<Duration>,
    /// The cookie's `lifetimeType` is `Permanent`: it outlives the browser's session.
    pub is_permanent: bool,
}
