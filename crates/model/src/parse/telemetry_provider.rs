//! `extensionProviders` of the mesh settings: those that get access logs, metrics or spans.

use super::authorizer::Fault;
use super::enumeration::Enumeration;
use super::number::ProtoNumber;
use super::text::{Text, or_empty, shared_list};
use super::{duration, log_format};
use crate::facts::{
    AccessLog, HttpExport, LogFormat, LogServer, OtelLog, OtelTracer, Sink, SinkService, ZipkinTracer,
};
use crate::{Str, shared};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::time::Duration;

type List<'a> = Option<Vec<Text<'a>>>;

/// Those that a provider may be; one of them.
pub(super) struct Sinks<'a> {
    pub(super) file: Option<FileManifest<'a>>,
    pub(super) http: Option<ServerManifest<'a>>,
    pub(super) tcp: Option<ServerManifest<'a>>,
    pub(super) otel_log: Option<OtelLogManifest<'a>>,
    pub(super) prometheus: Option<IgnoredAny>,
    pub(super) opentelemetry: Option<OtelTracerManifest<'a>>,
    pub(super) zipkin: Option<ZipkinManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct FileManifest<'a> {
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(borrow, alias = "log_format")]
    log_format: Option<FormatManifest<'a>>,
    #[serde(alias = "omit_empty_values")]
    omit_empty_values: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct FormatManifest<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    labels: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ServerManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<u32>,
    #[serde(borrow, alias = "log_name")]
    log_name: Option<Text<'a>>,
    #[serde(borrow, alias = "filter_state_objects_to_log")]
    filter_state_objects_to_log: List<'a>,
    #[serde(borrow, alias = "additional_request_headers_to_log")]
    additional_request_headers_to_log: List<'a>,
    #[serde(borrow, alias = "additional_response_headers_to_log")]
    additional_response_headers_to_log: List<'a>,
    #[serde(borrow, alias = "additional_response_trailers_to_log")]
    additional_response_trailers_to_log: List<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct OtelLogManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<u32>,
    #[serde(borrow, alias = "log_name")]
    log_name: Option<Text<'a>>,
    #[serde(borrow, alias = "log_format")]
    log_format: Option<FormatManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct OtelTracerManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<u32>,
    #[serde(alias = "max_tag_length")]
    max_tag_length: Option<ProtoNumber>,
    #[serde(borrow)]
    http: Option<HttpManifest<'a>>,
    #[serde(borrow)]
    grpc: Option<GrpcManifest<'a>>,
    #[serde(alias = "resource_detectors")]
    resource_detectors: Option<Detectors>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Detectors {
    environment: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct HttpManifest<'a> {
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<HeaderManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct GrpcManifest<'a> {
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    #[serde(borrow, alias = "initial_metadata")]
    initial_metadata: Option<Vec<HeaderManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct HeaderManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ZipkinManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<u32>,
    #[serde(alias = "max_tag_length")]
    max_tag_length: Option<ProtoNumber>,
    #[serde(rename = "enable64bitTraceId", alias = "enable_64bit_trace_id")]
    enable_64bit_trace_id: Option<bool>,
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(alias = "trace_context_option")]
    trace_context_option: Option<Enumeration>,
}

/// Whether requests carry the headers of W3C, too.
const CONTEXTS: &[(&str, i64, bool)] = &[("USE_B3", 0, false), ("USE_B3_WITH_W3C_PROPAGATION", 1, true)];

type Lowered<T> = Result<T, Fault>;

