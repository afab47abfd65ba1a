use super::ObjectReference;
use crate::Str;

/// An entry of `backendRefs`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BackendReference {
    /// The object.
    pub object: ObjectReference,
    /// `port`; `None` when unset.
    pub port: Option<u16>,
    /// `weight`, 1 when unset.
    pub weight: u32,
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
    /// `allowMethods`, in order.
    pub methods: Vec<Str>,
    /// `allowHeaders`, in order.
    pub headers: Vec<Str>,
    /// `exposeHeaders`, in order.
    pub expose: Vec<Str>,
    /// `allowCredentials`.
    pub credentials: bool,
    /// `maxAge` in seconds, 5 when unset.
    pub max_age: u32,
}
