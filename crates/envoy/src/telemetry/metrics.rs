//! Metrics: what is counted, and by what.

use prost::{Message, Name};
use prost_types::{Struct, Value, value};
use proto::envoy::any;
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, LogTypeFilter, access_log};
use proto::envoy::data::accesslog::v3::AccessLogType;
use proto::envoy::extensions::access_loggers::stats::v3::Config;
use proto::envoy::extensions::access_loggers::stats::v3::config::{
    Counter, Histogram, Stat, Tag, histogram::Unit,
};
use proto::envoy::r#type::v3::Scope;
use std::collections::BTreeMap;

use super::caller::CALLER;

/// The metadata of clusters and endpoints that metrics are read from.
const NAMESPACE: &str = "istio";
/// Of a cluster: its service, `HOSTNAME;NAME;NAMESPACE`.
pub(crate) const SERVICE: &str = "service";
/// Of endpoints of a locality: their workload, `NAME;NAMESPACE;SERVICE;REVISION;CLUSTER`, as istiod writes it.
pub(crate) const WORKLOAD: &str = "workload";

/// Returns metadata of a cluster or of endpoints: one text.
pub(crate) fn metadata(key: &str, text: String) -> (String, Struct) {
    let text = Value { kind: Some(value::Kind::StringValue(text)) };
    (NAMESPACE.to_owned(), Struct { fields: BTreeMap::from([(key.to_owned(), text)]) })
}

/// What metrics are called before anything else. All loggers share what they count.
const PREFIX: &str = "istio";
/// Callers say who they are: who says something else each time must not take all memory.
const LABEL_SETS: u32 = 20_000;

const RESPONSE_FLAGS: (&str, &str) = ("response_flags", "%RESPONSE_FLAGS%");

fn stat(name: &str, own: &[(&str, &str)]) -> Option<Stat> {
    let (caller, workload, service) = (
        format!("%FILTER_STATE({CALLER}:PLAIN)%"),
        format!("%CEL(xds.upstream_host_locality_metadata.filter_metadata['{NAMESPACE}']['{WORKLOAD}'])%"),
        format!("%CLUSTER_METADATA({NAMESPACE}:{SERVICE})%"),
    );
    // In the order that `labels.lua` reads them in.
    let first = [("from", caller.as_str()), ("to", &workload), ("service", &service)];
    let tag =
        |(name, format): &(&str, &str)| Tag { name: (*name).to_owned(), value_format: (*format).to_owned() };
    Some(Stat { name: name.to_owned(), tags: first.iter().chain(own).map(tag).collect() })
}

fn config(counters: Vec<Counter>, histograms: Vec<Histogram>) -> Config {
    let scope = Scope {
        max_counters: Some(2 * LABEL_SETS),
        max_histograms: Some(3 * LABEL_SETS),
        prefix: PREFIX.to_owned(),
        sharing_name: PREFIX.to_owned(),
    };
    Config { stats_scope: Some(scope), histograms, counters }
}

/// Returns what logs by a configuration, of what a filter lets through.
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

/// Returns what counts requests.
pub(super) fn of_requests() -> AccessLog {
    let own = [
        ("grpc_response_status", "%GRPC_STATUS_NUMBER%"),
        ("response_code", "%RESPONSE_CODE%"),
        RESPONSE_FLAGS,
    ];
    let histogram = |name: &str, unit: Unit, value: &str| Histogram {
        stat: stat(name, &own),
        unit: unit.into(),
        value_format: value.to_owned(),
    };
    let total = Counter { stat: stat("requests_total", &own), value_fixed: Some(1), ..Counter::default() };
    let histograms = vec![
        histogram("request_duration_milliseconds", Unit::Milliseconds, "%DURATION%"),
        histogram("request_bytes", Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
        histogram("response_bytes", Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_SENT%"),
    ];
    logger("stats", &config(vec![total], histograms), None)
}

/// Returns what counts streams: when they are open, and when they are closed.
pub(super) fn of_streams() -> [AccessLog; 2] {
    let own = [RESPONSE_FLAGS];
    let one = |name: &str| Counter { stat: stat(name, &own), value_fixed: Some(1), ..Counter::default() };
    let bytes = |name: &str, value: &str| Counter {
        stat: stat(name, &own),
        value_format: value.to_owned(),
        ..Counter::default()
    };
    let at = |of: AccessLogType, counters| {
        let types = LogTypeFilter { types: vec![of.into()] };
        let filter = AccessLogFilter { filter_specifier: Some(FilterSpecifier::LogTypeFilter(types)) };
        logger("stats", &config(counters, Vec::new()), Some(filter))
    };
    [
        at(AccessLogType::TcpUpstreamConnected, vec![one("tcp_connections_opened_total")]),
        at(
            AccessLogType::TcpConnectionEnd,
            vec![
                one("tcp_connections_closed_total"),
                bytes("tcp_sent_bytes_total", "%BYTES_SENT%"),
                bytes("tcp_received_bytes_total", "%BYTES_RECEIVED%"),
            ],
        ),
    ]
}