impl Sinks<'_> {
    /// Returns what the provider gets; `None` if it is none of these.
    ///
    /// # Errors
    /// What of it cannot be understood, by field.
    pub(super) fn lower(self) -> Lowered<Option<Sink>> {
        let Self { file, http, tcp, otel_log, prometheus, opentelemetry, zipkin } = self;
        let all = [
            file.map(|of| ("envoyFileAccessLog", of.lower())),
            http.map(|of| ("envoyHttpAls", of.lower().map(Sink::HttpLog))),
            tcp.map(|of| ("envoyTcpAls", of.lower().map(Sink::TcpLog))),
            otel_log.map(|of| ("envoyOtelAls", of.lower().map(Sink::OtelLog))),
            prometheus.map(|_| ("prometheus", Ok(Sink::Prometheus))),
            opentelemetry.map(|of| ("opentelemetry", of.lower().map(Sink::OpenTelemetry))),
            zipkin.map(|of| ("zipkin", of.lower().map(Sink::Zipkin))),
        ];
        let mut written = all.into_iter().flatten();
        let Some((field, sink)) = written.next() else { return Ok(None) };
        if let Some((other, _)) = written.next() {
            let message = format!("it is there besides {field}");
            return Err(fault(other, message, "write an entry for each"));
        }
        sink.map(Some).map_err(|of| Fault { field: format!("{field}.{}", of.field), ..of })
    }
}

fn fault(field: &str, message: String, help: &'static str) -> Fault {
    Fault { field: field.to_owned(), message, help }
}

fn service(service: &Option<Text<'_>>, port: Option<u32>) -> SinkService {
    SinkService {
        service: shared(or_empty(service)),
        // None, and so not there, where it is too large.
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
    }
}

fn checked(text: &str, field: &str) -> Lowered<()> {
    log_format::check(text).map_err(|why| {
        fault(field, why, "write commands of Envoy, as in %PROTOCOL%, and %% for a percent sign")
    })
}

impl FormatManifest<'_> {
    fn labels(&self, field: &str) -> Lowered<Vec<(Str, Str)>> {
        let each = self.labels.iter().flatten();
        each.map(|(key, value)| {
            checked(value.as_str(), field)?;
            Ok((key.shared(), value.shared()))
        })
        .collect()
    }
}

impl FileManifest<'_> {
    fn lower(self) -> Lowered<Sink> {
        let path = or_empty(&self.path);
        if !matches!(path, "/dev/stdout" | "/dev/stderr") {
            let message = format!("{path:?} is no output of a process");
            let help = "write /dev/stdout or /dev/stderr: proxies write no files";
            return Err(fault("path", message, help));
        }
        let format = match self.log_format {
            None => LogFormat::Text(None),
            Some(of) => {
                let labels = of.labels("logFormat.labels")?;
                match of.text.as_ref().filter(|text| !text.as_str().is_empty()) {
                    _ if !labels.is_empty() => LogFormat::Json(Some(labels)),
                    None => LogFormat::Text(None),
                    Some(text) => {
                        checked(text.as_str(), "logFormat.text")?;
                        let end = if text.as_str().ends_with('\n') { "" } else { "\n" };
                        LogFormat::Text(Some(Str::from(format!("{}{end}", text.as_str()))))
                    }
                }
            }
        };
        let log = AccessLog { file: shared(path), format };
        Ok(Sink::File(log, self.omit_empty_values.unwrap_or(false)))
    }
}

impl ServerManifest<'_> {
    fn lower(self) -> Lowered<LogServer> {
        let headers = |list: List<'_>, field: &'static str| {
            let list = shared_list(list);
            match list.iter().find(|name| !is_header(name)) {
                Some(name) => Err(fault(field, format!("{:?} is no header", name.as_str()), "name headers")),
                None => Ok(list),
            }
        };
        Ok(LogServer {
            at: service(&self.service, self.port),
            name: shared(or_empty(&self.log_name)),
            filter_state: shared_list(self.filter_state_objects_to_log),
            request_headers: headers(
                self.additional_request_headers_to_log,
                "additionalRequestHeadersToLog",
            )?,
            response_headers: headers(
                self.additional_response_headers_to_log,
                "additionalResponseHeadersToLog",
            )?,
            response_trailers: headers(
                self.additional_response_trailers_to_log,
                "additionalResponseTrailersToLog",
            )?,
        })
    }
}

