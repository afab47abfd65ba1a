//! Connection pools: bounds, time limits and protocols.

use mesh::PortProtocol;
use model::facts::{ConnectionPool, RetryBudget, TcpKeepalive as Keepalive};
use proto::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds};
use proto::envoy::config::cluster::v3::{CircuitBreakers, UpstreamConnectionOptions};
use proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, KeepaliveSettings,
    TcpKeepalive,
};
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config,
};
use proto::envoy::r#type::v3::Percent;
use std::time::Duration;

use crate::message::duration;
use crate::port::Traffic;
use crate::upstream::Unsaid;

/// Nothing is refused because there is much of it, unless an author says so.
const UNBOUNDED: u32 = u32::MAX;

/// How long one waits for a ping to be answered, where an author says nothing.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn breakers(pool: &ConnectionPool, retries: Option<&RetryBudget>) -> CircuitBreakers {
    let bound = |of: Option<u32>| Some(of.unwrap_or(UNBOUNDED));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: bound(pool.max_connections),
            max_pending_requests: bound(pool.max_pending_requests),
            max_requests: bound(pool.max_requests),
            max_retries: bound(pool.max_retries),
            retry_budget: retries.map(|of| thresholds::RetryBudget {
                budget_percent: of.percent.map(percent),
                min_retry_concurrency: of.min_concurrency,
                budget_interval: of.interval.map(duration),
            }),
        }],
    }
}

/// Returns a percentage that is given in thousandths.
pub(super) fn percent(thousandths: u32) -> Percent {
    Percent { value: f64::from(thousandths) / 1_000.0 }
}

/// Returns what holds of connections, whatever is spoken on them.
pub(super) fn connection_options(of: &Keepalive) -> UpstreamConnectionOptions {
    let seconds = |of: Option<Duration>| of.map(|of| u32::try_from(of.as_secs()).unwrap_or(u32::MAX).max(1));
    UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive {
            keepalive_probes: of.probes,
            keepalive_time: seconds(of.time),
            keepalive_interval: seconds(of.interval),
        }),
    }
}

/// Returns what holds of connections for requests.
pub(super) fn common(pool: &ConnectionPool) -> CommonOptions {
    CommonOptions {
        idle_timeout: pool.http_idle_timeout.map(duration),
        max_connection_duration: pool.max_connection_duration.map(duration),
        max_requests_per_connection: pool.max_requests_per_connection,
    }
}

/// Returns which protocol requests are sent with; `None` where there are none.
pub(super) fn protocol(
    of: PortProtocol,
    pool: &ConnectionPool,
    unsaid: Unsaid,
) -> Option<UpstreamProtocolOptions> {
    let explicit = match (of, Traffic::of(of)) {
        (_, Traffic::Tcp | Traffic::Either) if unsaid == Unsaid::Negotiated => return Some(negotiated(pool)),
        (_, Traffic::Tcp) if unsaid != Unsaid::Http2 => return None,
        (_, Traffic::Tcp) => true,
        _ if pool.uses_client_protocol => return Some(as_client(pool)),
        (_, Traffic::Either) if unsaid == Unsaid::AsClient => return Some(as_client(pool)),
        (PortProtocol::Http2 | PortProtocol::Grpc, Traffic::Http) => true,
        (_, Traffic::Http | Traffic::Either) if unsaid == Unsaid::Http2 => true,
        (_, Traffic::Http | Traffic::Either) => pool.upgrades == Some(true),
    };
    if explicit {
        return Some(http2(http2_options(pool)));
    }
    let config = explicit_http_config::ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions {});
    Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) }))
}

/// Returns whatever a client speaks.
pub(super) fn as_client(pool: &ConnectionPool) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http2_protocol_options: Some(http2_options(pool)),
    })
}

/// Returns whatever the server takes.
fn negotiated(pool: &ConnectionPool) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::AutoConfig(AutoHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions {}),
        http2_protocol_options: Some(http2_options(pool)),
    })
}

/// Returns HTTP/2, and nothing else.
pub(super) fn http2(options: Http2ProtocolOptions) -> UpstreamProtocolOptions {
    let config = explicit_http_config::ProtocolConfig::Http2ProtocolOptions(options);
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
}

fn http2_options(pool: &ConnectionPool) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: pool.max_concurrent_streams,
        connection_keepalive: pool.http2_keepalive.map(|(interval, timeout)| KeepaliveSettings {
            interval: interval.map(duration),
            timeout: Some(duration(timeout.unwrap_or(KEEPALIVE_TIMEOUT))),
        }),
        ..Http2ProtocolOptions::default()
    }
}
