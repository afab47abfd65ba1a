use super::{Ignored, Meta, PolicyTargetRef};
use crate::Str;
use std::collections::BTreeMap;

/// Facts of a `Telemetry`. What of it is not valid is left out, and the rest counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Telemetry {
    /// Metadata.
    pub meta: Meta,
    /// Whether `spec.selector` names labels: such an object is for workloads with these, none of which is a gateway.
    pub has_selector: bool,
    /// `spec.targetRefs`, then `spec.targetRef`.
    pub target_refs: Vec<PolicyTargetRef>,
    /// `spec.accessLogging`, in order.
    pub access_logging: Vec<AccessLogging>,
    /// `spec.metrics`, in order.
    pub metrics: Vec<Metrics>,
    /// `spec.tracing`, in order.
    pub tracing: Vec<Tracing>,
    /// What of it has no effect, in the order of the fields.
    pub ignored: Vec<Ignored>,
}

/// On which side of traffic somebody is: a waypoint is a server, a gateway at the edge a client (`mode`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum TrafficMode {
    /// `CLIENT_AND_SERVER`.
    #[default]
    Both,
    /// `CLIENT`.
    Client,
    /// `SERVER`.
    Server,
}

impl TrafficMode {
    /// Tells whether what is written for this side is for somebody on `side`.
    pub fn includes(self, side: Self) -> bool {
        self == Self::Both || self == side
    }
}

/// An entry of `accessLogging`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessLogging {
    /// `match.mode`.
    pub mode: TrafficMode,
    /// `providers[].name`, in order.
    pub providers: Vec<Str>,
    /// `disabled`.
    pub disabled: bool,
    /// `filter.expression`, in CEL.
    pub filter: Option<Str>,
}

/// An entry of `metrics`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// `providers[].name`, in order.
    pub providers: Vec<Str>,
    /// `overrides`, in order.
    pub overrides: Vec<MetricsOverride>,
}

/// A metric that Istio's dashboards know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // the values are those of `MetricSelector.IstioMetric`, name for name
pub enum Metric {
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

impl Metric {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::RequestCount,
        Self::RequestDuration,
        Self::RequestSize,
        Self::ResponseSize,
        Self::TcpOpenedConnections,
        Self::TcpClosedConnections,
        Self::TcpSentBytes,
        Self::TcpReceivedBytes,
        Self::GrpcRequestMessages,
        Self::GrpcResponseMessages,
    ];
}

/// An entry of `overrides`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricsOverride {
    /// `match.metric`; `None` for each of them.
    pub metric: Option<Metric>,
    /// `match.mode`.
    pub mode: TrafficMode,
    /// `disabled`; `None` where nothing is said.
    pub disabled: Option<bool>,
    /// `tagOverrides`: the expression (CEL) of a label, or `None` for one that is removed.
    pub tags: BTreeMap<Str, Option<Str>>,
}

/// An entry of `tracing`. What is `None` is as whatever is less specific has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tracing {
    /// `match.mode`.
    pub mode: TrafficMode,
    /// The first of `providers[].name`.
    pub provider: Option<Str>,
    /// `randomSamplingPercentage`, in thousandths of a percent.
    pub sampling: Option<u32>,
    /// `disableSpanReporting`.
    pub is_disabled: Option<bool>,
    /// `customTags`.
    pub tags: Option<BTreeMap<Str, SpanTag>>,
    /// `enableIstioTags`.
    pub has_istio_tags: Option<bool>,
    /// `disableContextPropagation`.
    pub is_not_propagated: Option<bool>,
    /// `useRequestIdForTraceSampling`.
    pub samples_by_request_id: Option<bool>,
}

/// What a tag of a span has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpanTag {
    /// `literal.value`.
    Literal(Str),
    /// `environment`: the name of a variable of the proxy, and what there is without it.
    Environment(Str, Str),
    /// `header`: the name of a header of the request, and what there is without it.
    Header(Str, Str),
    /// `formatter.value`, as in access logs.
    Format(Str),
}
