//! Clusters.

mod balance;
mod pool;

use mesh::destination::HBONE;
use model::TrustDomain;
use model::facts::{ConnectionPool, Resolution, SubjectAltName};
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, CustomClusterType, DiscoveryType, EdsClusterConfig, LbConfig,
    LbPolicy, OriginalDstLbConfig,
};
use proto::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, Metadata, TransportSocket,
    UpstreamHttpProtocolOptions,
};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use proto::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use proto::envoy::extensions::clusters::dns::v3::DnsCluster;
use proto::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier,
};
use proto::envoy::extensions::transport_sockets::internal_upstream::v3::{
    InternalUpstreamTransport, internal_upstream_transport::MetadataValueSource,
};
use proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use proto::envoy::r#type::metadata::v3::{MetadataKind, metadata_kind};
use proto::envoy::r#type::v3::Percent;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::endpoint::ELSEWHERE;
use crate::key::{CONNECT_ORIGINATE, ENCAP, INNER_CONNECT_ORIGINATE, ModuleKey, OUTER_CONNECT_ORIGINATE};
use crate::locality::Preference;
use crate::message::{ads, duration, internal_address, names, seconds, socket_address, transport_socket};
use crate::port::Port;
use crate::upstream::{Origination, Trust, Upstream, Way};
use crate::{hops, telemetry, tls};

fn named(name: &str, discovery: DiscoveryType) -> Cluster {
    Cluster {
        name: name.to_owned(),
        // Names hold separators of statistics.
        alt_stat_name: format!("{name};"),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: Some(seconds(10)),
        circuit_breakers: Some(pool::breakers(&ConnectionPool::default(), None)),
        ..Cluster::default()
    }
}

fn http_options(options: UpstreamProtocolOptions, common: CommonOptions) -> HttpProtocolOptions {
    HttpProtocolOptions {
        common_http_protocol_options: (common != CommonOptions::default()).then_some(common),
        upstream_protocol_options: Some(options),
        ..HttpProtocolOptions::default()
    }
}

fn typed(options: HttpProtocolOptions) -> BTreeMap<String, Any> {
    BTreeMap::from([("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), any(&options))])
}

/// Returns what has the name that a request asks for asked for in TLS, and verified where nothing else is.
fn of_request(tls: &Origination) -> Option<UpstreamHttpProtocolOptions> {
    let is_verified = matches!(tls.trust, Trust::System | Trust::Roots(_)) && tls.names.is_empty();
    let asks = UpstreamHttpProtocolOptions { auto_sni: true, auto_san_validation: is_verified };
    tls.server_name.is_none().then_some(asks)
}

/// What a cluster has its endpoints from.
pub(crate) enum Members {
    /// From the resource of this name, and whether some of them are on other networks.
    Named(String, bool),
    /// From these, whose names it looks up itself.
    Resolved(ClusterLoadAssignment),
    /// From the names that requests ask for.
    Asked,
}

/// Returns the cluster of an upstream.
pub(crate) fn of_upstream(name: &str, members: Members, of: &Upstream, way: &Way) -> Cluster {
    let policy = &of.policy().port;
    let none = ConnectionPool::default();
    let pool = policy.connections.as_ref().unwrap_or(&none);
    let is_asked = matches!(members, Members::Asked);
    // Envoy wants names of requests to be verified, also where there are none.
    let options = pool::protocol(of.port.protocol, pool, way.unsaid)
        .or_else(|| is_asked.then(|| pool::as_client(pool)));
    let is_by_name = !matches!(members, Members::Named(..));
    let (lb_policy, lb_config) = match is_asked {
        true => (LbPolicy::ClusterProvided, None),
        false => balance::algorithm(policy.load_balancer.as_ref()),
    };
    let of_request = way.security.as_ref().and_then(of_request);
    // Whatever name a request asks for is that of the certificate, if there is one.
    let asks = UpstreamHttpProtocolOptions { auto_sni: true, auto_san_validation: true };
    let of_request = if is_asked { Some(asks) } else { of_request };
    // A server that is asked for nothing may take it for the older version, and gRPC servers take it for none.
    let is_http2 = matches!(
        &options,
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(of))
            if matches!(of.protocol_config, Some(ProtocolConfig::Http2ProtocolOptions(_)))
    );
    let within = within(way.security.as_ref(), if is_http2 { &["h2"] } else { &[] });
    let passes = matches!(members, Members::Named(_, true));
    let transport_socket = if is_asked { within } else { internal_socket(within, passes) };
    let by_weight = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    let has_shares = of.preference.as_ref().is_some_and(Preference::has_shares);
    let threshold = policy.outliers.and_then(|of| of.min_health_percent).unwrap_or(0);
    let cluster = match members {
        Members::Named(endpoints, _) => Cluster {
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: if endpoints == name { String::new() } else { endpoints },
            }),
            ..named(name, DiscoveryType::Eds)
        },
        Members::Resolved(all) => Cluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(by_name(of, &all))),
            load_assignment: Some(all),
            ..named(name, DiscoveryType::Static)
        },
        Members::Asked => {
            let config = ClusterConfig {
                cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(
                    names(),
                )),
            };
            let forward = CustomClusterType {
                name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
                typed_config: Some(any(&config)),
            };
            Cluster {
                cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(forward)),
                ..named(name, DiscoveryType::Static)
            }
        }
    };
    Cluster {
        connect_timeout: pool.connect_timeout.map(duration).or(cluster.connect_timeout),
        circuit_breakers: Some(pool::breakers(pool, way.retries.as_ref())),
        upstream_bind_config: is_by_name.then(hops::dialled_by_name),
        upstream_connection_options: pool.keepalive.as_ref().map(pool::connection_options),
        lb_policy: lb_policy.into(),
        lb_config,
        outlier_detection: policy.outliers.as_ref().map(balance::outliers),
        // What is not ready is sent as such, and not used when everything is, unless an author says from when on.
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: threshold.into() }),
            locality_config_specifier: has_shares.then_some(by_weight),
        }),
        typed_extension_protocol_options: options
            .map(|options| HttpProtocolOptions {
                upstream_http_protocol_options: of_request,
                ..http_options(options, pool::common(pool))
            })
            .map(typed)
            .unwrap_or_default(),
        metadata: Some(metadata(&of.port)),
        transport_socket: Some(transport_socket),
        ..cluster
    }
}

