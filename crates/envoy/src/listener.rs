//! Listeners.

use model::TrustDomain;
use model::facts::PathNormalization;
use proto::envoy::any;
use proto::envoy::config::common::mutation_rules::v3::{HeaderMutation as Change, header_mutation};
use proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, Http2ProtocolOptions, KeepaliveSettings, TrafficDirection,
    TypedExtensionConfig, header_value_option,
};
use proto::envoy::config::listener::v3::listener::{
    ConnectionBalanceConfig, InternalListenerConfig, ListenerSpecifier, connection_balance_config,
};
use proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use proto::envoy::extensions::filters::common::set_filter_state::v3::{FilterStateValue, filter_state_value};
use proto::envoy::extensions::filters::http::cors::v3::Cors;
use proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig as ForwardProxy, filter_config::ImplementationSpecifier,
};
use proto::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config};
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use proto::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails, UpgradeConfig,
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
use proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use proto::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation;
use proto::envoy::r#type::v3::{HashPolicy, hash_policy};
use prost::{Message, Name};

use crate::key::{CONNECT_ORIGINATE, CONNECT_SCOPE, CONNECT_TERMINATE, MAIN_INTERNAL};
use crate::message::{
    ads, duration, listener_filter, names, network_filter, original_dst, seconds, socket_address,
    text_format, transport_socket,
};
use crate::policy::{self, PEER, Policies, SOURCE};
use crate::port::Traffic;
use crate::tls;
use crate::upstream::StreamLimits;
use mesh::destination::HBONE;

/// The header that scopes are found by.
pub(crate) const SCOPE_HEADER: &str = "x-pilothouse-scope";
/// The filter that keeps sessions with one endpoint, by their route.
pub(crate) const SESSION_FILTER: &str = "envoy.filters.http.stateful_session";
/// The filter that sets which destination a CONNECT is for, by its route.
pub(crate) const DESTINATION_FILTER: &str = "destination";
/// The filter state that it sets.
const DESTINATION: &str = "pilothouse.destination";

/// Returns filter state of a request, which the connection within Envoy that comes of it has, too.
fn state(key: &str, factory: &str, value: &str) -> FilterStateValue {
    FilterStateValue {
        key: Some(filter_state_value::Key::ObjectKey(key.to_owned())),
        factory_key: factory.to_owned(),
        value: Some(filter_state_value::Value::FormatString(text_format(value))),
        shared_with_upstream: filter_state_value::SharedWithUpstream::Once.into(),
    }
}

/// Returns the settings of [`DESTINATION_FILTER`] for a CONNECT to what has this scope.
pub(crate) fn destination(scope: &str) -> SetFilterState {
    SetFilterState { on_request_headers: vec![state(DESTINATION, HASHABLE, scope)] }
}

const HASHABLE: &str = "envoy.hashable_string";

fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(http_filter::ConfigType::TypedConfig(any(config))) }
}

/// The filters that decide by policy, without rules of their own: those are what scopes say.
fn policies() -> impl Iterator<Item = HttpFilter> {
    policy::filters().into_iter().map(|(name, config)| http_filter(name, &config))
}

fn router() -> HttpFilter {
    http_filter("envoy.filters.http.router", &Router {})
}

