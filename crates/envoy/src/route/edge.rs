//! Routes of gateways at the edge: a scope for each hostname of a port, and one that tells which hostnames there are.

use prost_types::{Struct, Value, value};
use proto::envoy::any;
use proto::envoy::config::core::v3::Metadata;
use proto::envoy::config::route::v3::{
    DirectResponseAction, FilterConfig, HeaderMatcher, Route, RouteConfiguration, RouteMatch,
    ScopedRouteConfiguration, VirtualHost, route, route_match,
};
use std::collections::BTreeMap;

use super::action::{self, Origin};
use super::plan::Routed;
use super::scope::keyed;
use super::{matching, retry};
use crate::key::{ANY_HOSTNAME, HOSTNAME_FILTERS, LISTENER_HEADER, LUA, edge_scope};
use crate::policy::{At, Policies};

/// A hostname of a port.
pub(crate) struct Hostname<'a> {
    /// It, which may begin with `*.`, or be `*`.
    pub hostname: &'a str,
    pub origin: Origin,
    /// The listener that it is of, if others of the port have other certificates.
    pub listener: Option<&'a str>,
    /// In order. What none of them matches is not found.
    pub rules: &'a [Routed],
}

/// The requests that are not meant for a server.
const MISDIRECTED: u32 = 421;
const NOT_FOUND: u32 = 404;

/// Returns the scope of the requests for a hostname.
pub(crate) fn hostname(of: &Hostname<'_>, policies: Option<&Policies>) -> ScopedRouteConfiguration {
    let Hostname { hostname, origin, listener, rules } = *of;
    let misdirected = listener.map(misdirected);
    let rules = rules.iter().map(|rule| action::encode(rule, origin));
    let routes = misdirected.into_iter().chain(rules).chain([not_found()]).collect();
    let known = any(&FilterConfig { disabled: true });
    let mut filters = policies.map(|of| of.per_route(At::Requests)).unwrap_or_default();
    filters.extend(HOSTNAME_FILTERS.map(|name| (name.to_owned(), known.clone())));
    let host = VirtualHost {
        name: format!("{hostname}:{}", origin.port),
        domains: vec![hostname.to_owned()],
        routes,
        // Most rules say nothing of retries.
        retry_policy: Some(retry::by_default()),
        typed_per_filter_config: filters,
    };
    at_port(&edge_scope(origin.port, hostname), origin.port, hostname, vec![host])
}

/// A listener of a port, by the hostname that its requests have.
pub(crate) struct Listened<'a> {
    pub hostname: &'a str,
    /// It, if others of the port have other certificates.
    pub listener: Option<String>,
    /// The hostnames of its routes that others are below.
    pub wide: Vec<&'a str>,
}

/// Returns the scope of requests for a hostname that has none, or for one of another listener: it tells what wider
/// hostname there is.
pub(crate) fn listeners(port: u16, all: &[Listened<'_>]) -> ScopedRouteConfiguration {
    let host = |of: &Listened<'_>| {
        let known = |name: &&str| ((*name).to_owned(), Value { kind: Some(value::Kind::BoolValue(true)) });
        let wide = Struct { fields: of.wide.iter().map(known).collect() };
        let wide = Metadata { filter_metadata: BTreeMap::from([(LUA.to_owned(), wide)]) };
        let misdirected = of.listener.as_deref().map(misdirected);
        let not_found = Route { metadata: (!of.wide.is_empty()).then_some(wide), ..not_found() };
        VirtualHost {
            name: format!("{}:{port}", of.hostname),
            domains: vec![of.hostname.to_owned()],
            routes: misdirected.into_iter().chain([not_found]).collect(),
            ..VirtualHost::default()
        }
    };
    at_port(&edge_scope(port, ANY_HOSTNAME), port, ANY_HOSTNAME, all.iter().map(host).collect())
}

fn at_port(name: &str, port: u16, hostname: &str, hosts: Vec<VirtualHost>) -> ScopedRouteConfiguration {
    let scope = keyed(name, &[&port.to_string(), hostname], hosts);
    let with_ports = |of: RouteConfiguration| RouteConfiguration { ignore_port_in_host_matching: true, ..of };
    ScopedRouteConfiguration { route_configuration: scope.route_configuration.map(with_ports), ..scope }
}

/// Returns the route of what came by another listener than this one.
fn misdirected(listener: &str) -> Route {
    let other = HeaderMatcher { invert_match: true, ..matching::exactly(LISTENER_HEADER, listener) };
    answer("misdirected", MISDIRECTED, vec![other])
}

fn not_found() -> Route {
    answer("not-found", NOT_FOUND, Vec::new())
}

fn answer(name: &str, status: u32, headers: Vec<HeaderMatcher>) -> Route {
    let all = route_match::PathSpecifier::Prefix("/".to_owned());
    Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch { path_specifier: Some(all), headers, ..RouteMatch::default() }),
        action: Some(route::Action::DirectResponse(DirectResponseAction { status, body: None })),
        ..Route::default()
    }
}
