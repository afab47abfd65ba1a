//! Routes of every kind: what they have in common is read here, once.

use super::duration;
use super::fault::{Faults, join};
use super::listener::hostname;
use super::metadata::Metadata;
use super::number::{Bounded, Port};
use super::read;
use super::reference::{GATEWAY_API, object_reference};
use super::route_filter::{BackendManifest, FilterManifest, FiltersOf, check_backends, lower_filters};
use super::route_match::{GrpcMatch, HttpMatch, Matches, StreamMatch};
use super::session::SessionManifest;
use super::text::{Text, or_empty};
use super::wrong::Wrong;
use crate::facts::{
    BackendReference, Filter, ParentReference, RequestMatch, Retry, Route, RouteProtocol, RouteRule,
    RouteTimeouts,
};
use crate::{Kind, RequestLimit, shared};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object", bound(deserialize = "M: Deserialize<'de>"))]
struct Manifest<'a, M> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a, M>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object", bound(deserialize = "M: Deserialize<'de>"))]
struct Spec<'a, M> {
    #[serde(borrow)]
    parent_refs: Option<Vec<Parent<'a>>>,
    #[serde(borrow)]
    hostnames: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    rules: Option<Vec<Rule<'a, M>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Parent<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    section_name: Option<Text<'a>>,
    port: Option<Port>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object", bound(deserialize = "M: Deserialize<'de>"))]
struct Rule<'a, M> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    matches: Option<Vec<M>>,
    #[serde(borrow)]
    filters: Option<Vec<FilterManifest<'a>>>,
    #[serde(borrow)]
    backend_refs: Option<Vec<BackendManifest<'a>>>,
    #[serde(borrow)]
    timeouts: Option<Timeouts<'a>>,
    #[serde(borrow)]
    retry: Option<RetryManifest<'a>>,
    #[serde(borrow)]
    session_persistence: Option<SessionManifest<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Timeouts<'a> {
    #[serde(borrow)]
    request: Option<Text<'a>>,
    #[serde(borrow)]
    backend_request: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RetryManifest<'a> {
    attempts: Option<Bounded<{ u32::MAX }, false>>,
    codes: Option<Vec<Bounded<999, false>>>,
    #[serde(borrow)]
    backoff: Option<Text<'a>>,
}

/// Returns the facts of a Gateway API `HTTPRoute`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_http(json: &[u8]) -> Result<Route, Wrong> {
    parse::<HttpMatch<'_>>(Kind::HTTPRoute, RouteProtocol::Http, json)
}

/// Returns the facts of a Gateway API `GRPCRoute`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_grpc(json: &[u8]) -> Result<Route, Wrong> {
    parse::<GrpcMatch<'_>>(Kind::GRPCRoute, RouteProtocol::Grpc, json)
}

/// Returns the facts of a Gateway API `TLSRoute`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_tls(json: &[u8]) -> Result<Route, Wrong> {
    parse::<StreamMatch>(Kind::TLSRoute, RouteProtocol::Tls, json)
}

/// Returns the facts of a Gateway API `TCPRoute`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_tcp(json: &[u8]) -> Result<Route, Wrong> {
    parse::<StreamMatch>(Kind::TCPRoute, RouteProtocol::Tcp, json)
}

/// Returns the facts of a Gateway API `UDPRoute`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_udp(json: &[u8]) -> Result<Route, Wrong> {
    parse::<StreamMatch>(Kind::UDPRoute, RouteProtocol::Udp, json)
}

fn parse<'a, M: Deserialize<'a> + Matches>(
    kind: Kind,
    protocol: RouteProtocol,
    json: &'a [u8],
) -> Result<Route, Wrong> {
    let Manifest::<'a, M> { metadata, spec } = read::manifest(json)?;
    let meta = metadata.meta(kind)?;
    let Some(spec) = spec else { return Ok(Route { meta, protocol, ..Route::default() }) };
    let has_requests = matches!(protocol, RouteProtocol::Http | RouteProtocol::Grpc);
    let limit = RequestLimit::of(meta.annotations.get(RequestLimit::ANNOTATION))
        .filter(|_| has_requests)
        .map(Filter::Limit);
    let rules = spec.rules.unwrap_or_default().into_iter().enumerate();
    let rules = rules.map(|(i, rule)| {
        let mut rule = rule.lower(protocol, &format!("spec.rules[{i}]"));
        rule.filters.extend(limit.clone());
        rule
    });
    Ok(Route {
        meta,
        protocol,
        parents: spec.parent_refs.iter().flatten().map(Parent::lower).collect(),
        hostnames: spec.hostnames.iter().flatten().map(|host| hostname(host.as_str())).collect(),
        rules: rules.collect(),
    })
}

impl Parent<'_> {
    fn lower(&self) -> ParentReference {
        ParentReference {
            object: object_reference(
                (&self.group, GATEWAY_API),
                (&self.kind, "Gateway"),
                &self.namespace,
                &self.name,
            ),
            section: shared(or_empty(&self.section_name)),
            port: self.port.map(Port::port),
        }
    }
}

impl<M: Matches> Rule<'_, M> {
    /// Lowers the rule that stands at the field `at`.
    fn lower(self, protocol: RouteProtocol, at: &str) -> RouteRule {
        let mut faults = Faults::default();
        let matches = match self.matches.unwrap_or_default() {
            none if none.is_empty() => vec![RequestMatch::default()],
            all => {
                let all = all.into_iter().enumerate();
                all.filter_map(|(i, one)| faults.take(&format!("{at}.matches[{i}]"), one.lower())).collect()
            }
        };
        let filters = lower_filters(self.filters, FiltersOf::Rule, at, protocol, &mut faults);
        let backends = self.backend_refs.unwrap_or_default().into_iter().enumerate();
        let backends: Vec<BackendReference> = backends
            .map(|(i, backend)| backend.lower(&format!("{at}.backendRefs[{i}]"), protocol, &mut faults))
            .collect();
        check_backends(&backends, at, &mut faults);
        let timeouts = self.timeouts.unwrap_or_default();
        let mut duration = |field: &str, text: &Option<Text<'_>>| {
            let duration = duration::optional(text).map_err(|message| (field.to_owned(), message));
            faults.take(at, duration).flatten()
        };
        RouteRule {
            name: shared(or_empty(&self.name)),
            timeouts: RouteTimeouts {
                request: duration("timeouts.request", &timeouts.request),
                backend_request: duration("timeouts.backendRequest", &timeouts.backend_request),
            },
            retry: self.retry.map(|retry| {
                let mut codes: Vec<u16> = retry.codes.unwrap_or_default().into_iter().map(code).collect();
                codes.sort_unstable();
                codes.dedup();
                Retry {
                    attempts: retry.attempts.map_or(1, Bounded::get),
                    codes,
                    backoff: duration("retry.backoff", &retry.backoff),
                    ..Retry::default()
                }
            }),
            session: self.session_persistence.and_then(|session| {
                let session =
                    session.lower().map_err(|(field, message)| (join("sessionPersistence", &field), message));
                faults.take(at, session)
            }),
            matches,
            filters,
            backends,
            faults: faults.into_list(),
        }
    }
}

/// Returns a code, which its type bounds.
fn code(code: Bounded<999, false>) -> u16 {
    u16::try_from(code.get()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