/// Returns what finds the scope of a request: its key is `value`, whatever the client says.
fn scoped(manager: HttpConnectionManager, name: &str, value: &str) -> HttpConnectionManager {
    let option = HeaderValueOption {
        header: Some(HeaderValue { key: SCOPE_HEADER.to_owned(), value: value.to_owned() }),
        append_action: header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    let change = Change { action: Some(header_mutation::Action::Append(option)) };
    let extractor = HeaderValueExtractor {
        name: SCOPE_HEADER.to_owned(),
        extract_type: Some(header_value_extractor::ExtractType::Index(0)),
    };
    let fragment = FragmentBuilder { r#type: Some(Type::HeaderValueExtractor(extractor)) };
    let routes = ScopedRoutes {
        name: name.to_owned(),
        scope_key_builder: Some(ScopeKeyBuilder { fragments: vec![fragment] }),
        rds_config_source: Some(ads()),
        config_specifier: Some(ConfigSpecifier::ScopedRds(ScopedRds {
            scoped_rds_config_source: Some(ads()),
        })),
    };
    HttpConnectionManager {
        early_header_mutation_extensions: vec![TypedExtensionConfig {
            name: "envoy.http.early_header_mutation.header_mutation".to_owned(),
            typed_config: Some(any(&HeaderMutation { mutations: vec![change] })),
        }],
        route_specifier: Some(RouteSpecifier::ScopedRoutes(routes)),
        ..manager
    }
}

fn manager(prefix: &str, filters: Vec<HttpFilter>, upgrade: &str) -> HttpConnectionManager {
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

fn in_chain<M: Message + Name>(name: &str, filter: &str, config: &M) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters: vec![network_filter(filter, config)],
        ..FilterChain::default()
    }
}

/// Returns what takes HBONE, and has each connection within it go to the listener that its scope names.
pub(crate) fn connect_terminate(trust_domains: &[TrustDomain]) -> Listener {
    let own = |key: &str, value: &str| state(key, "", value);
    let hashable = |key: &str, value: &str| state(key, HASHABLE, value);
    let authority = SetFilterState {
        on_request_headers: vec![
            own("envoy.filters.listener.original_dst.local_ip", "%REQ(:AUTHORITY)%"),
            // No header of a CONNECT says where it comes from.
            own(SOURCE, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
            hashable("io.istio.connect_authority", "%REQ(:AUTHORITY)%"),
            hashable(PEER, "%DOWNSTREAM_PEER_URI_SAN%"),
            hashable("io.istio.local_principal", "%DOWNSTREAM_LOCAL_URI_SAN%"),
        ],
    };
    let mut filters = vec![
        http_filter("connect_authority", &authority),
        http_filter(DESTINATION_FILTER, &SetFilterState::default()),
    ];
    filters.extend(policies());
    filters.push(router());
    let manager = HttpConnectionManager {
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: Some(100),
            allow_connect: true,
            connection_keepalive: Some(KeepaliveSettings {
                interval: Some(seconds(10)),
                timeout: Some(seconds(20)),
            }),
        }),
        forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true),
            dns: true,
            uri: true,
        }),
        ..manager(CONNECT_TERMINATE, filters, "CONNECT")
    };
    let manager = scoped(manager, CONNECT_TERMINATE, &format!("{CONNECT_SCOPE}%REQ(:AUTHORITY)%"));
    let chain = FilterChain {
        transport_socket: Some(transport_socket("tls", &tls::server(trust_domains))),
        ..in_chain("default", "http_connection_manager", &manager)
    };
    let balance =
        connection_balance_config::BalanceType::ExactBalance(connection_balance_config::ExactBalance {});
    Listener {
        name: CONNECT_TERMINATE.to_owned(),
        address: Some(socket_address("0.0.0.0", HBONE)),
        filter_chains: vec![chain],
        traffic_direction: TrafficDirection::Inbound.into(),
        connection_balance_config: Some(ConnectionBalanceConfig { balance_type: Some(balance) }),
        ..Listener::default()
    }
}

fn internal(name: &str, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        filter_chains: chains,
        listener_filters: vec![original_dst()],
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_specifier: Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})),
        ..Listener::default()
    }
}

/// The chain of requests. Their routes, and the policies for them, are those of the destination that the CONNECT is
/// for.
fn requests(normalization: PathNormalization) -> FilterChain {
    let grpc_stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(filter_config::PerMethodStatSpecifier::StatsForAllMethods(false)),
    };
    let forward =
        ForwardProxy { implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(names())) };
    let mut filters: Vec<HttpFilter> = policies().collect();
    filters.extend([
        http_filter("envoy.filters.http.grpc_stats", &grpc_stats),
        http_filter("envoy.filters.http.cors", &Cors {}),
        http_filter(SESSION_FILTER, &StatefulSession::default()),
        http_filter("envoy.filters.http.dynamic_forward_proxy", &forward),
        router(),
    ]);
    let slashes = if normalization.decodes_slashes() {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::KeepUnchanged
    };
    let manager = HttpConnectionManager {
        normalize_path: Some(normalization != PathNormalization::None),
        merge_slashes: normalization.merges_slashes(),
        path_with_escaped_slashes_action: slashes.into(),
        proxy_100_continue: true,
        ..manager(MAIN_INTERNAL, filters, "websocket")
    };
    let manager = scoped(manager, MAIN_INTERNAL, &format!("%FILTER_STATE({DESTINATION}:PLAIN)%"));
    in_chain("http", "http_connection_manager", &manager)
}

