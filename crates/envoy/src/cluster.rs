//! Clusters.

use mesh::PortProtocol;
use mesh::destination::HBONE;
use model::TrustDomain;
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy,
    OriginalDstLbConfig,
};
use proto::envoy::config::cluster::v3::{CircuitBreakers, Cluster, circuit_breakers};
use proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, Metadata,
};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use proto::envoy::extensions::transport_sockets::internal_upstream::v3::{
    InternalUpstreamTransport, internal_upstream_transport::MetadataValueSource,
};
use proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config,
};
use proto::envoy::r#type::metadata::v3::{MetadataKey, MetadataKind, metadata_key, metadata_kind};
use proto::envoy::r#type::v3::Percent;
use std::collections::BTreeMap;

use crate::endpoint::ORIGINAL_DST;
use crate::key::{CONNECT_ORIGINATE, ENCAP};
use crate::message::{ads, internal_address, seconds, transport_socket};
use crate::port::{Port, Traffic};
use crate::{telemetry, tls};

/// Nothing is refused because there is much of it, unless an author says so.
const UNBOUNDED: u32 = u32::MAX;

fn named(name: &str, discovery: DiscoveryType) -> Cluster {
    let no_bound = Some(UNBOUNDED);
    Cluster {
        name: name.to_owned(),
        // Names hold separators of statistics.
        alt_stat_name: format!("{name};"),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: Some(seconds(10)),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![circuit_breakers::Thresholds {
                max_connections: no_bound,
                max_pending_requests: no_bound,
                max_requests: no_bound,
                max_retries: no_bound,
            }],
        }),
        ..Cluster::default()
    }
}

fn http_options(options: UpstreamProtocolOptions, common: Option<CommonOptions>) -> BTreeMap<String, Any> {
    let options = HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(options),
    };
    BTreeMap::from([("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), any(&options))])
}

fn http2(options: Http2ProtocolOptions) -> UpstreamProtocolOptions {
    let config = explicit_http_config::ProtocolConfig::Http2ProtocolOptions(options);
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
}

/// Returns the cluster of a port, whose endpoints have this name.
pub(crate) fn of_port(name: &str, endpoints: &str, port: &Port) -> Cluster {
    let options = match (port.protocol, Traffic::of(port.protocol)) {
        (PortProtocol::Http2 | PortProtocol::Grpc, _) => Some(http2(Http2ProtocolOptions::default())),
        (_, Traffic::Either) => {
            Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http2_protocol_options: Some(Http2ProtocolOptions::default()),
            }))
        }
        (_, Traffic::Http) => {
            let config = explicit_http_config::ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions {});
            let explicit = ExplicitHttpConfig { protocol_config: Some(config) };
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit))
        }
        (_, Traffic::Tcp) => None,
    };
    Cluster {
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: if endpoints == name { String::new() } else { endpoints.to_owned() },
        }),
        lb_policy: LbPolicy::LeastRequest.into(),
        // What is not ready is sent as such, and not used when everything is.
        common_lb_config: Some(CommonLbConfig { healthy_panic_threshold: Some(Percent { value: 0.0 }) }),
        typed_extension_protocol_options: options.map(|of| http_options(of, None)).unwrap_or_default(),
        metadata: Some(metadata(port)),
        transport_socket: Some(internal_socket(true)),
        ..named(name, DiscoveryType::Eds)
    }
}

/// The service, as metrics name it.
fn metadata(port: &Port) -> Metadata {
    let Port { hostname, object, .. } = port;
    let service = format!("{hostname};{};{}", object.name, &*object.ns);
    Metadata { filter_metadata: BTreeMap::from([telemetry::metadata(telemetry::SERVICE, service)]) }
}

/// Returns what connects to listeners within Envoy, and to addresses without more ado.
fn internal_socket(passes_metadata: bool) -> proto::envoy::config::core::v3::TransportSocket {
    let of_endpoint = MetadataValueSource {
        kind: Some(MetadataKind { kind: Some(metadata_kind::Kind::Host(metadata_kind::Host {})) }),
        name: ORIGINAL_DST.to_owned(),
    };
    let transport = InternalUpstreamTransport {
        passthrough_metadata: passes_metadata.then_some(of_endpoint).into_iter().collect(),
        transport_socket: Some(transport_socket("raw_buffer", &RawBuffer {})),
    };
    transport_socket("internal_upstream", &transport)
}

/// Returns the cluster that leads to the internal listener of its name.
pub(crate) fn of_listener(name: &str) -> Cluster {
    let endpoint = Endpoint { address: Some(internal_address(name, "")) };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let all = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    Cluster {
        load_assignment: Some(ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: vec![all] }),
        transport_socket: Some(internal_socket(false)),
        ..named(name, DiscoveryType::Static)
    }
}

/// Returns the cluster that sends to where a connection was to: filter state says where.
pub(crate) fn encap() -> Cluster {
    let as_it_came = UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http2_protocol_options: Some(Http2ProtocolOptions::default()),
    });
    Cluster {
        name: ENCAP.to_owned(),
        alt_stat_name: format!("{ENCAP};"),
        typed_extension_protocol_options: http_options(as_it_came, None),
        ..of_listener(CONNECT_ORIGINATE)
    }
}

/// Returns the cluster of whatever takes HBONE.
pub(crate) fn connect_originate(trust_domains: &[TrustDomain]) -> Cluster {
    let segment = |text: &str| metadata_key::PathSegment {
        segment: Some(metadata_key::path_segment::Segment::Key(text.to_owned())),
    };
    let idle = CommonOptions { idle_timeout: Some(seconds(3_600)), max_requests_per_connection: None };
    Cluster {
        lb_policy: LbPolicy::ClusterProvided.into(),
        lb_config: Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
            upstream_port_override: Some(HBONE.into()),
            metadata_key: Some(MetadataKey { key: ORIGINAL_DST.to_owned(), path: vec![segment("waypoint")] }),
        })),
        cleanup_interval: Some(seconds(60)),
        typed_extension_protocol_options: http_options(
            http2(Http2ProtocolOptions { allow_connect: true, ..Http2ProtocolOptions::default() }),
            Some(idle),
        ),
        transport_socket: Some(transport_socket("tls", &tls::client(trust_domains))),
        ..named(CONNECT_ORIGINATE, DiscoveryType::OriginalDst)
    }
}
