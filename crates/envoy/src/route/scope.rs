//! Scopes: routes, and the key that they are found by.

use proto::envoy::any;
use proto::envoy::config::route::v3::route_action::{UpgradeConfig, upgrade_config};
use proto::envoy::config::route::v3::scoped_route_configuration::{
    Key,
    key::{Fragment, fragment},
};
use proto::envoy::config::route::v3::{
    Decorator, Route, RouteAction, RouteConfiguration, RouteMatch, ScopedRouteConfiguration, VirtualHost,
    route, route_action, route_match,
};
use std::collections::BTreeMap;

use super::action;
use super::plan::Routes;
use crate::key::connect_scope;
use crate::listener::{DESTINATION_FILTER, SCOPE_HEADER, destination};
use crate::message::seconds;
use crate::policy::{At, Policies};
use std::net::SocketAddr;

fn scope(name: &str, host: VirtualHost) -> ScopedRouteConfiguration {
    let fragment = Fragment { r#type: Some(fragment::Type::StringKey(name.to_owned())) };
    let mut all = host;
    if all.domains.is_empty() {
        all.domains.push("*".to_owned());
    }
    ScopedRouteConfiguration {
        name: name.to_owned(),
        key: Some(Key { fragments: vec![fragment] }),
        route_configuration: Some(RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vec![all],
            request_headers_to_remove: vec![SCOPE_HEADER.to_owned()],
            // A cluster may come after its routes.
            validate_clusters: Some(false),
        }),
    }
}

/// Returns the scope of CONNECTs to an address that lead to a listener, and of the requests within them, if there may
/// be any. If there can be none, policies decide here.
pub(crate) fn connect(
    to: SocketAddr,
    listener: &str,
    requests: Option<&str>,
    policies: Option<&Policies>,
) -> ScopedRouteConfiguration {
    let policies = policies.filter(|_| requests.is_none());
    let upgrade = UpgradeConfig {
        upgrade_type: "CONNECT".to_owned(),
        connect_config: Some(upgrade_config::ConnectConfig {}),
    };
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(listener.to_owned())),
        timeout: Some(seconds(0)),
        upgrade_configs: vec![upgrade],
        ..RouteAction::default()
    };
    let connect = route_match::PathSpecifier::ConnectMatcher(route_match::ConnectMatcher {});
    let set = requests.map(|scope| (DESTINATION_FILTER.to_owned(), any(&destination(scope))));
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(connect), ..RouteMatch::default() }),
        typed_per_filter_config: set.into_iter().collect::<BTreeMap<_, _>>(),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    scope(
        &connect_scope(to),
        VirtualHost {
            name: "connect".to_owned(),
            routes: vec![route],
            typed_per_filter_config: policies.map(|of| of.per_route(At::Connect(to))).unwrap_or_default(),
            ..VirtualHost::default()
        },
    )
}

/// Returns the scope of the requests to a port, whatever becomes of them by its rules: each has to pass its policies.
pub(crate) fn requests(of: &Routes, policies: Option<&Policies>) -> ScopedRouteConfiguration {
    let operation = format!("{}:{}/*", of.hostname, of.port);
    let mut routes: Vec<Route> = of.rules.iter().map(|rule| action::encode(rule, of.port)).collect();
    if of.rules.is_empty() {
        let all = route_match::PathSpecifier::Prefix("/".to_owned());
        routes.push(Route {
            name: "default".to_owned(),
            r#match: Some(RouteMatch { path_specifier: Some(all), ..RouteMatch::default() }),
            action: Some(route::Action::Route(action::to_port(of))),
            ..Route::default()
        });
    }
    for route in &mut routes {
        route.decorator = Some(Decorator { operation: operation.clone() });
    }
    scope(
        &of.cluster,
        VirtualHost {
            name: format!("inbound|http|{}", of.port),
            domains: of.asked.clone(),
            routes,
            // Most rules say nothing of retries.
            retry_policy: Some(action::retry(None)),
            typed_per_filter_config: policies.map(|of| of.per_route(At::Requests)).unwrap_or_default(),
        },
    )
}
