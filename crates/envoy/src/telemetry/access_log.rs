//! Access logs.

use model::Str;
use model::facts::{AccessLog as Setting, LogFormat, Sink};
use prost_types::{Struct, Value, value};
use proto::envoy::any;
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ComparisonFilter, ExtensionFilter, StatusCodeFilter,
    extension_filter,
};
use proto::envoy::config::core::v3::{
    ApiVersion, CelExpressionConfig, RuntimeUInt32, SubstitutionFormatString, substitution_format_string,
};
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};

use super::metrics::{self, logger};
use super::reporting::{Log, Reporting};
use super::tracing::grpc;
use crate::message::text_format;

/// What is written by default, as Istio does: keys of JSON with their commands.
const FIELDS: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// The same as a line of text: brackets, quotes and keys of [`FIELDS`].
const LINE: &str = "[start_time] \"method path protocol\" response_code response_flags response_code_details \
    connection_termination_details \"upstream_transport_failure_reason\" bytes_received bytes_sent duration \
    upstream_service_time \"x_forwarded_for\" \"user_agent\" \"request_id\" \"authority\" \"upstream_host\" \
    upstream_cluster upstream_local_address downstream_local_address downstream_remote_address \
    requested_server_name route_name\n";

/// What something is logged of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Requests,
    Streams,
}

/// Returns what is told of requests.
pub(crate) fn of_requests(of: &Reporting) -> Vec<AccessLog> {
    let metrics = of.metrics.as_ref().and_then(|rules| metrics::of_requests(rules, of.label_sets));
    metrics.into_iter().chain(of.logs.iter().filter_map(|log| written(log, Of::Requests, None))).collect()
}

/// Returns what is told of streams.
pub(crate) fn of_streams(of: &Reporting) -> Vec<AccessLog> {
    let metrics = of.metrics.iter().flat_map(|rules| metrics::of_streams(rules, of.label_sets));
    metrics.chain(of.logs.iter().filter_map(|log| written(log, Of::Streams, None))).collect()
}

/// Returns what is told of CONNECTs: those that are refused.
pub(crate) fn of_connects(of: &Reporting) -> Vec<AccessLog> {
    let least = RuntimeUInt32 { default_value: 400, runtime_key: "connect_terminate.logged".to_owned() };
    let refused =
        StatusCodeFilter { comparison: Some(ComparisonFilter { op: Op::Ge.into(), value: Some(least) }) };
    let refused = FilterSpecifier::StatusCodeFilter(refused);
    of.logs.iter().filter_map(|log| written(log, Of::Requests, Some(refused.clone()))).collect()
}

/// Returns the filter that lets through what both do.
fn both(first: Option<FilterSpecifier>, second: Option<FilterSpecifier>) -> Option<AccessLogFilter> {
    let filter = |of| AccessLogFilter { filter_specifier: Some(of) };
    match (first, second) {
        (Some(first), Some(second)) => Some(filter(FilterSpecifier::AndFilter(AndFilter {
            filters: vec![filter(first), filter(second)],
        }))),
        (first, second) => first.or(second).map(filter),
    }
}

fn expression(of: &str) -> FilterSpecifier {
    let config = CelExpressionConfig {
        enable_string_conversion: true,
        enable_string_concat: true,
        enable_string_functions: true,
    };
    let config = ExpressionFilter { expression: of.to_owned(), cel_config: Some(config) };
    FilterSpecifier::ExtensionFilter(ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(extension_filter::ConfigType::TypedConfig(any(&config))),
    })
}

