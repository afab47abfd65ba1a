//! Scopes: routes, and the key that they are found by.

use prost::Message;
use proto::envoy::any;
use proto::envoy::config::route::v3::route_action::{UpgradeConfig, upgrade_config};
use proto::envoy::config::route::v3::scoped_route_configuration::{
    Key,
    key::{Fragment, fragment},
};
use proto::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, ScopedRouteConfiguration, VirtualHost,
    route, route_action, route_match,
};

use super::action::{self, LARGEST_BODY, Origin};
use super::plan::Routes;
use super::retry;
use super::{filter, matching, operation};
use crate::key::{DIRECT, ENCAP, LIMIT, connect_scope};
use crate::message::seconds;
use crate::policy::{At, Policies};
use model::Name;
use std::net::{IpAddr, SocketAddr};

/// The longest body that Envoy takes unless it is told otherwise, in bytes.
const USUAL_BODY: usize = 4_096;

fn scope(name: &str, host: VirtualHost) -> ScopedRouteConfiguration {
    keyed(name, &[name], vec![host])
}

/// Returns virtual hosts that are found by a key of these parts.
pub(super) fn keyed(name: &str, key: &[&str], mut hosts: Vec<VirtualHost>) -> ScopedRouteConfiguration {
    let bodies = hosts.iter().flat_map(|host| &host.routes).filter_map(|route| match &route.action {
        Some(route::Action::DirectResponse(with)) => with.body.as_ref(),
        _ => None,
    });
    let is_large = bodies.map(Message::encoded_len).max().is_some_and(|largest| largest > USUAL_BODY);
    let fragment = |part: &&str| Fragment { r#type: Some(fragment::Type::StringKey((*part).to_owned())) };
    for host in &mut hosts {
        if host.domains.is_empty() {
            host.domains.push("*".to_owned());
        }
    }
    ScopedRouteConfiguration {
        name: name.to_owned(),
        key: Some(Key { fragments: key.iter().map(fragment).collect() }),
        route_configuration: Some(RouteConfiguration {
            virtual_hosts: hosts,
            // A cluster may come after its routes.
            validate_clusters: Some(false),
            max_direct_response_body_size_bytes: is_large.then_some(LARGEST_BODY),
            ..RouteConfiguration::default()
        }),
    }
}

/// What CONNECTs to a port, or to every other one, lead to.
pub(crate) struct Connect<'a> {
    pub port: Option<u16>,
    pub listener: &'a str,
    /// The scope of the requests within them, if there may be any. If there can be none, policies decide here.
    pub requests: Option<&'a str>,
    pub policies: Option<&'a Policies>,
}