/// Returns the cluster by which modules are fetched from a host.
pub(crate) fn of_modules(key: &ModuleKey) -> Cluster {
    let name = key.cluster();
    let address = Endpoint { address: Some(socket_address(&key.host, key.port)) };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(address)),
        ..LbEndpoint::default()
    };
    let members = ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }],
    };
    let is_name = key.host.parse::<IpAddr>().is_err();
    let cluster = named(&name, DiscoveryType::Static);
    let discovery = DnsCluster {
        dns_refresh_rate: Some(seconds(60)),
        respect_dns_ttl: true,
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        all_addresses_in_single_endpoint: false,
    };
    let discovery =
        CustomClusterType { name: "envoy.cluster.dns".to_owned(), typed_config: Some(any(&discovery)) };
    let tls = Origination {
        server_name: is_name.then(|| key.host.clone()),
        names: vec![SubjectAltName::Hostname(key.host.clone())],
        trust: Trust::System,
        certificate: None,
    };
    Cluster {
        cluster_discovery_type: if is_name {
            Some(ClusterDiscoveryType::ClusterType(discovery))
        } else {
            cluster.cluster_discovery_type
        },
        load_assignment: Some(members),
        upstream_bind_config: Some(hops::dialled_by_name()),
        transport_socket: key.is_tls.then(|| within(Some(&tls), &[])),
        ..cluster
    }
}

/// Returns how names are looked up. With `DNS_ROUND_ROBIN` each connection goes to what a name leads to then, and
/// those that are there stay.
fn by_name(of: &Upstream, all: &ClusterLoadAssignment) -> CustomClusterType {
    let mut endpoints = all.endpoints.iter().flat_map(|of| &of.lb_endpoints);
    let is_single = endpoints.next().is_some() && endpoints.next().is_none();
    let config = DnsCluster {
        dns_refresh_rate: Some(seconds(60)),
        respect_dns_ttl: true,
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        all_addresses_in_single_endpoint: is_single && of.port.resolution == Resolution::DnsRoundRobin,
    };
    CustomClusterType { name: "envoy.cluster.dns".to_owned(), typed_config: Some(any(&config)) }
}

