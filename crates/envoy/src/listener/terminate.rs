//! The listener that takes HBONE.

use model::TrustDomain;
use proto::envoy::config::core::v3::{Http2ProtocolOptions, KeepaliveSettings, TrafficDirection};
use proto::envoy::config::listener::v3::listener::{ConnectionBalanceConfig, connection_balance_config};
use proto::envoy::config::listener::v3::{AdditionalAddress, FilterChain, Listener};
use proto::envoy::extensions::filters::http::header_mutation::v3::{HeaderMutation, Mutations};
use proto::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
};

use super::chain::in_chain;
use super::http::{SCOPE_HEADER, http_filter, manager, policies, router, scope_key, scoped, scoped_by};
use super::state::{DESTINATION, HASHABLE, LOCAL_IP, STRING, state};
use crate::key::{CONNECT_SCOPE, CONNECT_TERMINATE};
use crate::message::{seconds, socket_address, transport_socket};
use crate::policy::{PEER, SOURCE};
use crate::profile::Profile;
use crate::{telemetry, tls};
use mesh::destination::{Families, HBONE};

/// Returns what takes HBONE, and has each connection within it go to the listener that its scope names; `by_name` is whether
/// CONNECTs may be to hosts, too.
pub(crate) fn connect_terminate(
    trust_domains: &[TrustDomain],
    families: Families,
    by_name: bool,
    profile: &Profile,
) -> Listener {
    let own = |key: &str, value: &str| state(key, "", value);
    let hashable = |key: &str, value: &str| state(key, HASHABLE, value);
    let authority = SetFilterState {
        on_request_headers: vec![
            own(LOCAL_IP, "%REQ(:AUTHORITY)%"),
            // No header of a CONNECT says where it comes from.
            own(SOURCE, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
            hashable("io.istio.connect_authority", "%REQ(:AUTHORITY)%"),
            hashable(PEER, "%DOWNSTREAM_PEER_URI_SAN%"),
            hashable("io.istio.local_principal", "%DOWNSTREAM_LOCAL_URI_SAN%"),
        ],
        ..SetFilterState::default()
    };
    // The scope of a CONNECT is the address that it is to. What is no address has none, unless hosts are called, too: of those
    // it is all that the CONNECT names, so that no host is taken for an address.
    let address = format!("{LOCAL_IP}:FIELD:ip");
    let to = match by_name {
        false => format!("%FILTER_STATE({address})%"),
        true => format!(
            "%COALESCE({{\"operators\": [{{\"command\": \"FILTER_STATE\", \"param\": \"{address}\"}}, \
             {{\"command\": \"REQ\", \"param\": \":authority\"}}]}})%"
        ),
    };
    let scope = HeaderMutation {
        mutations: Some(Mutations {
            request_mutations: vec![scope_key(&format!("{CONNECT_SCOPE}{to}"))],
            ..Mutations::default()
        }),
    };
    let caller = SetFilterState {
        on_request_headers: vec![state(telemetry::CALLER, STRING, &telemetry::caller())],
        // From here on the route is that of the scope.
        clear_route_cache: true,
    };
    // A route has the name of the scope of what it leads to. It is looked up by filters that have settings of a route, so
    // this one comes after those.
    let destination = SetFilterState {
        on_request_headers: vec![hashable(DESTINATION, "%ROUTE_NAME%")],
        ..SetFilterState::default()
    };
    let mut filters = vec![
        http_filter("baggage", &telemetry::baggage()),
        http_filter("connect_authority", &authority),
        http_filter("connect_scope", &scope),
        http_filter("caller", &caller),
    ];
    filters.extend(policies());
    filters.push(http_filter("destination", &destination));
    filters.push(router());
    let manager = HttpConnectionManager {
        access_log: telemetry::of_connects(&profile.reporting),
        http2_protocol_options: Some(http2()),
        forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true),
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        ..manager(CONNECT_TERMINATE, filters, "CONNECT")
    };
    // None yet, whatever the client says.
    let manager = scoped(manager, CONNECT_TERMINATE, CONNECT_SCOPE);
    hbone(manager, trust_domains, families)
}

/// Returns what takes HBONE from other networks, and passes on what is in it: the scope of a CONNECT is the host that it is
/// to.
pub(crate) fn connect_pass(trust_domains: &[TrustDomain], families: Families, profile: &Profile) -> Listener {
    let manager = HttpConnectionManager {
        access_log: telemetry::of_connects(&profile.reporting),
        http2_protocol_options: Some(http2()),
        ..manager(CONNECT_TERMINATE, vec![router()], "CONNECT")
    };
    let host = scope_key("%REQ(:AUTHORITY)%");
    hbone(scoped_by(manager, CONNECT_TERMINATE, &[(SCOPE_HEADER, ":")], vec![host]), trust_domains, families)
}

fn http2() -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: Some(100),
        allow_connect: true,
        connection_keepalive: Some(KeepaliveSettings {
            interval: Some(seconds(10)),
            timeout: Some(seconds(20)),
        }),
    }
}

fn hbone(manager: HttpConnectionManager, trust_domains: &[TrustDomain], families: Families) -> Listener {
    let chain = FilterChain {
        transport_socket: Some(transport_socket("tls", &tls::server(trust_domains))),
        ..in_chain("default", "http_connection_manager", &manager)
    };
    let all = |any: &str| socket_address(any, HBONE);
    let (address, also) = match families {
        Families { v4: false, v6: true } => (all("::"), None),
        Families { v6, .. } => (all("0.0.0.0"), v6.then(|| AdditionalAddress { address: Some(all("::")) })),
    };
    let balance =
        connection_balance_config::BalanceType::ExactBalance(connection_balance_config::ExactBalance {});
    Listener {
        name: CONNECT_TERMINATE.to_owned(),
        address: Some(address),
        additional_addresses: also.into_iter().collect(),
        filter_chains: vec![chain],
        traffic_direction: TrafficDirection::Inbound.into(),
        connection_balance_config: Some(ConnectionBalanceConfig { balance_type: Some(balance) }),
        ..Listener::default()
    }
}
