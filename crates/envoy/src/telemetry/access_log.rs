//! Access logs.

use prost::{Message, Name};
use proto::envoy::any;
use proto::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, access_log};

use super::metrics;

pub(super) fn logger<M: Message + Name>(
    name: &str,
    config: &M,
    filter: Option<AccessLogFilter>,
) -> AccessLog {
    AccessLog {
        name: format!("envoy.access_loggers.{name}"),
        filter,
        config_type: Some(access_log::ConfigType::TypedConfig(any(config))),
    }
}

/// Returns what is told of requests.
pub(crate) fn of_requests() -> Vec<AccessLog> {
    vec![metrics::of_requests()]
}

/// Returns what is told of streams.
pub(crate) fn of_streams() -> Vec<AccessLog> {
    metrics::of_streams().to_vec()
}
