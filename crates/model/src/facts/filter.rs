use super::ObjectReference;
use crate::{RequestLimit, Str};
use std::sync::Arc;
use std::time::Duration;

/// An entry of `backendRefs`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BackendReference {
    /// The object.
    pub object: ObjectReference,
    /// `port`; `None` when unset.
    pub port: Option<u16>,
    /// `weight`, 1 when unset.
    pub weight: u32,
    /// `subset` of a destination of a VirtualService; empty for the whole service.
    pub subset: Str,
    /// `filters`, in order.
    pub filters: Vec<Filter>,
}

/// An entry of `filters` of a rule or a backend.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Filter {
    /// `RequestHeaderModifier`.
    RequestHeaders(HeaderChanges),
    /// `ResponseHeaderModifier`.
    ResponseHeaders(HeaderChanges),
    /// `RequestRedirect`.
    Redirect(Redirect),
    /// `URLRewrite`.
    Rewrite(Rewrite),
    /// `RequestMirror`.
    Mirror(Mirror),
    /// `CORS`.
    Cors(Cors),
    /// `fault` of a VirtualService.
    Fault(Fault),
    /// `directResponse` of a VirtualService.
    Respond(DirectResponse),
    /// The annotation [`RequestLimit::ANNOTATION`] of a route, which each of its rules has.
    Limit(RequestLimit),
}

/// Changes of headers: names in lower case, the first of each name counts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct HeaderChanges {
    /// `set`: name and value.
    pub set: Vec<(Str, Str)>,
    /// `add`: name and value.
    pub add: Vec<(Str, Str)>,
    /// `remove`: names.
    pub remove: Vec<Str>,
}

/// `requestRedirect`; what is `None` stays as in the request.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Redirect {
    /// `scheme`.
    pub scheme: Option<Str>,
    /// `hostname`.
    pub hostname: Option<Str>,
    /// `path`.
    pub path: Option<PathChange>,
    /// `port`.
    pub port: Option<u16>,
    /// Whether the port stays that of the request whatever else changes (`derivePort: FROM_REQUEST_PORT`).
    pub keeps_port: bool,
    /// `statusCode`, 302 when unset.
    pub code: u16,
}

/// `urlRewrite`; what is `None` stays as in the request.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Rewrite {
    /// `hostname`.
    pub hostname: Option<Str>,
    /// `path`.
    pub path: Option<PathChange>,
}

/// Another path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PathChange {
    /// `ReplaceFullPath`.
    Full(Str),
    /// `ReplacePrefixMatch`: of the prefix that the rule matches, which is the only path that it may match by.
    Prefix(Str),
    /// `uri` of a VirtualService: in place of the text that the rule matches the path by. That is all of the path,
    /// unless it is a prefix; it is `/` for a rule that matches every path.
    Matched(Str),
    /// In place of what a regular expression finds in the path, with `\1` for its groups.
    Regex {
        /// The expression.
        pattern: Str,
        /// What is put in its place.
        substitution: Str,
    },
}

/// `requestMirror`: a share of requests is sent to a second backend, whose responses are dropped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Mirror {
    /// `backendRef`.
    pub backend: BackendReference,
    /// How many of `of` requests are.
    pub share: u32,
    /// The whole that `share` is a part of, at least 1.
    pub of: u32,
}

/// `cors`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Cors {
    /// `allowOrigins`, in order.
    pub origins: Vec<Str>,
    /// Regular expressions of further origins, each of a whole one.
    pub origin_patterns: Vec<Str>,
    /// `allowMethods`, in order.
    pub methods: Vec<Str>,
    /// `allowHeaders`, in order.
    pub headers: Vec<Str>,
    /// `exposeHeaders`, in order.
    pub expose: Vec<Str>,
    /// `allowCredentials`.
    pub credentials: bool,
    /// `maxAge` in seconds, 5 when unset; 0 for none.
    pub max_age: u32,
    /// Whether preflights of other origins are answered, and not sent on (`unmatchedPreflights: IGNORE`).
    pub stops_unmatched: bool,
}

/// A share of the requests, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Share(pub u32);

impl Share {
    /// All of them.
    pub const ALL: Share = Share(1_000_000);
}

/// `fault`: requests are delayed or answered as if something were wrong.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Fault {
    /// `delay`: of which share, and for how long.
    pub delay: Option<(Share, Duration)>,
    /// `abort`: of which share, and with what.
    pub abort: Option<(Share, Abort)>,
}

/// What a request is answered with that is not sent on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Abort {
    /// A status of HTTP.
    Http(u16),
    /// A status of gRPC, by number.
    Grpc(u16),
}

/// `directResponse`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DirectResponse {
    /// `status`, from 200 to 599.
    pub status: u16,
    /// `body`; empty for none.
    pub body: Arc<[u8]>,
}