/// Returns what takes requests to every port that is HTTP.
pub(crate) fn main_internal(normalization: PathNormalization) -> Listener {
    internal(MAIN_INTERNAL, vec![requests(normalization)])
}

/// Returns what takes a port that is not HTTP, or is found out to be HTTP or not: clusters have streams by
/// weight, and what policies there are lets them pass.
pub(crate) fn of_port(
    name: &str,
    traffic: Traffic,
    shares: &[(String, u32)],
    limits: &StreamLimits,
    policies: Option<&Policies>,
    normalization: PathNormalization,
) -> Listener {
    let cluster = match shares {
        [(cluster, _)] => tcp_proxy::ClusterSpecifier::Cluster(cluster.clone()),
        shares => {
            let weight = |(name, weight): &(String, u32)| tcp_proxy::weighted_cluster::ClusterWeight {
                name: name.clone(),
                weight: *weight,
            };
            tcp_proxy::ClusterSpecifier::WeightedClusters(tcp_proxy::WeightedCluster {
                clusters: shares.iter().map(weight).collect(),
            })
        }
    };
    let by_source = hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {});
    let by_source = limits.hashes_source.then_some(HashPolicy { policy_specifier: Some(by_source) });
    let proxy = TcpProxy {
        stat_prefix: name.to_owned(),
        cluster_specifier: Some(cluster),
        idle_timeout: limits.idle_timeout.map(duration),
        max_downstream_connection_duration: limits.max_duration.map(duration),
        hash_policy: by_source.into_iter().collect(),
        ..TcpProxy::default()
    };
    let mut bytes = in_chain("tcp", "tcp_proxy", &proxy);
    let deciding = policies.map(Policies::filters).unwrap_or_default();
    bytes.filters = deciding.into_iter().chain(bytes.filters).collect();
    // A client that waits for the server would wait for long: it is asked only where somebody has to know.
    let server_name = policies.is_some_and(Policies::asks_for_server_name);
    let inspectors = server_name.then(|| listener_filter("tls_inspector", &TlsInspector {}));
    let listener_filters = std::iter::once(original_dst()).chain(inspectors);
    if traffic == Traffic::Tcp {
        return Listener { listener_filters: listener_filters.collect(), ..internal(name, vec![bytes]) };
    }
    let found = FilterChainMatch { application_protocols: ["http/1.1", "h2c"].map(str::to_owned).to_vec() };
    let listener =
        internal(name, vec![FilterChain { filter_chain_match: Some(found), ..requests(normalization) }]);
    Listener {
        default_filter_chain: Some(bytes),
        listener_filters: listener_filters
            .chain([listener_filter("http_inspector", &HttpInspector {})])
            .collect(),
        ..listener
    }
}

/// Returns what sends a connection within Envoy by HBONE, to where its endpoint says.
pub(crate) fn connect_originate() -> Listener {
    let tunnel = tcp_proxy::TunnelingConfig { hostname: "%DOWNSTREAM_LOCAL_ADDRESS%".to_owned() };
    let proxy = TcpProxy {
        stat_prefix: CONNECT_ORIGINATE.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(CONNECT_ORIGINATE.to_owned())),
        tunneling_config: Some(tunnel),
        ..TcpProxy::default()
    };
    Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        ..internal(CONNECT_ORIGINATE, vec![in_chain("tcp", "tcp_proxy", &proxy)])
    }
}
