//! The listeners of gateways at the edge: one for each port, with a chain for each of the listeners that authors write,
//! and of the names of TLS by which their streams are told apart.
//!
//! A request has the scope of the hostname that it asks for. One that has no scope of its own is looked up again, by
//! filters that Envoy leaves out of all others:
//!
//! ```text
//!              scope 80, a.example.com? ── yes ──▶ its rules
//!                        │ no
//!   hostname.lua         ▼
//!   scope 80, *.* ──▶ the listener that takes the hostname: which wider hostnames have rules, or 421 if it is another
//!                        │
//!   wildcard.lua         ▼
//!   scope 80, *.example.com ──▶ its rules
//! ```
//!
//! Where all requests of a chain have one hostname, the scope is always that of it. What asks for another is looked up
//! without a script: it can only be misdirected.

use model::facts::{ForwardedCertificates, GatewayTopology, PathNormalization};
use proto::envoy::config::core::v3::{
    Address, DataSource, Http2ProtocolOptions, Http3ProtocolOptions, TrafficDirection, TransportSocket,
    data_source,
};
use proto::envoy::config::listener::v3::{
    AdditionalAddress, FilterChain, FilterChainMatch, Listener, QuicProtocolOptions, UdpListenerConfig,
};
use proto::envoy::extensions::filters::common::set_filter_state::v3::{FilterStateValue, filter_state_value};
use proto::envoy::extensions::filters::http::header_mutation::v3::{HeaderMutation, Mutations};
use proto::envoy::extensions::filters::http::lua::v3::Lua;
use proto::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, SetCurrentClientCertDetails,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};
use proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetStreamState;
use proto::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;

use super::chain::in_chain;
use super::http::{HOSTNAME_HEADER, SCOPE_HEADER, changes, header, http_filter, manager, scoped_by};
use super::port;
use super::requests::{filters, normalizing};
use super::state::{HASHABLE, STRING, state};
use crate::key::{ANY_HOSTNAME, EdgePort, HOSTNAME_FILTERS, LISTENER_HEADER};
use crate::message::{listener_filter, network_filter, seconds, socket_address, transport_socket, udp};
use crate::policy::{PEER, Policies, SOURCE};
use crate::profile::Profile;
use crate::telemetry::{self, Spans};
use crate::upstream::Streams;
use mesh::destination::Families;

/// How long a client has for the headers of a request, in seconds, and how many requests at a time on a connection, as
/// Envoy's guide to proxies at the edge has it for the latter.
const HEADERS_TIMEOUT: i64 = 30;
const MAX_STREAMS: u32 = 100;

/// What all chains of a port have in common.
pub(crate) struct Edge<'a> {
    pub port: &'a EdgePort,
    pub normalization: PathNormalization,
    pub topology: GatewayTopology,
    /// What is logged, counted and traced.
    pub profile: &'a Profile,
    /// Who the gateway is, as metrics name it.
    pub caller: &'a str,
}

/// What requests come over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    /// TCP.
    Tcp,
    /// TCP, where the port takes QUIC, too: clients are told.
    TcpBesideQuic,
    /// QUIC: HTTP/3.
    Quic,
}

/// Which hostnames the requests of a chain have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hosts<'a> {
    /// Whatever they ask for.
    Any,
    /// This one: what asks for another came by the wrong listener.
    One(&'a str),
}

