use super::{PolicySelector, PolicyTargetReference};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// What is logged, counted and traced of traffic.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
        "message": "give at most one of selector, targetRef and targetRefs"
    }
]))]
pub struct TelemetrySpec {
    /// The workloads concerned: gateways are named by `targetRefs`, so one with it has no effect.
    pub selector: Option<PolicySelector>,
    /// Like `targetRefs`, for one target.
    pub target_ref: Option<PolicyTargetReference>,
    /// The gateways and services concerned. Without it, all of the namespace; in the root namespace, all of the mesh.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<PolicyTargetReference>>,
    /// What is logged.
    pub access_logging: Option<Vec<TelemetryLogging>>,
    /// What is counted.
    pub metrics: Option<Vec<TelemetryMetrics>>,
    /// What is traced.
    pub tracing: Option<Vec<TelemetryTracing>>,
}

/// A provider of the mesh settings.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct TelemetryProvider {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// Which side of traffic is meant.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TelemetryMode {
    /// both, the default
    ClientAndServer,
    /// gateways at the edge
    Client,
    /// waypoints
    Server,
}

/// Which traffic is meant.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TelemetryMatch {
    /// By the side.
    pub mode: Option<TelemetryMode>,
}

/// What is logged.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TelemetryLogging {
    /// Of which traffic.
    #[schemars(rename = "match")]
    pub matches: Option<TelemetryMatch>,
    /// By whom; without any, by those of whatever is less specific.
    pub providers: Option<Vec<TelemetryProvider>>,
    /// Whether nothing is logged.
    #[schemars(extend("nullable" = true))]
    pub disabled: Option<bool>,
    /// What of it.
    pub filter: Option<TelemetryFilter>,
}

/// What is logged of traffic.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TelemetryFilter {
    /// That for which this expression (CEL) is true.
    pub expression: Option<String>,
}

/// What is counted.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TelemetryMetrics {
    /// By whom; without any, by those of whatever is less specific.
    pub providers: Option<Vec<TelemetryProvider>>,
    /// What is otherwise than by default, in order.
    pub overrides: Option<Vec<TelemetryOverride>>,
    /// Not supported.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "duration(self) >= duration('1ms')", "message": "give a duration of at least 1ms"}
    ]))]
    pub reporting_interval: Option<String>,
}

/// What is otherwise than by default.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TelemetryOverride {
    /// Of which metrics; without it, of all.
    #[schemars(rename = "match")]
    pub matches: Option<TelemetryMetricMatch>,
    /// Whether they are not counted.
    #[schemars(extend("nullable" = true))]
    pub disabled: Option<bool>,
    /// What becomes of labels, by name.
    pub tag_overrides: Option<BTreeMap<String, TelemetryTag>>,
}

/// Which metrics are meant.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TelemetryMetricMatch {
    /// One of Istio's.
    pub metric: Option<TelemetryMetric>,
    /// One by its name.
    #[schemars(length(min = 1))]
    pub custom_metric: Option<String>,
    /// By the side.
    pub mode: Option<TelemetryMode>,
}

/// A metric of Istio.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TelemetryMetric {
    /// each of them, the default
    AllMetrics,
    /// `istio_requests_total`
    RequestCount,
    /// `istio_request_duration_milliseconds`
    RequestDuration,
    /// `istio_request_bytes`
    RequestSize,
    /// `istio_response_bytes`
    ResponseSize,
    /// `istio_tcp_connections_opened_total`
    TcpOpenedConnections,
    /// `istio_tcp_connections_closed_total`
    TcpClosedConnections,
    /// `istio_tcp_sent_bytes_total`
    TcpSentBytes,
    /// `istio_tcp_received_bytes_total`
    TcpReceivedBytes,
    /// not supported
    GrpcRequestMessages,
    /// not supported
    GrpcResponseMessages,
}

/// What becomes of a label.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.operation) || self.operation != 'UPSERT' || self.value != ''",
        "message": "give a value, or the operation REMOVE"
    },
    {
        "rule": "!has(self.operation) || self.operation != 'REMOVE' || !has(self.value)",
        "message": "a label that is removed has no value"
    }
]))]
pub struct TelemetryTag {
    /// Whether it is set or removed.
    pub operation: Option<TelemetryTagOperation>,
    /// What it is set to: an expression (CEL).
    pub value: Option<String>,
}

/// Whether a label is set or removed.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "UPPERCASE")]
pub enum TelemetryTagOperation {
    /// set, the default
    Upsert,
    /// removed
    Remove,
}

/// What is traced.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TelemetryTracing {
    /// Of which traffic.
    #[schemars(rename = "match")]
    pub matches: Option<TelemetryMatch>,
    /// Where spans go; without it, where whatever is less specific sends them.
    pub providers: Option<Vec<TelemetryProvider>>,
    /// How many of the requests are traced about which nobody before has decided.
    #[schemars(range(min = 0, max = 100), extend("nullable" = true))]
    pub random_sampling_percentage: Option<f64>,
    /// Whether no spans are sent.
    #[schemars(extend("nullable" = true))]
    pub disable_span_reporting: Option<bool>,
    /// Further tags of spans, by name.
    pub custom_tags: Option<BTreeMap<String, TelemetrySpanTag>>,
    /// Whether the id of a request has a say in whether it is traced.
    #[schemars(extend("nullable" = true))]
    pub use_request_id_for_trace_sampling: Option<bool>,
    /// Whether spans have the tags of Istio.
    #[schemars(extend("nullable" = true))]
    pub enable_istio_tags: Option<bool>,
    /// Whether requests go on without the headers by which spans find each other.
    #[schemars(extend("nullable" = true))]
    pub disable_context_propagation: Option<bool>,
}

/// What a tag of a span has: one of these.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TelemetrySpanTag {
    /// A text.
    pub literal: Option<TelemetryText>,
    /// A variable of the environment of the proxy.
    pub environment: Option<TelemetryNamed>,
    /// A header of the request.
    pub header: Option<TelemetryNamed>,
    /// A format, as of access logs.
    pub formatter: Option<TelemetryText>,
}

/// A text.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct TelemetryText {
    /// The text.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// Something by its name.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct TelemetryNamed {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What there is where it is not.
    pub default_value: Option<String>,
}