/// The service, as metrics name it.
fn metadata(port: &Port) -> Metadata {
    let Port { hostname, object, .. } = port;
    let service = format!("{hostname};{};{}", object.name, &*object.ns);
    Metadata { filter_metadata: BTreeMap::from([telemetry::metadata(telemetry::SERVICE, service)]) }
}

/// Returns what is spoken on connections.
fn within(tls: Option<&Origination>, protocols: &[&str]) -> TransportSocket {
    match tls {
        None => transport_socket("raw_buffer", &RawBuffer {}),
        Some(of) => transport_socket("tls", &tls::origination(of, protocols)),
    }
}

/// Returns what connects to listeners within Envoy, and to addresses without more ado.
fn internal_socket(within: TransportSocket, passes_metadata: bool) -> TransportSocket {
    let host = metadata_kind::Kind::Host(metadata_kind::Host {});
    let elsewhere =
        MetadataValueSource { kind: Some(MetadataKind { kind: Some(host) }), name: ELSEWHERE.to_owned() };
    let transport = InternalUpstreamTransport {
        passthrough_metadata: passes_metadata.then_some(elsewhere).into_iter().collect(),
        transport_socket: Some(within),
    };
    transport_socket("internal_upstream", &transport)
}

/// Returns the cluster of what takes HBONE, for what is HBONE already.
pub(crate) fn of_tunnels(name: &str) -> Cluster {
    let (lb_policy, lb_config) = balance::algorithm(None);
    Cluster {
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), service_name: String::new() }),
        lb_policy: lb_policy.into(),
        lb_config,
        ..named(name, DiscoveryType::Eds)
    }
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
        transport_socket: Some(internal_socket(within(None, &[]), false)),
        ..named(name, DiscoveryType::Static)
    }
}

/// Returns the cluster that sends to where a connection was to: filter state says where.
pub(crate) fn encap() -> Cluster {
    let as_it_came = pool::as_client(&ConnectionPool::default());
    Cluster {
        name: ENCAP.to_owned(),
        alt_stat_name: format!("{ENCAP};"),
        typed_extension_protocol_options: typed(http_options(as_it_came, CommonOptions::default())),
        ..of_listener(CONNECT_ORIGINATE)
    }
}

fn hbone(common: CommonOptions) -> BTreeMap<String, Any> {
    let options = Http2ProtocolOptions { allow_connect: true, ..Http2ProtocolOptions::default() };
    typed(http_options(pool::http2(options), common))
}

/// Returns a cluster of whatever takes HBONE, at the address that filter state says.
fn by_address(name: &str, port: Option<u16>, trust_domains: &[TrustDomain]) -> Cluster {
    let idle = CommonOptions { idle_timeout: Some(seconds(3_600)), ..CommonOptions::default() };
    Cluster {
        lb_policy: LbPolicy::ClusterProvided.into(),
        lb_config: Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
            upstream_port_override: port.map(u32::from),
            metadata_key: None,
        })),
        cleanup_interval: Some(seconds(60)),
        typed_extension_protocol_options: hbone(idle),
        transport_socket: Some(transport_socket("tls", &tls::client(trust_domains))),
        ..named(name, DiscoveryType::OriginalDst)
    }
}

/// Returns the cluster of whatever takes HBONE.
pub(crate) fn connect_originate(trust_domains: &[TrustDomain]) -> Cluster {
    by_address(CONNECT_ORIGINATE, Some(HBONE), trust_domains)
}

/// Returns the cluster of gateways of other networks.
pub(crate) fn outer_connect_originate(trust_domains: &[TrustDomain]) -> Cluster {
    by_address(OUTER_CONNECT_ORIGINATE, None, trust_domains)
}

/// Returns the cluster of what is behind those gateways: each connection is with one target, whose alone it is.
pub(crate) fn inner_connect_originate(trust_domains: &[TrustDomain]) -> Cluster {
    let once = CommonOptions { max_requests_per_connection: Some(1), ..CommonOptions::default() };
    let secured = transport_socket("tls", &tls::client(trust_domains));
    Cluster {
        name: INNER_CONNECT_ORIGINATE.to_owned(),
        alt_stat_name: format!("{INNER_CONNECT_ORIGINATE};"),
        typed_extension_protocol_options: hbone(once),
        transport_socket: Some(internal_socket(secured, false)),
        ..of_listener(OUTER_CONNECT_ORIGINATE)
    }
}
