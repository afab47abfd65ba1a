//! Access logs.

use model::Str;
use model::facts::{AccessLog as Setting, LogFormat};
use prost_types::{Struct, Value, value};
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, ComparisonFilter, StatusCodeFilter};
use proto::envoy::config::core::v3::{RuntimeUInt32, SubstitutionFormatString, substitution_format_string};
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};

use super::metrics::{self, logger};
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

/// Returns what is told of requests.
pub(crate) fn of_requests(setting: Option<&Setting>) -> Vec<AccessLog> {
    std::iter::once(metrics::of_requests()).chain(setting.map(|of| written(of, None))).collect()
}

/// Returns what is told of streams.
pub(crate) fn of_streams(setting: Option<&Setting>) -> Vec<AccessLog> {
    metrics::of_streams().into_iter().chain(setting.map(|of| written(of, None))).collect()
}

/// Returns what is told of CONNECTs: those that are refused.
pub(crate) fn of_connects(setting: Option<&Setting>) -> Vec<AccessLog> {
    let least = RuntimeUInt32 { default_value: 400, runtime_key: "connect_terminate.logged".to_owned() };
    let refused =
        StatusCodeFilter { comparison: Some(ComparisonFilter { op: Op::Ge.into(), value: Some(least) }) };
    let filter = AccessLogFilter { filter_specifier: Some(FilterSpecifier::StatusCodeFilter(refused)) };
    setting.map(|of| written(of, Some(filter))).into_iter().collect()
}

fn written(of: &Setting, filter: Option<AccessLogFilter>) -> AccessLog {
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
    let config = FileAccessLog {
        path: of.file.to_string(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    };
    logger("file", &config, filter)
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
