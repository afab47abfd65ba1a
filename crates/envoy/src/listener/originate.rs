//! The listener that sends by HBONE.

use proto::envoy::config::core::v3::TrafficDirection;
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};

use super::chain::{in_chain, internal};
use crate::key::CONNECT_ORIGINATE;

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
