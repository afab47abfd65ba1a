//! The listener of a port that is not HTTP alone.

use model::facts::PathNormalization;
use proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3::{
    FilterConfig as ForwardProxy, filter_config::PortSpecifier,
};
use proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use proto::envoy::r#type::v3::{HashPolicy, hash_policy};

use super::chain::{in_chain, internal};
use super::requests::requests;
use crate::message::{duration, listener_filter, names, network_filter, original_dst};
use crate::policy::Policies;
use crate::port::Traffic;
use crate::profile::Profile;
use crate::telemetry;
use crate::upstream::Streams;

/// Returns what takes a port that is not HTTP, or is found out to be HTTP or not: clusters have streams by
/// weight, and what policies there are lets them pass.
pub(crate) fn of_port(
    name: &str,
    traffic: Traffic,
    streams: &Streams,
    policies: Option<&Policies>,
    normalization: PathNormalization,
    profile: &Profile,
) -> Listener {
    let bytes = bytes(name, streams, policies, profile);
    // A client that waits for the server would wait for long: it is asked only where somebody has to know.
    let server_name = streams.asked.is_some() || policies.is_some_and(Policies::asks_for_server_name);
    let inspectors = server_name.then(|| listener_filter("tls_inspector", &TlsInspector {}));
    let listener_filters = std::iter::once(original_dst()).chain(inspectors);
    if traffic == Traffic::Tcp {
        return Listener { listener_filters: listener_filters.collect(), ..internal(name, vec![bytes]) };
    }
    let found = FilterChainMatch {
        application_protocols: ["http/1.1", "h2c"].map(str::to_owned).to_vec(),
        ..FilterChainMatch::default()
    };
    let listener = internal(
        name,
        vec![FilterChain { filter_chain_match: Some(found), ..requests(normalization, profile) }],
    );
    Listener {
        default_filter_chain: Some(bytes),
        listener_filters: listener_filters
            .chain([listener_filter("http_inspector", &HttpInspector {})])
            .collect(),
        ..listener
    }
}

/// The chain of streams: clusters have them by weight, and what policies there are lets them pass.
pub(super) fn bytes(
    name: &str,
    streams: &Streams,
    policies: Option<&Policies>,
    profile: &Profile,
) -> FilterChain {
    let Streams { shares, limits, asked } = streams;
    let cluster = match shares.as_slice() {
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
        access_log: telemetry::of_streams(&profile.reporting),
        access_log_options: Some(tcp_proxy::TcpAccessLogOptions { flush_access_log_on_connected: true }),
        ..TcpProxy::default()
    };
    let mut chain = in_chain("tcp", "tcp_proxy", &proxy);
    let deciding = policies.map(Policies::filters).unwrap_or_default();
    let forward = asked.as_ref().map(|(_, port)| {
        let port = PortSpecifier::PortValue((*port).into());
        let config = ForwardProxy { dns_cache_config: Some(names()), port_specifier: Some(port) };
        network_filter("sni_dynamic_forward_proxy", &config)
    });
    chain.filters = deciding.into_iter().chain(forward).chain(chain.filters).collect();
    // What asks for nothing, or for another host, finds no chain.
    chain.filter_chain_match = asked.as_ref().map(|(host, _)| FilterChainMatch {
        server_names: vec![host.to_string()],
        ..FilterChainMatch::default()
    });
    chain
}
