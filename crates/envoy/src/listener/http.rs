//! Connection managers, whose routes are found by scope.

use prost::{Message, Name};
use proto::envoy::any;
use proto::envoy::config::common::mutation_rules::v3::{HeaderMutation as Change, header_mutation};
use proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, TypedExtensionConfig, header_value_option,
};
use proto::envoy::extensions::filters::http::header_mutation::v3::{HeaderMutation as Removal, Mutations};
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, UpgradeConfig,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::{
    FragmentBuilder,
    fragment_builder::{HeaderValueExtractor, Type, header_value_extractor},
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::{
    ConfigSpecifier, ScopeKeyBuilder,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, ScopedRds, ScopedRoutes, http_filter,
};
use proto::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation;

use crate::message::{ads, seconds};
use crate::policy;

/// The header that scopes are found by.
pub(super) const SCOPE_HEADER: &str = "x-pilothouse-scope";
/// The header that they are found by besides, at the edge: the hostname.
pub(super) const HOSTNAME_HEADER: &str = "x-pilothouse-host";

pub(super) fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(http_filter::ConfigType::TypedConfig(any(config))) }
}

/// The filters that decide by policy, without rules of their own: those are what scopes say.
pub(super) fn policies() -> impl Iterator<Item = HttpFilter> {
    policy::filters().into_iter().map(|(name, config)| http_filter(name, &config))
}

/// The filters that a scope says what they are: who is asked, and which tokens are taken.
pub(super) fn slots() -> impl Iterator<Item = HttpFilter> {
    policy::slots().into_iter().map(|(name, config)| http_filter(&name, &config))
}

pub(super) fn router() -> HttpFilter {
    http_filter("envoy.filters.http.router", &Router {})
}

/// Returns what makes a format the key that the scope of a request is found by, whatever the client says.
pub(super) fn scope_key(format: &str) -> Change {
    header(SCOPE_HEADER, format)
}

/// Returns what gives a header this value and no other, whatever the client says.
pub(super) fn header(name: &str, format: &str) -> Change {
    let option = HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: format.to_owned() }),
        append_action: header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    Change { action: Some(header_mutation::Action::Append(option)) }
}

/// The filter that has the key end here, which these headers are: what is behind a proxy has no use for it.
pub(super) fn without_scope_key(headers: &[&str]) -> HttpFilter {
    let remove = |name: &&str| Change { action: Some(header_mutation::Action::Remove((*name).to_owned())) };
    changes("scope", headers.iter().map(remove).collect())
}

/// Returns the filter that changes headers of requests.
pub(super) fn changes(name: &str, request_mutations: Vec<Change>) -> HttpFilter {
    http_filter(name, &Removal { mutations: Some(Mutations { request_mutations, ..Mutations::default() }) })
}

/// Returns what finds the scope of a request: its key is `value` before any filter.
pub(super) fn scoped(manager: HttpConnectionManager, name: &str, value: &str) -> HttpConnectionManager {
    scoped_by(manager, name, &[(SCOPE_HEADER, "")], vec![scope_key(value)])
}

/// As [`scoped`], by what headers have up to a separator, if there is one, after these changes.
pub(super) fn scoped_by(
    manager: HttpConnectionManager,
    name: &str,
    headers: &[(&str, &str)],
    mutations: Vec<Change>,
) -> HttpConnectionManager {
    let fragment = |(name, separator): &(&str, &str)| {
        let extractor = HeaderValueExtractor {
            name: (*name).to_owned(),
            element_separator: (*separator).to_owned(),
            extract_type: Some(header_value_extractor::ExtractType::Index(0)),
        };
        FragmentBuilder { r#type: Some(Type::HeaderValueExtractor(extractor)) }
    };
    let routes = ScopedRoutes {
        name: name.to_owned(),
        scope_key_builder: Some(ScopeKeyBuilder { fragments: headers.iter().map(fragment).collect() }),
        rds_config_source: Some(ads()),
        config_specifier: Some(ConfigSpecifier::ScopedRds(ScopedRds {
            scoped_rds_config_source: Some(ads()),
        })),
    };
    HttpConnectionManager {
        early_header_mutation_extensions: vec![TypedExtensionConfig {
            name: "envoy.http.early_header_mutation.header_mutation".to_owned(),
            typed_config: Some(any(&HeaderMutation { mutations })),
        }],
        route_specifier: Some(RouteSpecifier::ScopedRoutes(routes)),
        ..manager
    }
}

pub(super) fn manager(prefix: &str, filters: Vec<HttpFilter>, upgrade: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: prefix.to_owned(),
        http_filters: filters,
        server_name: "istio-envoy".to_owned(),
        stream_idle_timeout: Some(seconds(0)),
        use_remote_address: Some(false),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: upgrade.to_owned() }],
        ..HttpConnectionManager::default()
    }
}
