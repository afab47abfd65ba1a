//! What takes requests, whatever service they are for.

use model::facts::{ExtensionPhase, PathNormalization};
use proto::envoy::config::listener::v3::{FilterChain, Listener};
use proto::envoy::extensions::filters::http::cors::v3::Cors;
use proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig as ForwardProxy, filter_config::ImplementationSpecifier,
};
use proto::envoy::extensions::filters::http::fault::v3::HttpFault;
use proto::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config};
use proto::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use proto::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::PathWithEscapedSlashesAction;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};

use super::chain::{in_chain, internal};
use super::http::{SCOPE_HEADER, http_filter, manager, policies, router, scoped, slots, without_scope_key};
use super::state::DESTINATION;
use crate::extension::{self, Running};
use crate::key::{CORS, FAULT, LIMIT, LIMITED, MAIN_INTERNAL, SESSION};
use crate::message::names;
use crate::profile::Profile;
use crate::telemetry::{self, Spans};

/// The filters that requests pass whose scope is found by these headers: policies, then what rules ask for.
pub(super) fn filters(scope_key: &[&str], extensions: &[Running]) -> Vec<HttpFilter> {
    let grpc_stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(filter_config::PerMethodStatSpecifier::StatsForAllMethods(false)),
    };
    let forward =
        ForwardProxy { implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(names())) };
    let of = |phase: ExtensionPhase| extension::filters(extensions, phase);
    let deciding = slots().chain(of(ExtensionPhase::Authz)).chain(policies());
    let before = [
        http_filter(LIMIT, &LocalRateLimit { stat_prefix: LIMITED.to_owned(), ..LocalRateLimit::default() }),
        http_filter("envoy.filters.http.grpc_stats", &grpc_stats),
    ];
    let last = of(ExtensionPhase::Stats).into_iter().chain(of(ExtensionPhase::Last));
    // Whoever changes a request has its route looked up again, by the next that asks for it. These do, while the key of the
    // scope is there.
    let after = [
        http_filter(FAULT, &HttpFault::default()),
        http_filter(CORS, &Cors {}),
        http_filter(SESSION, &StatefulSession::default()),
        http_filter("envoy.filters.http.dynamic_forward_proxy", &forward),
        without_scope_key(scope_key),
        router(),
    ];
    of(ExtensionPhase::Authn).into_iter().chain(deciding).chain(before).chain(last).chain(after).collect()
}

/// Returns a connection manager that makes paths alike before anybody looks at them.
pub(super) fn normalizing(
    normalization: PathNormalization,
    manager: HttpConnectionManager,
) -> HttpConnectionManager {
    let slashes = if normalization.decodes_slashes() {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::KeepUnchanged
    };
    HttpConnectionManager {
        normalize_path: Some(normalization != PathNormalization::None),
        merge_slashes: normalization.merges_slashes(),
        path_with_escaped_slashes_action: slashes.into(),
        ..manager
    }
}

/// The chain of requests. Their routes, and the policies for them, are those of the destination that the CONNECT is
/// for.
pub(super) fn requests(normalization: PathNormalization, profile: &Profile) -> FilterChain {
    let manager = HttpConnectionManager {
        proxy_100_continue: true,
        access_log: telemetry::of_requests(&profile.reporting),
        ..manager(MAIN_INTERNAL, filters(&[SCOPE_HEADER], &profile.extensions), "websocket")
    };
    let manager = normalizing(normalization, manager);
    let manager = telemetry::traced(manager, profile.reporting.tracer.as_ref(), Spans::OfServer);
    let manager = scoped(manager, MAIN_INTERNAL, &format!("%FILTER_STATE({DESTINATION}:PLAIN)%"));
    in_chain("http", "http_connection_manager", &manager)
}

/// Returns what takes requests to every port of a profile that is HTTP.
pub(crate) fn main_internal(name: &str, normalization: PathNormalization, profile: &Profile) -> Listener {
    internal(name, vec![requests(normalization, profile)])
}
