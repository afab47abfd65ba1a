//! The listeners that send to waypoints, and to other networks: the latter within each other, so that a gateway between networks sees where something
//! goes, and nothing of it.

use model::Str;
use proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, TrafficDirection, header_value_option::HeaderAppendAction,
};
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::filters::common::set_filter_state::v3::{
    FilterStateValue, filter_state_value::SharedWithUpstream,
};
use proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};

use super::chain::{in_chain, internal};
use super::state::{DIALLED, HASHABLE, state};
use crate::endpoint::{
    ELSEWHERE, GATEWAY_ADDRESS, GATEWAY_IDENTITY, TARGET_ADDRESS, TARGET_IDENTITIES, WAYPOINT_ADDRESS,
};
use crate::key::{CONNECT_ORIGINATE, INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE, WAYPOINT_ORIGINATE};
use crate::message::network_filter;

/// The filter state that names what a connection to another network is for.
const TARGET: &str = "istio.double_hbone.hbone_target_address";
/// The filter state that names who the gateway of that network is.
const GATEWAY: &str = "istio.double_hbone.gateway_identity";
/// The filter state that names of whom a server is to prove to be one.
const SERVERS: &str = "envoy.network.upstream_subject_alt_names";

/// Returns what sends a connection by HBONE to its target, and that to the gateway of the target's network.
pub(crate) fn inner_connect_originate(network: &Str) -> Listener {
    let of_endpoint = |key: &str| format!("%DYNAMIC_METADATA({ELSEWHERE}:{key})%");
    let states = vec![
        state(TARGET, HASHABLE, &of_endpoint(TARGET_ADDRESS)),
        state(GATEWAY, HASHABLE, &of_endpoint(GATEWAY_IDENTITY)),
        state(DIALLED, "", &of_endpoint(GATEWAY_ADDRESS)),
        own(&of_endpoint(TARGET_IDENTITIES)),
    ];
    tunnel(
        INNER_CONNECT_ORIGINATE,
        INNER_CONNECT_ORIGINATE,
        states,
        ("x-forwarded-network", network.as_str()),
    )
}

/// Returns what sends a connection by HBONE to a waypoint, which is asked for its target.
pub(crate) fn waypoint_originate() -> Listener {
    let of_endpoint = |key: &str| format!("%DYNAMIC_METADATA({ELSEWHERE}:{key})%");
    let states = vec![
        state(TARGET, HASHABLE, &of_endpoint(TARGET_ADDRESS)),
        state(DIALLED, "", &of_endpoint(WAYPOINT_ADDRESS)),
    ];
    tunnel(WAYPOINT_ORIGINATE, CONNECT_ORIGINATE, states, ("", ""))
}

/// Returns what sends that to the gateway by HBONE.
pub(crate) fn outer_connect_originate() -> Listener {
    // The gateway leads straight to the service then, and not to a waypoint of its own once more.
    let source = ("x-istio-source", "waypoint");
    let states = vec![own(&format!("%FILTER_STATE({GATEWAY}:PLAIN)%"))];
    tunnel(OUTER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE, states, source)
}

/// Who the server of this connection is to be, and of no other.
fn own(servers: &str) -> FilterStateValue {
    let shared_with_upstream = SharedWithUpstream::None.into();
    FilterStateValue { shared_with_upstream, ..state(SERVERS, "", servers) }
}

fn tunnel(
    name: &str,
    cluster: &str,
    states: Vec<FilterStateValue>,
    (header, value): (&str, &str),
) -> Listener {
    let header = HeaderValueOption {
        header: Some(HeaderValue { key: header.to_owned(), value: value.to_owned() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    let proxy = TcpProxy {
        stat_prefix: name.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        tunneling_config: Some(tcp_proxy::TunnelingConfig {
            hostname: format!("%FILTER_STATE({TARGET}:PLAIN)%"),
            headers_to_add: if value.is_empty() { Vec::new() } else { vec![header] },
        }),
        ..TcpProxy::default()
    };
    let mut chain = in_chain("tcp", "tcp_proxy", &proxy);
    let states = SetFilterState { on_new_connection: states };
    chain.filters.insert(0, network_filter("set_filter_state", &states));
    Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        listener_filters: Vec::new(),
        ..internal(name, vec![chain])
    }
}