impl Edge<'_> {
    /// Returns the chain of requests. The listener is named where others of the port have other certificates.
    pub fn requests(&self, name: &str, hosts: Hosts<'_>, listener: Option<&str>, over: Over) -> FilterChain {
        let own = SetFilterState {
            on_request_headers: vec![
                unshared(telemetry::CALLER, STRING, self.caller),
                unshared(PEER, HASHABLE, "%DOWNSTREAM_PEER_URI_SAN%"),
                unshared(SOURCE, "", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
            ],
            ..SetFilterState::default()
        };
        let [first, second] = HOSTNAME_FILTERS;
        let lookup = match hosts {
            Hosts::Any => [lua(first, HOSTNAME), lua(second, WILDCARD)],
            Hosts::One(_) => {
                let again = SetFilterState {
                    on_request_headers: vec![unshared("pilothouse.misdirected", STRING, "true")],
                    clear_route_cache: true,
                };
                [changes(first, vec![header(HOSTNAME_HEADER, ANY_HOSTNAME)]), http_filter(second, &again)]
            }
        };
        let offer = (over == Over::TcpBesideQuic).then(|| offer(self.port.port));
        let all = offer
            .into_iter()
            .chain(lookup)
            .chain([http_filter("caller", &own)])
            .chain(filters(&[SCOPE_HEADER, HOSTNAME_HEADER, LISTENER_HEADER], &self.profile.extensions))
            .collect();
        let prefix = format!("outbound_{};", self.port.listener());
        let manager = HttpConnectionManager {
            proxy_100_continue: true,
            // Who opens requests and does not go on takes no more than this.
            request_headers_timeout: Some(seconds(HEADERS_TIMEOUT)),
            http2_protocol_options: Some(Http2ProtocolOptions {
                max_concurrent_streams: Some(MAX_STREAMS),
                ..Http2ProtocolOptions::default()
            }),
            access_log: telemetry::of_requests(&self.profile.reporting),
            // It means the same hostname, and rules are found by it without one.
            strip_trailing_host_dot: true,
            // Clients are not believed: who calls is whoever connects, or whom as many proxies saw as are trusted.
            use_remote_address: Some(true),
            xff_num_trusted_hops: self.topology.trusted_proxies,
            forward_client_cert_details: forwarded(self.topology.client_certificates).into(),
            set_current_client_cert_details: Some(SetCurrentClientCertDetails {
                subject: Some(true),
                cert: true,
                dns: true,
                uri: true,
            }),
            ..manager(&prefix, all, "websocket")
        };
        let asked = match hosts {
            Hosts::Any => "%REQ(:AUTHORITY)%",
            Hosts::One(hostname) => hostname,
        };
        let mut mutations =
            vec![header(SCOPE_HEADER, &self.port.port.to_string()), header(HOSTNAME_HEADER, asked)];
        mutations.extend(listener.map(|listener| header(LISTENER_HEADER, listener)));
        let by = [(SCOPE_HEADER, ""), (HOSTNAME_HEADER, ":")];
        let manager = match over {
            Over::Tcp | Over::TcpBesideQuic => manager,
            Over::Quic => HttpConnectionManager {
                codec_type: CodecType::Http3.into(),
                http3_protocol_options: Some(Http3ProtocolOptions {}),
                ..manager
            },
        };
        let manager = normalizing(self.normalization, manager);
        let manager = telemetry::traced(manager, self.profile.reporting.tracer.as_ref(), Spans::OfBoth);
        let manager = scoped_by(manager, "edge", &by, mutations);
        in_chain(name, "http_connection_manager", &manager)
    }

    /// Returns the chain of streams.
    pub fn streams(&self, name: &str, to: &Streams, policies: Option<&Policies>) -> FilterChain {
        let own = SetStreamState {
            on_new_connection: vec![
                unshared(telemetry::CALLER, STRING, self.caller),
                unshared(SOURCE, "", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
            ],
        };
        let mut chain = port::bytes(&self.port.listener(), to, policies, self.profile);
        chain.filters.insert(0, network_filter("set_filter_state", &own));
        FilterChain { name: name.to_owned(), ..chain }
    }

    /// Returns the listener of QUIC of a port; `None` without a chain.
    pub fn quic(&self, chains: Vec<FilterChain>, families: Families) -> Option<Listener> {
        let mut listener = self.listener(chains, false, families)?;
        let of_udp = |address: Option<Address>| address.map(udp);
        listener.address = of_udp(listener.address.take());
        for further in &mut listener.additional_addresses {
            further.address = of_udp(further.address.take());
        }
        Some(Listener {
            name: self.port.quic(),
            listener_filters: Vec::new(),
            udp_listener_config: Some(UdpListenerConfig { quic_options: Some(QuicProtocolOptions {}) }),
            ..listener
        })
    }

    /// Returns the listener of a port; `None` without a chain. Chains have different names of TLS, or else there is one.
    pub fn listener(&self, chains: Vec<FilterChain>, is_tls: bool, families: Families) -> Option<Listener> {
        if chains.is_empty() {
            return None;
        }
        let all = |any: &str| socket_address(any, self.port.port);
        let (address, also) = match families {
            Families { v4: false, v6: true } => (all("::"), None),
            Families { v6, .. } => {
                (all("0.0.0.0"), v6.then(|| AdditionalAddress { address: Some(all("::")) }))
            }
        };
        let proxied = self.topology.has_proxy_protocol;
        let proxied = proxied.then(|| listener_filter("proxy_protocol", &ProxyProtocol {}));
        let inspector = is_tls.then(|| listener_filter("tls_inspector", &TlsInspector {}));
        Some(Listener {
            name: self.port.listener(),
            address: Some(address),
            additional_addresses: also.into_iter().collect(),
            listener_filters: proxied.into_iter().chain(inspector).collect(),
            filter_chains: chains,
            traffic_direction: TrafficDirection::Outbound.into(),
            ..Listener::default()
        })
    }
}

/// Returns what tells clients that the port takes HTTP/3, too, for a day (RFC 7838).
fn offer(port: u16) -> HttpFilter {
    let change = header("alt-svc", &format!("h3=\":{port}\"; ma=86400"));
    let mutations = Mutations { response_mutations: vec![change], ..Mutations::default() };
    http_filter("http3", &HeaderMutation { mutations: Some(mutations) })
}

/// Returns a chain of what asks for some name in QUIC, or for any.
pub(crate) fn over_quic(chain: FilterChain, server_name: &str, tls: &DownstreamTlsContext) -> FilterChain {
    let mut tls = tls.clone();
    if let Some(common) = &mut tls.common_tls_context {
        // RFC 9114.
        common.alpn_protocols = vec!["h3".to_owned()];
    }
    let transport = QuicDownstreamTransport { downstream_tls_context: Some(tls) };
    FilterChain {
        transport_socket: Some(transport_socket("quic", &transport)),
        ..over_tls(chain, server_name, None)
    }
}

/// Returns a chain of what asks for some name in TLS, or for any; TLS ends in it, or passes.
pub(crate) fn over_tls(
    chain: FilterChain,
    server_name: &str,
    terminated: Option<&DownstreamTlsContext>,
) -> FilterChain {
    let asked = (server_name != "*").then(|| FilterChainMatch {
        server_names: vec![server_name.to_owned()],
        ..FilterChainMatch::default()
    });
    let socket: Option<TransportSocket> = terminated.map(|tls| transport_socket("tls", tls));
    FilterChain { filter_chain_match: asked, transport_socket: socket, ..chain }
}

fn forwarded(of: ForwardedCertificates) -> ForwardClientCertDetails {
    match of {
        ForwardedCertificates::Removed => ForwardClientCertDetails::Sanitize,
        ForwardedCertificates::Kept => ForwardClientCertDetails::ForwardOnly,
        ForwardedCertificates::Appended => ForwardClientCertDetails::AppendForward,
        ForwardedCertificates::Set => ForwardClientCertDetails::SanitizeSet,
        ForwardedCertificates::AlwaysKept => ForwardClientCertDetails::AlwaysForwardOnly,
    }
}

/// What finds the hostname of a request that has no scope as it is written.
const HOSTNAME: &str = include_str!("hostname.lua");
const WILDCARD: &str = include_str!("wildcard.lua");

fn lua(name: &str, script: &str) -> HttpFilter {
    let source = DataSource { specifier: Some(data_source::Specifier::InlineString(script.to_owned())) };
    http_filter(name, &Lua { default_source_code: Some(source) })
}

/// Returns filter state of a request that no other connection has.
fn unshared(key: &str, factory: &str, value: &str) -> FilterStateValue {
    let shared_with_upstream = filter_state_value::SharedWithUpstream::None.into();
    FilterStateValue { shared_with_upstream, ..state(key, factory, value) }
}
