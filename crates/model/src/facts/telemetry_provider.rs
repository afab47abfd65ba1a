use super::{AccessLog, LogFormat};
use crate::Str;
use std::time::Duration;

/// An entry of `extensionProviders` that gets access logs, metrics or spans.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TelemetryProvider {
    /// `name`, by which a `Telemetry` names it; in any case.
    pub name: Str,
    /// What it gets, and how.
    pub sink: Sink,
}

/// What a provider gets, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sink {
    /// `envoyFileAccessLog`, and whether what is empty is left out (`omitEmptyValues`).
    File(AccessLog, bool),
    /// `envoyHttpAls`: requests, to a server of access logs.
    HttpLog(LogServer),
    /// `envoyTcpAls`: streams, to a server of access logs.
    TcpLog(LogServer),
    /// `envoyOtelAls`: to a collector of OpenTelemetry.
    OtelLog(OtelLog),
    /// `prometheus`: metrics, for whoever reads them.
    Prometheus,
    /// `opentelemetry`: spans.
    OpenTelemetry(OtelTracer),
    /// `zipkin`: spans.
    Zipkin(ZipkinTracer),
}

/// The service of a provider.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct SinkService {
    /// `service`: a hostname, perhaps after a namespace and a slash.
    pub service: Str,
    /// `port`; 0 where none is written, or one that cannot be.
    pub port: u16,
}

/// A server of access logs, by Envoy's own protocol.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogServer {
    /// Where it is.
    pub at: SinkService,
    /// `logName`; empty where none is written.
    pub name: Str,
    /// `filterStateObjectsToLog`.
    pub filter_state: Vec<Str>,
    /// `additionalRequestHeadersToLog`.
    pub request_headers: Vec<Str>,
    /// `additionalResponseHeadersToLog`.
    pub response_headers: Vec<Str>,
    /// `additionalResponseTrailersToLog`.
    pub response_trailers: Vec<Str>,
}

/// A collector of access logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtelLog {
    /// Where it is.
    pub at: SinkService,
    /// `logName`; empty where none is written.
    pub name: Str,
    /// `logFormat.text`.
    pub body: LogFormat,
    /// `logFormat.labels`, by key.
    pub labels: Vec<(Str, Str)>,
}

/// How spans are sent besides gRPC: by requests of HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpExport {
    /// `path`.
    pub path: Str,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `headers`, in order.
    pub headers: Vec<(Str, Str)>,
}

/// A collector of spans of OpenTelemetry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OtelTracer {
    /// Where it is.
    pub at: SinkService,
    /// `maxTagLength`.
    pub max_tag_length: Option<u32>,
    /// `http`; without it, spans are sent by gRPC.
    pub http: Option<HttpExport>,
    /// `grpc.timeout`.
    pub timeout: Option<Duration>,
    /// `grpc.initialMetadata`, in order.
    pub metadata: Vec<(Str, Str)>,
    /// `resourceDetectors.environment`.
    pub has_environment: bool,
}

/// A collector of spans of Zipkin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZipkinTracer {
    /// Where it is.
    pub at: SinkService,
    /// `maxTagLength`.
    pub max_tag_length: Option<u32>,
    /// `enable64bitTraceId`.
    pub has_short_ids: bool,
    /// `path`; empty for `/api/v2/spans`.
    pub path: Str,
    /// `traceContextOption`: whether requests carry the headers of W3C besides those of Zipkin.
    pub has_w3c: bool,
}

/// The providers of a mesh for which no `Telemetry` names others (`defaultProviders`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DefaultProviders {
    /// `accessLogging`.
    pub access_logging: Vec<Str>,
    /// `metrics`; empty for Prometheus.
    pub metrics: Vec<Str>,
    /// The first of `tracing`.
    pub tracing: Option<Str>,
}

/// How traces are made where no `Telemetry` says it (`defaultConfig.tracing`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TracingDefaults {
    /// `sampling`, in thousandths of a percent.
    pub sampling: u32,
    /// `maxPathTagLength`.
    pub max_path_length: Option<u32>,
}

impl Default for TracingDefaults {
    /// One of a hundred requests, as Istio has it.
    fn default() -> Self {
        Self { sampling: 1_000, max_path_length: None }
    }
}
