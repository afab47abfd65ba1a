//! Metrics: what is counted, and by what.

use mesh::telemetry::MetricRules;
use model::Str;
use model::facts::Metric;
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

const RESPONSE_FLAGS: (&str, &str) = ("response_flags", "%RESPONSE_FLAGS%");

/// The longest text of a label that an author sets, in bytes: whoever calls may say what it is made from.
const LONGEST_LABEL: usize = 128;

/// What a tag becomes: labels, none of which any other tag becomes.
const CALLER_LABELS: [&str; 8] = [
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
];
const WORKLOAD_LABELS: [&str; 8] = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
];
const SERVICE_LABELS: [&str; 3] =
    ["destination_service", "destination_service_name", "destination_service_namespace"];
/// Labels that come of tags with others, or are the same for all.
const OTHER_LABELS: [&str; 4] =
    ["reporter", "connection_security_policy", "request_protocol", "grpc_response_status"];

/// What becomes of the labels of a metric.
type Tags = BTreeMap<Str, Option<Str>>;

/// Returns what counts as a metric: by its usual tags, with what authors change of its labels.
///
/// A label that is removed, or set to something else, is left out where metrics are read; what then looks the same is
/// added up there. A tag of which no label remains has one text, so that nothing is counted by it.
fn stat(name: &str, own: &[(&str, &str)], changes: Option<&Tags>) -> Option<Stat> {
    static NONE: Tags = Tags::new();
    let changes = changes.unwrap_or(&NONE);
    let is_left = |label: &&str| !changes.contains_key(*label);
    let by =
        |labels: &[&str], format: String| if labels.iter().any(is_left) { format } else { "-".to_owned() };
    let is_usual = |label: &str| {
        let usual = CALLER_LABELS.iter().chain(&WORKLOAD_LABELS).chain(&SERVICE_LABELS).chain(&OTHER_LABELS);
        usual.into_iter().any(|of| *of == label)
    };
    let (mut omitted, mut tags): (Vec<&str>, Vec<Tag>) = (Vec::new(), Vec::new());
    let tag = |name: &str, format: &str| Tag { name: name.to_owned(), value_format: format.to_owned() };
    let set = |value: &Str| format!("%CEL({value}):{LONGEST_LABEL}%");
    for (label, format) in own {
        match changes.get(*label) {
            Some(None) if *label == "grpc_response_status" => {
                // The protocol is told by it.
                omitted.push(label);
                tags.push(tag(label, format));
            }
            Some(None) => {
                omitted.push(label);
                tags.push(tag(label, "-"));
            }
            Some(Some(value)) => tags.push(tag(label, &set(value))),
            None => tags.push(tag(label, format)),
        }
    }
    for (label, value) in changes {
        let is_own = own.iter().any(|(of, _)| *of == label.as_str());
        if is_usual(label) && !is_own {
            omitted.push(label);
        }
        if let (Some(value), false) = (value, is_own) {
            tags.push(tag(label, &set(value)));
        }
    }
    let omitted = if omitted.is_empty() { String::new() } else { format!(";!{}", omitted.join(",")) };
    // In the order that `labels.lua` reads them in.
    let first = [
        tag("from", &by(&CALLER_LABELS, format!("%FILTER_STATE({CALLER}:PLAIN)%"))),
        tag(
            "to",
            &by(
                &WORKLOAD_LABELS,
                format!(
                    "%CEL(xds.upstream_host_locality_metadata.filter_metadata['{NAMESPACE}']['{WORKLOAD}'])%"
                ),
            ),
        ),
        tag(
            "service",
            &(by(&SERVICE_LABELS, format!("%CLUSTER_METADATA({NAMESPACE}:{SERVICE})%")) + &omitted),
        ),
    ];
    Some(Stat { name: name.to_owned(), tags: first.into_iter().chain(tags).collect() })
}

/// Callers say who they are: who says something else each time must not take all memory. So no more than `label_sets`
/// combinations are counted.
fn config(label_sets: u32, counters: Vec<Counter>, histograms: Vec<Histogram>) -> Config {
    let scope = Scope {
        max_counters: Some(label_sets.saturating_mul(2)),
        max_histograms: Some(label_sets.saturating_mul(3)),
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

/// Returns what counts requests; `None` where nothing does.
pub(super) fn of_requests(rules: &MetricRules, label_sets: u32) -> Option<AccessLog> {
    let own = [
        ("grpc_response_status", "%GRPC_STATUS_NUMBER%"),
        ("response_code", "%RESPONSE_CODE%"),
        RESPONSE_FLAGS,
    ];
    let stat = |metric: Metric, name: &str| {
        let is_counted = !rules.disabled.contains(&metric);
        is_counted.then(|| stat(name, &own, rules.tags.get(&metric))).flatten()
    };
    let histogram = |metric: Metric, name: &str, unit: Unit, value: &str| {
        let stat = Some(stat(metric, name)?);
        Some(Histogram { stat, unit: unit.into(), value_format: value.to_owned() })
    };
    let total = stat(Metric::RequestCount, "requests_total");
    let total = total.map(|stat| Counter { stat: Some(stat), value_fixed: Some(1), ..Counter::default() });
    let histograms = [
        histogram(Metric::RequestDuration, "request_duration_milliseconds", Unit::Milliseconds, "%DURATION%"),
        histogram(Metric::RequestSize, "request_bytes", Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
        histogram(Metric::ResponseSize, "response_bytes", Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_SENT%"),
    ];
    let (counters, histograms): (Vec<_>, Vec<_>) =
        (total.into_iter().collect(), histograms.into_iter().flatten().collect());
    let is_any = !(counters.is_empty() && histograms.is_empty());
    is_any.then(|| logger("stats", &config(label_sets, counters, histograms), None))
}

/// Returns what counts streams: when they are open, and when they are closed.
pub(super) fn of_streams(rules: &MetricRules, label_sets: u32) -> Vec<AccessLog> {
    let own = [RESPONSE_FLAGS];
    let counter = |metric: Metric, name: &str, value: Option<&str>| {
        let is_counted = !rules.disabled.contains(&metric);
        is_counted.then(|| Counter {
            stat: stat(name, &own, rules.tags.get(&metric)),
            value_fixed: value.is_none().then_some(1),
            value_format: value.unwrap_or_default().to_owned(),
        })
    };
    let at = |of: AccessLogType, counters: Vec<Counter>| {
        let types = LogTypeFilter { types: vec![of.into()] };
        let filter = AccessLogFilter { filter_specifier: Some(FilterSpecifier::LogTypeFilter(types)) };
        let is_any = !counters.is_empty();
        is_any.then(|| logger("stats", &config(label_sets, counters, Vec::new()), Some(filter)))
    };
    let opened = counter(Metric::TcpOpenedConnections, "tcp_connections_opened_total", None);
    let closed = [
        counter(Metric::TcpClosedConnections, "tcp_connections_closed_total", None),
        counter(Metric::TcpSentBytes, "tcp_sent_bytes_total", Some("%BYTES_SENT%")),
        counter(Metric::TcpReceivedBytes, "tcp_received_bytes_total", Some("%BYTES_RECEIVED%")),
    ];
    let opened = at(AccessLogType::TcpUpstreamConnected, opened.into_iter().collect());
    let closed = at(AccessLogType::TcpConnectionEnd, closed.into_iter().flatten().collect());
    opened.into_iter().chain(closed).collect()
}
