//! Messages that many resources have within them.

use prost::{Message, Name};
use proto::envoy::any;
use proto::envoy::config::cluster::v3::cluster::DnsLookupFamily;
use proto::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, EnvoyInternalAddress, Pipe,
    SocketAddress, SubstitutionFormatString, TransportSocket, address, config_source, data_source,
    envoy_internal_address, socket_address, substitution_format_string, transport_socket,
};
use proto::envoy::config::listener::v3::{Filter, ListenerFilter, filter, listener_filter};
use proto::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use proto::envoy::r#type::v3::{FractionalPercent, fractional_percent};
use std::time::Duration;

use crate::matcher::regex;

pub(crate) fn socket_address(ip: &str, port: u16) -> Address {
    let port = socket_address::PortSpecifier::PortValue(port.into());
    let socket =
        SocketAddress { address: ip.to_owned(), port_specifier: Some(port), ..SocketAddress::default() };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// Returns the same port of UDP.
pub(crate) fn udp(of: Address) -> Address {
    let address = of.address.map(|of| match of {
        address::Address::SocketAddress(of) => {
            let protocol = socket_address::Protocol::Udp.into();
            address::Address::SocketAddress(SocketAddress { protocol, ..of })
        }
        other => other,
    });
    Address { address }
}

/// Returns the address of a Unix socket; of an abstract one, if it begins with `@`.
pub(crate) fn pipe(path: &str) -> Address {
    Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned() })) }
}

/// Returns the address of a listener within Envoy. Endpoints at one listener are told apart by their id.
pub(crate) fn internal_address(listener: &str, endpoint_id: &str) -> Address {
    let name = envoy_internal_address::AddressNameSpecifier::ServerListenerName(listener.to_owned());
    let internal =
        EnvoyInternalAddress { endpoint_id: endpoint_id.to_owned(), address_name_specifier: Some(name) };
    Address { address: Some(address::Address::EnvoyInternalAddress(internal)) }
}

/// Returns the source of what comes on the stream that everything comes on.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: None,
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
    }
}

/// Returns which headers whoever is asked about requests may change: any but those that have a meaning within proxies.
pub(crate) fn changes_of_others() -> HeaderMutationRules {
    HeaderMutationRules {
        allow_all_routing: Some(true),
        allow_envoy: Some(true),
        disallow_expression: Some(regex("x-pilothouse-.*")),
    }
}

pub(crate) fn transport_socket<M: Message + Name>(name: &str, config: &M) -> TransportSocket {
    let config = transport_socket::ConfigType::TypedConfig(any(config));
    TransportSocket { name: format!("envoy.transport_sockets.{name}"), config_type: Some(config) }
}

pub(crate) fn network_filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter {
        name: format!("envoy.filters.network.{name}"),
        config_type: Some(filter::ConfigType::TypedConfig(any(config))),
    }
}

pub(crate) fn listener_filter<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: format!("envoy.filters.listener.{name}"),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(config))),
    }
}

/// Returns what gives a connection within Envoy the addresses that it had before.
pub(crate) fn original_dst() -> ListenerFilter {
    listener_filter("original_dst", &OriginalDst {})
}

/// Returns where the addresses of names are kept that requests ask for.
pub(crate) fn names() -> DnsCacheConfig {
    DnsCacheConfig { name: "names".to_owned(), dns_lookup_family: DnsLookupFamily::V4Preferred.into() }
}

pub(crate) fn text_format(text: &str) -> SubstitutionFormatString {
    let source = DataSource { specifier: Some(data_source::Specifier::InlineString(text.to_owned())) };
    SubstitutionFormatString {
        format: Some(substitution_format_string::Format::TextFormatSource(source)),
        ..SubstitutionFormatString::default()
    }
}

/// Returns a share of requests.
pub(crate) fn millionths(of: u32) -> FractionalPercent {
    FractionalPercent { numerator: of, denominator: fractional_percent::DenominatorType::Million.into() }
}

pub(crate) fn duration(of: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        nanos: of.subsec_nanos().cast_signed(),
    }
}

pub(crate) const fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
