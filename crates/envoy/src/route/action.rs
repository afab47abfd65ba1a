//! What becomes of a request that a rule matches.

use gateway::{Action, Rule, WeightedBackend};
use model::facts::{DirectResponse, Filter, HashKey, Redirect};
use prost::bytes::Bytes;
use proto::envoy::any;
use proto::envoy::config::core::v3::{DataSource, RuntimeFractionalPercent, data_source};
use proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use proto::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use proto::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, Route, RouteAction, WeightedCluster, redirect_action,
    route,
};
use std::collections::BTreeMap;

use super::filter::{Changes, PathRewrite, path};
use super::hash::policies;
use super::plan::{Routed, Routes};
use super::{matching, operation, retry, session};
use crate::key::{CORS, FAULT, LIMIT, SESSION};
use crate::message::{duration, millionths, seconds};

/// The longest body of an answer, in bytes, as istiod has it.
pub(super) const LARGEST_BODY: u32 = 1 << 20;
const MILLION: u64 = 1_000_000;

/// Where requests come by: what of it a redirect says nothing of stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub port: u16,
    /// Whether they come by TLS that ends here.
    pub is_tls: bool,
    /// Whether spans are made of them.
    pub is_traced: bool,
}

/// Returns the route of a rule for requests that come by a port.
pub(super) fn encode(routed: &Routed, origin: Origin) -> Route {
    let rule = &*routed.rule;
    let mut changes = Changes::of(&rule.filters, rule.matches.path.as_ref());
    let refused = || DirectResponseAction { status: 500, body: None };
    let action = match &rule.action {
        _ if asks_for_more(rule) => route::Action::DirectResponse(refused()),
        Action::Respond(with) => route::Action::DirectResponse(respond(with)),
        Action::Refuse => route::Action::DirectResponse(refused()),
        Action::Redirect(to) => route::Action::Redirect(redirect(to, rule, origin)),
        Action::Forward(backends) => route::Action::Route(forward(routed, backends, &mut changes)),
    };
    let cors = changes.cors.iter().map(|cors| (CORS.to_owned(), any(cors)));
    let fault = changes.fault.iter().map(|fault| (FAULT.to_owned(), any(fault)));
    let limit = changes.limit.iter().map(|limit| (LIMIT.to_owned(), any(limit)));
    let session = rule.session.iter().map(|of| (SESSION.to_owned(), session::encode(of, &rule.name)));
    Route {
        name: rule.name.to_string(),
        r#match: Some(matching::encode(&rule.matches)),
        typed_per_filter_config: cors.chain(fault).chain(limit).chain(session).collect::<BTreeMap<_, _>>(),
        request_headers_to_add: changes.request_add,
        request_headers_to_remove: changes.request_remove,
        response_headers_to_add: changes.response_add,
        response_headers_to_remove: changes.response_remove,
        action: Some(action),
        decorator: origin.is_traced.then(|| operation::of_rule(rule, origin.port)),
        ..Route::default()
    }
}

/// Tells whether a rule asks for something that is not written for Envoys yet: what it matches is refused then,
/// whatever else it says.
fn asks_for_more(rule: &Rule) -> bool {
    let of_action = match &rule.action {
        Action::Forward(backends) => {
            backends.iter().any(|to| to.filters.iter().any(|filter| !may_be_of_share(filter, backends.len())))
        }
        Action::Respond(with) => with.body.len() > usize::try_from(LARGEST_BODY).unwrap_or(usize::MAX),
        Action::Redirect(_) | Action::Refuse => false,
    };
    of_action || rule.matches.query.iter().any(|value| value.is_negated)
}

/// Tells whether Envoy does something to one of so many shares. Only the path of all requests of a route can change.
fn may_be_of_share(filter: &Filter, shares: usize) -> bool {
    match filter {
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => true,
        Filter::Rewrite(to) => shares == 1 || to.path.is_none(),
        Filter::Redirect(_)
        | Filter::Mirror(_)
        | Filter::Cors(_)
        | Filter::Fault(_)
        | Filter::Respond(_)
        | Filter::Limit(_) => false,
    }
}

/// Returns what sends all requests to one cluster.
pub(super) fn to_cluster(cluster: &str) -> RouteAction {
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
    let is_retried = rule.retry.as_ref().is_some_and(|retry| retry.attempts > 0);
    // A time limit of a try is one of all where there is a single one.
    let limit = if is_retried { overall } else { overall.into_iter().chain(of_try).min() };
    action.timeout = Some(limit.map_or(seconds(0), duration));
    let per_try = of_try.filter(|_| is_retried);
    // What all routes of the port have need not be said again.
    let own = rule.retry.as_ref().filter(|own| per_try.is_some() || !retry::is_default(own));
    action.retry_policy =
        own.map(|own| RetryPolicy { per_try_timeout: per_try.map(duration), ..retry::of(own) });
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
    let mut own = action.retry_policy.take().unwrap_or_else(retry::by_default);
    own.retry_host_predicate.clear();
    own.host_selection_retry_max_attempts = 0;
    action.retry_policy = Some(own);
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

fn respond(with: &DirectResponse) -> DirectResponseAction {
    let body = Some(&*with.body).filter(|body| !body.is_empty());
    let body = body.map(|body| DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(Bytes::copy_from_slice(body))),
    });
    DirectResponseAction { status: with.status.into(), body }
}

fn mirror(cluster: &str, share: u32, of: u32) -> RequestMirrorPolicy {
    let numerator = (u64::from(share) * MILLION / u64::from(of.max(1))).min(MILLION);
    RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(millionths(u32::try_from(numerator).unwrap_or(u32::MAX))),
        }),
        trace_sampled: Some(false),
        disable_shadow_host_suffix_append: true,
    }
}

fn redirect(to: &Redirect, rule: &Rule, Origin { port, is_tls, .. }: Origin) -> RedirectAction {
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
        (Some(80), None | Some("http")) | (Some(443), Some("https")) | (None, Some(_)) => 0,
        (Some(port), _) => port,
        (None, None) if to.hostname.is_some() && port != if is_tls { 443 } else { 80 } => port,
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
