use crate::Str;
use std::collections::BTreeMap;
use std::time::Duration;

/// An entry of `extensionProviders` that decides about requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionProvider {
    /// `name`, by which policies name it.
    pub name: Str,
    /// Whom to ask.
    pub authorizer: Authorizer,
}

/// Whoever decides about requests: `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authorizer {
    /// `service`: a hostname, perhaps after a namespace and a slash.
    pub service: Str,
    /// `port`; 0 where none is written, or one that cannot be.
    pub port: u16,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `failOpen`: whether requests pass while it cannot be asked.
    pub fail_open: bool,
    /// `statusOnError`: what else they are answered with.
    pub status_on_error: Option<u16>,
    /// `clearRouteCache`: whether rules of routes are looked at again once it has changed headers.
    pub clear_route_cache: bool,
    /// `includeRequestBodyInCheck`.
    pub body: Option<RequestBody>,
    /// How it is asked.
    pub protocol: AuthorizerProtocol,
}

/// How an authorizer is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AuthorizerProtocol {
    /// `envoyExtAuthzGrpc`: by gRPC.
    #[default]
    Grpc,
    /// `envoyExtAuthzHttp`: by a request like the one that it is about.
    Http(HttpAuthorizer),
}

/// What is particular to an authorizer that is asked by requests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpAuthorizer {
    /// `pathPrefix`: what comes before the path.
    pub path_prefix: Str,
    /// `includeRequestHeadersInCheck`, then the deprecated `includeHeadersInCheck`: headers that it sees.
    pub headers: Vec<Str>,
    /// `includeAdditionalHeadersInCheck`: headers that it sees besides.
    pub more_headers: BTreeMap<Str, Str>,
    /// `headersToUpstreamOnAllow`: headers of its answer that the request gets.
    pub to_upstream: Vec<Str>,
    /// `headersToDownstreamOnDeny`: headers of its answer that a client gets whose request is denied.
    pub on_deny: Vec<Str>,
    /// `headersToDownstreamOnAllow`: headers of its answer that the response gets.
    pub on_allow: Vec<Str>,
}

/// What of a request's body an authorizer sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestBody {
    /// `maxRequestBytes`.
    pub max_bytes: u32,
    /// `allowPartialMessage`: whether a longer one is cut; otherwise the request is refused.
    pub allow_partial: bool,
    /// `packAsBytes`: whether it is sent as bytes, and not as UTF-8.
    pub as_bytes: bool,
}