/// Returns a log, of what is in `only`; `None` where it is of something else.
fn written(log: &Log, of: Of, only: Option<FilterSpecifier>) -> Option<AccessLog> {
    let filter = both(only, log.filter.as_deref().map(expression));
    let common = |name: &str, filter_state: &[Str]| CommonGrpcAccessLogConfig {
        log_name: name.to_owned(),
        grpc_service: log.cluster.as_ref().map(|cluster| grpc(&log.at, cluster, None, &[])),
        filter_state_objects_to_log: texts(filter_state),
        transport_api_version: ApiVersion::V3.into(),
    };
    match &log.at.sink {
        Sink::File(file, omits_empty) => Some(logger("file", &to_file(file, *omits_empty), filter)),
        Sink::HttpLog(server) if of == Of::Requests => {
            let config = HttpGrpcAccessLogConfig {
                common_config: Some(common(
                    named(&server.name, "http_envoy_accesslog"),
                    &server.filter_state,
                )),
                additional_request_headers_to_log: texts(&server.request_headers),
                additional_response_headers_to_log: texts(&server.response_headers),
                additional_response_trailers_to_log: texts(&server.response_trailers),
            };
            Some(logger("http_grpc", &config, filter))
        }
        Sink::TcpLog(server) if of == Of::Streams => {
            let common = common(named(&server.name, "tcp_envoy_accesslog"), &server.filter_state);
            Some(logger("tcp_grpc", &TcpGrpcAccessLogConfig { common_config: Some(common) }, filter))
        }
        Sink::OtelLog(collector) => {
            let body = match &collector.body {
                LogFormat::Text(Some(own)) => own.to_string(),
                LogFormat::Text(None) | LogFormat::Json(_) => line().trim_end().to_owned(),
            };
            let text = |text: String| AnyValue { value: Some(any_value::Value::StringValue(text)) };
            let label = |(key, value): &(Str, Str)| KeyValue {
                key: key.to_string(),
                value: Some(text(value.to_string())),
            };
            let labels = KeyValueList { values: collector.labels.iter().map(label).collect() };
            let config = OpenTelemetryAccessLogConfig {
                common_config: Some(common(named(&collector.name, "otel_envoy_accesslog"), &[])),
                body: Some(text(body)),
                attributes: (!labels.values.is_empty()).then_some(labels),
                disable_builtin_labels: false,
            };
            Some(logger("open_telemetry", &config, filter))
        }
        Sink::HttpLog(_) | Sink::TcpLog(_) | Sink::Prometheus | Sink::OpenTelemetry(_) | Sink::Zipkin(_) => {
            None
        }
    }
}

fn named<'n>(name: &'n Str, default: &'static str) -> &'n str {
    if name.is_empty() { default } else { name }
}

fn texts(all: &[Str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn to_file(of: &Setting, omits_empty: bool) -> FileAccessLog {
    let text = |(key, format): (&str, &str)| {
        (key.to_owned(), Value { kind: Some(value::Kind::StringValue(format.to_owned())) })
    };
    let json = |fields| SubstitutionFormatString {
        format: Some(substitution_format_string::Format::JsonFormat(Struct { fields })),
        ..SubstitutionFormatString::default()
    };
    let format = match &of.format {
        LogFormat::Text(None) => text_format(&line()),
        LogFormat::Text(Some(own)) => text_format(own),
        LogFormat::Json(None) => json(FIELDS.map(text).into()),
        LogFormat::Json(Some(own)) => {
            json(own.iter().map(|(key, format): &(Str, Str)| text((key, format))).collect())
        }
    };
    let format = SubstitutionFormatString { omit_empty_values: omits_empty, ..format };
    FileAccessLog {
        path: of.file.to_string(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    }
}

/// Returns [`LINE`] with the commands in place of the keys.
fn line() -> String {
    let words = LINE.split_inclusive(|c: char| !c.is_ascii_lowercase() && c != '_');
    let command = |word: &str| {
        let end = word.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(word.len());
        let (key, rest) = word.split_at(end);
        let format = FIELDS.iter().find(|(of, _)| *of == key).map_or(key, |(_, format)| format);
        format!("{format}{rest}")
    };
    words.map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_field() {
        let line = line();
        assert!(
            line.starts_with(
                "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
            )
        );
        assert!(line.ends_with(" %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"));
        assert!(FIELDS.iter().all(|(_, format)| line.contains(format)), "{line}");
    }
}