impl OtelLogManifest<'_> {
    fn lower(self) -> Lowered<OtelLog> {
        let format = self.log_format.unwrap_or_default();
        let text = or_empty(&format.text);
        checked(text, "logFormat.text")?;
        Ok(OtelLog {
            at: service(&self.service, self.port),
            name: shared(or_empty(&self.log_name)),
            labels: format.labels("logFormat.labels")?,
            body: LogFormat::Text((!text.is_empty()).then(|| shared(text))),
        })
    }
}

impl OtelTracerManifest<'_> {
    fn lower(self) -> Lowered<OtelTracer> {
        let http = self.http.map(HttpManifest::lower).transpose();
        let http = http.map_err(|of| Fault { field: format!("http.{}", of.field), ..of })?;
        let (time, metadata) = match self.grpc {
            None => (None, Vec::new()),
            Some(of) => {
                (timeout(&of.timeout, "grpc.timeout")?, headers(of.initial_metadata, "grpc.initialMetadata")?)
            }
        };
        if http.is_some() && !metadata.is_empty() {
            let help = "spans are sent by HTTP or by gRPC: write one of them";
            return Err(fault("grpc", "it is there besides http".to_owned(), help));
        }
        Ok(OtelTracer {
            at: service(&self.service, self.port),
            max_tag_length: length(self.max_tag_length),
            http,
            timeout: time,
            metadata,
            has_environment: self.resource_detectors.is_some_and(|of| of.environment.is_some()),
        })
    }
}

impl HttpManifest<'_> {
    fn lower(self) -> Lowered<HttpExport> {
        let path = or_empty(&self.path);
        if !is_path(path) {
            return Err(fault("path", format!("{path:?} is no path"), "write one such as /v1/traces"));
        }
        Ok(HttpExport {
            path: shared(path),
            timeout: timeout(&self.timeout, "timeout")?,
            headers: headers(self.headers, "headers")?,
        })
    }
}

impl ZipkinManifest<'_> {
    fn lower(self) -> Lowered<ZipkinTracer> {
        let path = or_empty(&self.path);
        if !(path.is_empty() || is_path(path)) {
            return Err(fault("path", format!("{path:?} is no path"), "write one such as /api/v2/spans"));
        }
        let context = self.trace_context_option.map(|of| {
            let found = of.pick(CONTEXTS, "", String::new());
            found.map_err(|_| {
                let help = "write USE_B3 or USE_B3_WITH_W3C_PROPAGATION";
                fault("traceContextOption", format!("unknown value `{of}`"), help)
            })
        });
        Ok(ZipkinTracer {
            at: service(&self.service, self.port),
            max_tag_length: length(self.max_tag_length),
            has_short_ids: self.enable_64bit_trace_id.unwrap_or(false),
            path: shared(path),
            has_w3c: context.transpose()?.unwrap_or(false),
        })
    }
}

fn length(of: Option<ProtoNumber>) -> Option<u32> {
    of.map(ProtoNumber::get).filter(|length| *length > 0)
}

fn timeout(text: &Option<Text<'_>>, field: &str) -> Lowered<Option<Duration>> {
    let Some(text) = text else { return Ok(None) };
    let found = duration::of_istio(text.as_str()).filter(|time| !time.is_zero());
    found.map(Some).ok_or_else(|| {
        fault(field, format!("{:?} is no time such as 5s", text.as_str()), "write one, or leave it out")
    })
}

/// Returns headers with their values. One from the environment of the proxy is none: its value may be a secret that the
/// proxy has for something else.
fn headers(list: Option<Vec<HeaderManifest<'_>>>, field: &str) -> Lowered<Vec<(Str, Str)>> {
    let each = list.unwrap_or_default().into_iter();
    each.map(|of| match (&of.name, &of.value) {
        (Some(name), Some(value)) if is_header(name.as_str()) && is_value(value.as_str()) => {
            Ok((name.shared(), value.shared()))
        }
        _ => {
            let message = "an entry is no header with a value".to_owned();
            Err(fault(field, message, "write name and value; envName is not supported"))
        }
    })
    .collect()
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A format begins with a percent sign.
fn is_value(text: &str) -> bool {
    text.len() <= 4_096 && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'%')
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 2_048 && text.bytes().all(|b| b.is_ascii_graphic())
}