/// Returns the scope of CONNECTs to an address: the first route that is for its port counts.
pub(crate) fn connect(address: IpAddr, to: &[Connect<'_>]) -> ScopedRouteConfiguration {
    scope(
        &connect_scope(&address.to_string()),
        VirtualHost {
            name: "connect".to_owned(),
            routes: to.iter().map(|of| connect_route(address, of)).collect(),
            ..VirtualHost::default()
        },
    )
}

/// Returns the scope of CONNECTs to a host and port by name; policies know it by an address.
pub(crate) fn connect_by_name(
    authority: &str,
    at: Option<SocketAddr>,
    to: &Connect<'_>,
) -> ScopedRouteConfiguration {
    let host = VirtualHost {
        name: "connect".to_owned(),
        routes: vec![to_listener(to, Some(authority), at)],
        ..VirtualHost::default()
    };
    scope(&connect_scope(authority), host)
}

fn connect_route(address: IpAddr, of: &Connect<'_>) -> Route {
    let to = of.port.map(|port| SocketAddr::new(address, port));
    to_listener(of, to.map(|to| to.to_string()).as_deref(), to)
}

/// Returns what leads CONNECTs to an authority, or to any, to a listener; what decides about them knows them by an address.
fn to_listener(of: &Connect<'_>, authority: Option<&str>, to: Option<SocketAddr>) -> Route {
    let authority = authority.map(|authority| matching::exactly(":authority", authority));
    let policies = of.policies.filter(|_| of.requests.is_none()).zip(to);
    Route {
        typed_per_filter_config: policies.map(|(of, to)| of.per_route(At::Connect(to))).unwrap_or_default(),
        ..terminated(of.requests.unwrap_or(of.listener), authority.into_iter().collect(), of.listener)
    }
}

/// Returns the route, by this name, that ends CONNECTs with such headers, and sends what is in them to a cluster.
fn terminated(name: &str, headers: Vec<HeaderMatcher>, cluster: &str) -> Route {
    let connect = route_match::PathSpecifier::ConnectMatcher(route_match::ConnectMatcher {});
    let upgrade = UpgradeConfig {
        upgrade_type: "CONNECT".to_owned(),
        connect_config: Some(upgrade_config::ConnectConfig {}),
    };
    Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch { path_specifier: Some(connect), headers, ..RouteMatch::default() }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
            timeout: Some(seconds(0)),
            upgrade_configs: vec![upgrade],
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

/// Where CONNECTs from another network to a port of a service lead.
pub(crate) struct Way {
    pub port: u16,
    /// The cluster of its instances.
    pub pods: String,
    /// The cluster of its waypoint, if it has one that is configured.
    pub waypoint: Option<String>,
    /// Whether it has one at all.
    pub is_behind: bool,
    /// Whether what comes from gateways at the edge goes through it, too.
    pub edge_uses_waypoint: bool,
}

/// The cluster of the instances of a waypoint, for what is HBONE already.
pub(crate) fn to_waypoint(waypoint: &Name) -> String {
    format!("hbone|{waypoint}")
}

/// The header of a CONNECT that says what sends it.
const SOURCE: &str = "x-istio-source";

/// Returns the scope of CONNECTs from other networks to a host.
pub(crate) fn passed(host: &str, ways: &[Way]) -> ScopedRouteConfiguration {
    let routes = ways.iter().flat_map(|way| {
        let to = |source: Option<&str>, cluster: &str| {
            let authority = matching::exactly(":authority", &format!("{host}:{}", way.port));
            let source = source.map(|source| matching::exactly(SOURCE, source));
            terminated(cluster, std::iter::once(authority).chain(source).collect(), cluster)
        };
        if !way.is_behind {
            return vec![to(None, &way.pods)];
        }
        let decided = (!way.edge_uses_waypoint).then(|| to(Some("gateway"), &way.pods));
        let rest = way.waypoint.as_ref().map(|waypoint| to(None, waypoint));
        std::iter::once(to(Some("waypoint"), &way.pods)).chain(decided).chain(rest).collect()
    });
    let host_of_all =
        VirtualHost { name: "connect".to_owned(), routes: routes.collect(), ..VirtualHost::default() };
    keyed(&connect_scope(host), &[host], vec![host_of_all])
}

/// Returns the scope of requests to workloads that are called at their own addresses.
pub(crate) fn direct(policies: Option<&Policies>) -> ScopedRouteConfiguration {
    let all = route_match::PathSpecifier::Prefix("/".to_owned());
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(RouteMatch { path_specifier: Some(all), ..RouteMatch::default() }),
        action: Some(route::Action::Route(action::to_cluster(ENCAP))),
        ..Route::default()
    };
    scope(
        DIRECT,
        VirtualHost {
            name: DIRECT.to_owned(),
            routes: vec![route],
            retry_policy: Some(retry::by_default()),
            typed_per_filter_config: policies.map(|of| of.per_route(At::Requests)).unwrap_or_default(),
            ..VirtualHost::default()
        },
    )
}

/// Returns the scope of the requests to a port, whatever becomes of them by its rules: each has to pass its policies.
/// Where spans are made of them, the hostname of the service is told.
pub(crate) fn requests(
    of: &Routes,
    policies: Option<&Policies>,
    traced: Option<&str>,
) -> ScopedRouteConfiguration {
    let origin = Origin { port: of.port, is_tls: false, is_traced: traced.is_some() };
    let mut routes: Vec<Route> = of.rules.iter().map(|rule| action::encode(rule, origin)).collect();
    if of.rules.is_empty() {
        let all = route_match::PathSpecifier::Prefix("/".to_owned());
        routes.push(Route {
            name: "default".to_owned(),
            r#match: Some(RouteMatch { path_specifier: Some(all), ..RouteMatch::default() }),
            action: Some(route::Action::Route(action::to_port(of))),
            decorator: traced.map(|hostname| operation::of_service(hostname, of.port)),
            ..Route::default()
        });
    }
    scope(
        &of.cluster,
        VirtualHost {
            name: format!("inbound|http|{}", of.port),
            domains: of.asked.clone(),
            routes,
            // Most rules say nothing of retries.
            retry_policy: Some(retry::by_default()),
            typed_per_filter_config: policies
                .map(|of| of.per_route(At::Requests))
                .unwrap_or_default()
                .into_iter()
                .chain(of.limit.map(|limit| (LIMIT.to_owned(), any(&filter::limit(limit)))))
                .collect(),
        },
    )
}
