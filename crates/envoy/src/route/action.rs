//! What becomes of a request that a rule matches.

use gateway::{Action, Rule, WeightedBackend};
use model::facts::{Filter, HashKey, Redirect, Retry};
use proto::envoy::any;
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate};
use proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use proto::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use proto::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, Route, RouteAction, WeightedCluster, redirect_action,
    route,
};
use proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use proto::envoy::r#type::v3::{FractionalPercent, fractional_percent};
use std::collections::BTreeMap;

use super::filter::{Changes, PathRewrite, path};
use super::hash::policies;
use super::matching;
use super::plan::{Routed, Routes};
use super::session;
use crate::listener::SESSION_FILTER;
use crate::message::{duration, seconds};

/// What is tried again whatever authors say, as istiod does.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const MILLION: u64 = 1_000_000;

/// Returns the route of a rule at a port.
pub(super) fn encode(routed: &Routed, port: u16) -> Route {
    let rule = &*routed.rule;
    let mut changes = Changes::of(&rule.filters, rule.matches.path.as_ref());
    let action = match &rule.action {
        _ if asks_for_more(rule) => route::Action::DirectResponse(DirectResponseAction { status: 500 }),
        Action::Respond(with) => {
            route::Action::DirectResponse(DirectResponseAction { status: with.status.into() })
        }
        Action::Refuse => route::Action::DirectResponse(DirectResponseAction { status: 500 }),
        Action::Redirect(to) => route::Action::Redirect(redirect(to, rule, port)),
        Action::Forward(backends) => route::Action::Route(forward(routed, backends, &mut changes)),
    };
    let cors = changes.cors.iter().map(|cors| ("envoy.filters.http.cors".to_owned(), any(cors)));
    let session = rule.session.iter().map(|of| (SESSION_FILTER.to_owned(), session::encode(of, &rule.name)));
    Route {
        name: rule.name.to_string(),
        r#match: Some(matching::encode(&rule.matches)),
        typed_per_filter_config: cors.chain(session).collect::<BTreeMap<_, _>>(),
        request_headers_to_add: changes.request_add,
        request_headers_to_remove: changes.request_remove,
        response_headers_to_add: changes.response_add,
        response_headers_to_remove: changes.response_remove,
        action: Some(action),
        ..Route::default()
    }
}

/// Tells whether a rule asks for something that is not written for Envoys yet: what it matches is refused then,
/// whatever else it says.
fn asks_for_more(rule: &Rule) -> bool {
    let is_more = |filter: &Filter| match filter {
        Filter::Fault(_) => true,
        Filter::Cors(cors) => !cors.origin_patterns.is_empty() || cors.stops_unmatched,
        _ => false,
    };
    let of_action = match &rule.action {
        Action::Forward(backends) => backends.iter().any(|to| to.filters.iter().any(is_more)),
        Action::Respond(with) => !with.body.is_empty(),
        Action::Redirect(_) | Action::Refuse => false,
    };
    let matches = &rule.matches;
    of_action
        || matches.headers.iter().chain(&matches.query).any(|value| value.is_negated)
        || rule.filters.iter().any(is_more)
        || rule.retry.as_ref().is_some_and(|retry| !retry.conditions.is_empty())
}

/// Returns what sends all requests to one cluster.
fn to_cluster(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError.into(),
        timeout: Some(seconds(0)),
        ..RouteAction::default()
    }
}

fn forward(routed: &Routed, backends: &[WeightedBackend], changes: &mut Changes) -> RouteAction {
    let rule = &*routed.rule;
    let specifier = match (backends, routed.backends.as_slice()) {
        ([backend], [cluster]) => {
            // What is for the only share is for the route.
            let own = Changes::of(&backend.filters, rule.matches.path.as_ref());
            changes.request_add.extend(own.request_add);
            changes.request_remove.extend(own.request_remove);
            changes.response_add.extend(own.response_add);
            changes.response_remove.extend(own.response_remove);
            changes.host = changes.host.take().or(own.host);
            changes.path = changes.path.take().or(own.path);
            ClusterSpecifier::Cluster(cluster.clone())
        }
        (backends, clusters) => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: backends
                .iter()
                .zip(clusters)
                .map(|(backend, name)| share(rule, backend, name))
                .collect(),
        }),
    };
    let mut action = RouteAction { cluster_specifier: Some(specifier), ..to_cluster("") };
    action.host_rewrite_specifier = changes.host.take().map(HostRewriteSpecifier::HostRewriteLiteral);
    match changes.path.take() {
        Some(PathRewrite::Prefix(to)) => action.prefix_rewrite = to,
        Some(PathRewrite::Regex(to)) => action.regex_rewrite = Some(to),
        None => {}
    }
    let mirrors = rule.mirrors.iter().zip(&routed.mirrors);
    action.request_mirror_policies = mirrors.map(|(to, cluster)| mirror(cluster, to.share, to.of)).collect();
    let (overall, of_try) = (rule.timeouts.request, rule.timeouts.backend_request);
    // A time limit of a try is one of all where there is a single one.
    let limit = if rule.retry.is_some() { overall } else { overall.into_iter().chain(of_try).min() };
    action.timeout = Some(limit.map_or(seconds(0), duration));
    action.retry_policy = rule
        .retry
        .as_ref()
        .map(|own| RetryPolicy { per_try_timeout: of_try.map(duration), ..retry(Some(own)) });
    hash(&mut action, &routed.hashes);
    action
}

