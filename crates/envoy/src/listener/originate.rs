//! The listener that sends by HBONE.

use proto::envoy::config::core::v3::{SubstitutionFormatString, TrafficDirection};
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::filters::common::set_filter_state::v3::{FilterStateValue, filter_state_value};
use proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};

use super::chain::{in_chain, internal};
use super::state::{DIALLED, state};
use crate::key::CONNECT_ORIGINATE;
use crate::message::network_filter;

/// Returns what sends a connection within Envoy by HBONE, to the address that is the id of its endpoint, or where its
/// own state says.
pub(crate) fn connect_originate() -> Listener {
    let id = state(DIALLED, "", "%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%");
    let format = id.value.map(|value| match value {
        filter_state_value::Value::FormatString(format) => {
            filter_state_value::Value::FormatString(SubstitutionFormatString {
                omit_empty_values: true,
                ..format
            })
        }
    });
    let id = FilterStateValue { value: format, skip_if_empty: true, ..id };
    let dialled = SetFilterState { on_new_connection: vec![id] };
    let tunnel = tcp_proxy::TunnelingConfig {
        hostname: format!("%FILTER_STATE({DIALLED}:PLAIN)%"),
        ..tcp_proxy::TunnelingConfig::default()
    };
    let proxy = TcpProxy {
        stat_prefix: CONNECT_ORIGINATE.to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(CONNECT_ORIGINATE.to_owned())),
        tunneling_config: Some(tunnel),
        ..TcpProxy::default()
    };
    let mut chain = in_chain("tcp", "tcp_proxy", &proxy);
    chain.filters.insert(0, network_filter("set_filter_state", &dialled));
    Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        listener_filters: Vec::new(),
        ..internal(CONNECT_ORIGINATE, vec![chain])
    }
}