/// Returns what sends all requests to a port itself.
pub(super) fn to_port(of: &Routes) -> RouteAction {
    let mut action = to_cluster(&of.cluster);
    hash(&mut action, of.hash.as_slice());
    action
}

/// Has requests hashed. What is tried again goes to the same instance then, rather than to none.
fn hash(action: &mut RouteAction, by: &[HashKey]) {
    if by.is_empty() {
        return;
    }
    action.hash_policy = policies(by);
    let mut retry = action.retry_policy.take().unwrap_or_else(|| retry(None));
    retry.retry_host_predicate.clear();
    retry.host_selection_retry_max_attempts = 0;
    action.retry_policy = Some(retry);
}

fn share(rule: &Rule, backend: &WeightedBackend, cluster: &str) -> ClusterWeight {
    let own = Changes::of(&backend.filters, rule.matches.path.as_ref());
    ClusterWeight {
        name: cluster.to_owned(),
        weight: Some(backend.weight),
        request_headers_to_add: own.request_add,
        request_headers_to_remove: own.request_remove,
        response_headers_to_add: own.response_add,
        response_headers_to_remove: own.response_remove,
        host_rewrite_specifier: own.host.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
    }
}

fn mirror(cluster: &str, share: u32, of: u32) -> RequestMirrorPolicy {
    let numerator = (u64::from(share) * MILLION / u64::from(of.max(1))).min(MILLION);
    RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: u32::try_from(numerator).unwrap_or(u32::MAX),
                denominator: fractional_percent::DenominatorType::Million.into(),
            }),
        }),
        trace_sampled: Some(false),
        disable_shadow_host_suffix_append: true,
    }
}

/// Returns the retries that a rule wants, or what holds where it says nothing.
pub(super) fn retry(of: Option<&Retry>) -> RetryPolicy {
    let previous = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: Some(of.map_or(2, |retry| retry.attempts)),
        retry_host_predicate: vec![previous],
        host_selection_retry_max_attempts: 5,
        retriable_status_codes: {
            let codes = of.map(|retry| retry.codes.as_slice()).unwrap_or_default();
            codes.iter().map(|code| u32::from(*code)).collect()
        },
        retry_back_off: of
            .and_then(|retry| retry.backoff)
            .map(|backoff| RetryBackOff { base_interval: Some(duration(backoff)) }),
        ..RetryPolicy::default()
    }
}

fn redirect(to: &Redirect, rule: &Rule, port: u16) -> RedirectAction {
    let code = match to.code {
        301 => redirect_action::RedirectResponseCode::MovedPermanently,
        303 => redirect_action::RedirectResponseCode::SeeOther,
        307 => redirect_action::RedirectResponseCode::TemporaryRedirect,
        308 => redirect_action::RedirectResponseCode::PermanentRedirect,
        _ => redirect_action::RedirectResponseCode::Found,
    };
    let path = to.path.as_ref().map(|to| match (to, path(to, rule.matches.path.as_ref())) {
        (model::facts::PathChange::Full(path), _) => {
            redirect_action::PathRewriteSpecifier::PathRedirect(path.to_string())
        }
        (_, PathRewrite::Prefix(to)) => redirect_action::PathRewriteSpecifier::PrefixRewrite(to),
        (_, PathRewrite::Regex(to)) => redirect_action::PathRewriteSpecifier::RegexRewrite(to),
    });
    let scheme = to.scheme.as_deref();
    // A scheme has a port of its own; without one, the caller stays at the port that it called.
    let port = match (to.port, scheme) {
        (Some(80), Some("http")) | (Some(443), Some("https")) | (None, Some(_)) => 0,
        (Some(port), _) => port,
        (None, None) if to.hostname.is_some() && port != 80 => port,
        (None, None) => 0,
    };
    RedirectAction {
        host_redirect: to.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
        port_redirect: port.into(),
        response_code: code.into(),
        scheme_rewrite_specifier: to
            .scheme
            .as_ref()
            .map(|scheme| redirect_action::SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string())),
        path_rewrite_specifier: path,
    }
}
