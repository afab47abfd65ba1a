use super::enumeration::Enumeration;
use super::fault::join;
use super::metadata::Metadata;
use super::policy::{TargetRef, TargetRefs};
use super::selector::WorkloadSelector;
use super::text::{Text, or_empty, shared_list};
use super::unset::Unset;
use super::{cel, code, log_format, read, wrong::Wrong};
use crate::facts::{
    AccessLogging, Metric, Metrics, MetricsOverride, SpanTag, Telemetry, Tracing, TrafficMode,
};
use crate::{Kind, Str, shared};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    #[serde(borrow, alias = "target_refs")]
    target_refs: Option<Vec<TargetRef<'a>>>,
    #[serde(borrow, alias = "target_ref")]
    target_ref: Option<TargetRef<'a>>,
    #[serde(borrow, alias = "access_logging")]
    access_logging: Option<Vec<LoggingManifest<'a>>>,
    #[serde(borrow)]
    metrics: Option<Vec<MetricsManifest<'a>>>,
    #[serde(borrow)]
    tracing: Option<Vec<TracingManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Match {
    mode: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Provider<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LoggingManifest<'a> {
    r#match: Option<Match>,
    #[serde(borrow)]
    providers: Option<Vec<Provider<'a>>>,
    disabled: Option<bool>,
    #[serde(borrow)]
    filter: Option<Filter<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Filter<'a> {
    #[serde(borrow)]
    expression: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MetricsManifest<'a> {
    #[serde(borrow)]
    providers: Option<Vec<Provider<'a>>>,
    #[serde(borrow)]
    overrides: Option<Vec<OverrideManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct OverrideManifest<'a> {
    #[serde(borrow)]
    r#match: Option<MetricMatch<'a>>,
    disabled: Option<bool>,
    #[serde(borrow, alias = "tag_overrides")]
    tag_overrides: Option<BTreeMap<Text<'a>, TagManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct MetricMatch<'a> {
    metric: Option<Enumeration>,
    #[serde(borrow, alias = "custom_metric")]
    custom_metric: Option<Text<'a>>,
    mode: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct TagManifest<'a> {
    operation: Option<Enumeration>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TracingManifest<'a> {
    r#match: Option<Match>,
    #[serde(borrow)]
    providers: Option<Vec<Provider<'a>>>,
    #[serde(alias = "random_sampling_percentage")]
    random_sampling_percentage: Option<f64>,
    #[serde(alias = "disable_span_reporting")]
    disable_span_reporting: Option<bool>,
    #[serde(borrow, alias = "custom_tags")]
    custom_tags: Option<BTreeMap<Text<'a>, SpanTagManifest<'a>>>,
    #[serde(alias = "use_request_id_for_trace_sampling")]
    use_request_id_for_trace_sampling: Option<bool>,
    #[serde(alias = "enable_istio_tags")]
    enable_istio_tags: Option<bool>,
    #[serde(alias = "disable_context_propagation")]
    disable_context_propagation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SpanTagManifest<'a> {
    #[serde(borrow)]
    literal: Option<Value<'a>>,
    #[serde(borrow)]
    environment: Option<Named<'a>>,
    #[serde(borrow)]
    header: Option<Named<'a>>,
    #[serde(borrow)]
    formatter: Option<Value<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Value<'a> {
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow, alias = "default_value")]
    default_value: Option<Text<'a>>,
}

const MODES: &[(&str, i64, TrafficMode)] = &[
    ("CLIENT_AND_SERVER", 0, TrafficMode::Both),
    ("CLIENT", 1, TrafficMode::Client),
    ("SERVER", 2, TrafficMode::Server),
];

const METRICS: &[(&str, i64, Option<Metric>)] = &[
    ("ALL_METRICS", 0, None),
    ("REQUEST_COUNT", 1, Some(Metric::RequestCount)),
    ("REQUEST_DURATION", 2, Some(Metric::RequestDuration)),
    ("REQUEST_SIZE", 3, Some(Metric::RequestSize)),
    ("RESPONSE_SIZE", 4, Some(Metric::ResponseSize)),
    ("TCP_OPENED_CONNECTIONS", 5, Some(Metric::TcpOpenedConnections)),
    ("TCP_CLOSED_CONNECTIONS", 6, Some(Metric::TcpClosedConnections)),
    ("TCP_SENT_BYTES", 7, Some(Metric::TcpSentBytes)),
    ("TCP_RECEIVED_BYTES", 8, Some(Metric::TcpReceivedBytes)),
    ("GRPC_REQUEST_MESSAGES", 9, Some(Metric::GrpcRequestMessages)),
    ("GRPC_RESPONSE_MESSAGES", 10, Some(Metric::GrpcResponseMessages)),
];

const IS_REMOVED: &[(&str, i64, bool)] = &[("UPSERT", 0, false), ("REMOVE", 1, true)];

/// Labels by which series are told apart before anybody reads them: no other label can have such a name.
const RESERVED: &[&str] = &["from", "to", "service", "omitted", "le"];
/// Names as istiod's metrics have them, besides the prefix `istio_`.
const NAMES: &[(&str, Metric)] = &[
    ("requests_total", Metric::RequestCount),
    ("request_duration_milliseconds", Metric::RequestDuration),
    ("request_bytes", Metric::RequestSize),
    ("response_bytes", Metric::ResponseSize),
    ("tcp_connections_opened_total", Metric::TcpOpenedConnections),
    ("tcp_connections_closed_total", Metric::TcpClosedConnections),
    ("tcp_sent_bytes_total", Metric::TcpSentBytes),
    ("tcp_received_bytes_total", Metric::TcpReceivedBytes),
];

/// Returns the facts of a `Telemetry`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Telemetry, Wrong> {
    let Manifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    let mut unset = Unset::default();
    let (logging, metrics, tracing) = (spec.access_logging, spec.metrics, spec.tracing);
    Ok(Telemetry {
        meta: metadata.meta(Kind::Telemetry)?,
        has_selector: spec.selector.is_some_and(|selector| !selector.labels().is_empty()),
        target_refs: TargetRefs { target_refs: spec.target_refs, target_ref: spec.target_ref }.lower(),
        access_logging: each("spec.accessLogging", logging, |at, of| of.lower(at, &mut unset))?,
        metrics: each("spec.metrics", metrics, |at, of| of.lower(at, &mut unset))?,
        tracing: each("spec.tracing", tracing, |at, of| of.lower(at, &mut unset))?,
        ignored: unset.into_list(),
    })
}

/// Lowers the entries of a list, each with its path; leaves out those of which nothing counts.
fn each<M, T>(
    at: &str,
    list: Option<Vec<M>>,
    mut lower: impl FnMut(&str, M) -> Result<Option<T>, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let entries = list.unwrap_or_default().into_iter().enumerate();
    entries.filter_map(|(i, entry)| lower(&format!("{at}[{i}]"), entry).transpose()).collect()
}

fn mode(written: Option<&Enumeration>, at: &str) -> Result<TrafficMode, Wrong> {
    let pick = |of: &Enumeration| of.pick(MODES, code::FIELD, join(at, "match.mode"));
    Ok(written.map(pick).transpose()?.unwrap_or_default())
}

fn providers(list: Option<Vec<Provider<'_>>>) -> Vec<Str> {
    shared_list(Some(list.unwrap_or_default().into_iter().filter_map(|of| of.name).collect()))
}

impl LoggingManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Result<Option<AccessLogging>, Wrong> {
        let expression = self.filter.and_then(|filter| filter.expression);
        let expression = expression.filter(|text| !text.as_str().is_empty());
        if let Some(Err(why)) = expression.as_ref().map(|text| cel::check(text.as_str())) {
            let message = format!("is no expression that proxies take, so the entry has no effect: {why}");
            unset.push(
                join(at, "filter.expression"),
                message,
                "write an expression in CEL, such as response.code >= 400",
            );
            return Ok(None);
        }
        Ok(Some(AccessLogging {
            mode: mode(self.r#match.as_ref().and_then(|of| of.mode.as_ref()), at)?,
            providers: providers(self.providers),
            disabled: self.disabled.unwrap_or(false),
            filter: expression.map(|text| text.shared()),
        }))
    }
}

impl MetricsManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Result<Option<Metrics>, Wrong> {
        let at = join(at, "overrides");
        let overrides = each(&at, self.overrides, |at, of| of.lower(at, unset))?;
        Ok(Some(Metrics { providers: providers(self.providers), overrides }))
    }
}

impl OverrideManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Result<Option<MetricsOverride>, Wrong> {
        let of = self.r#match.as_ref();
        let metric = of.and_then(|of| of.metric.as_ref());
        let metric =
            metric.map(|of| of.pick(METRICS, code::FIELD, join(at, "match.metric"))).transpose()?.flatten();
        let custom = of.and_then(|of| of.custom_metric.as_ref()).map(Text::as_str);
        let custom = match custom.filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => {
                let bare = name.strip_prefix("istio_").unwrap_or(name);
                let known = NAMES.iter().find(|(of, _)| *of == bare);
                if known.is_none() {
                    let message = format!("{name:?} is no metric of gateways, so the entry has no effect");
                    unset.push(join(at, "match.customMetric"), message, "name one of the metrics of Istio");
                    return Ok(None);
                }
                known.map(|(_, metric)| *metric)
            }
        };
        let mut tags = BTreeMap::new();
        for (name, tag) in self.tag_overrides.unwrap_or_default() {
            let at = format!("{at}.tagOverrides[{}]", name.as_str());
            let operation = tag
                .operation
                .map(|of| of.pick(IS_REMOVED, code::FIELD, join(&at, "operation")))
                .transpose()?;
            let mut value = or_empty(&tag.value);
            let is_removed = operation.unwrap_or(false);
            let fault = if !is_label(name.as_str()) {
                Some((at, "is no name of a label that can be set, so it has no effect".to_owned()))
            } else if is_removed {
                None
            } else {
                match cel::in_format(value) {
                    Ok(text) => {
                        value = text;
                        None
                    }
                    Err(why) => {
                        let message =
                            format!("is no expression that proxies take, so the label is as before: {why}");
                        Some((join(&at, "value"), message))
                    }
                }
            };
            match fault {
                Some((at, message)) => {
                    unset.push(at, message, "write an expression in CEL, such as request.method");
                }
                None => {
                    tags.insert(name.shared(), (!is_removed).then(|| shared(value)));
                }
            }
        }
        let mode = of.and_then(|of| of.mode.as_ref());
        let mode = mode.map(|of| of.pick(MODES, code::FIELD, join(at, "match.mode"))).transpose()?;
        Ok(Some(MetricsOverride {
            metric: custom.or(metric),
            mode: mode.unwrap_or_default(),
            disabled: self.disabled,
            tags,
        }))
    }
}

/// Tells whether a label can be called so, as Prometheus has it.
fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 128
        && !RESERVED.contains(&name)
}

impl TracingManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Result<Option<Tracing>, Wrong> {
        let mut names = providers(self.providers).into_iter();
        let provider = names.next();
        if names.next().is_some() {
            let message = "spans go to one provider: those after the first have no effect".to_owned();
            unset.push(join(at, "providers"), message, "name one provider");
        }
        let tags = self.custom_tags.map(|tags| {
            let mut lowered = BTreeMap::new();
            for (name, tag) in tags {
                let at = format!("{at}.customTags[{}]", name.as_str());
                match tag.lower(name.as_str()) {
                    Ok(tag) => {
                        lowered.insert(name.shared(), tag);
                    }
                    Err((field, message)) => {
                        let help = "write one of literal, environment, header and formatter";
                        unset.push(join(&at, field), format!("{message}, so it has no effect"), help);
                    }
                }
            }
            lowered
        });
        Ok(Some(Tracing {
            mode: mode(self.r#match.as_ref().and_then(|of| of.mode.as_ref()), at)?,
            provider,
            sampling: unset.percent(at, "randomSamplingPercentage", self.random_sampling_percentage),
            is_disabled: self.disable_span_reporting,
            tags,
            has_istio_tags: self.enable_istio_tags,
            is_not_propagated: self.disable_context_propagation,
            samples_by_request_id: self.use_request_id_for_trace_sampling,
        }))
    }
}

/// Longest text of a tag, in bytes.
const MAX_TEXT: usize = 2_048;

impl SpanTagManifest<'_> {
    fn lower(self, name: &str) -> Result<SpanTag, (&'static str, String)> {
        let is_text = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        if name.is_empty() || !is_text(name) {
            return Err(("", format!("{name:?} is no name of a tag")));
        }
        let named = |of: Named<'_>, is_name: fn(u8) -> bool| {
            let (name, default) = (shared(or_empty(&of.name)), shared(or_empty(&of.default_value)));
            let is_good =
                !name.is_empty() && name.bytes().all(is_name) && is_text(&name) && is_text(&default);
            is_good.then_some((name, default))
        };
        let value = |of: Value<'_>| {
            Some(shared(or_empty(&of.value))).filter(|text| !text.is_empty() && is_text(text))
        };
        match (self.literal, self.environment, self.header, self.formatter) {
            (Some(literal), None, None, None) => {
                let text = value(literal).ok_or(("literal.value", "it is no text of a tag".to_owned()))?;
                Ok(SpanTag::Literal(text))
            }
            (None, Some(variable), None, None) => {
                let is_name = |b: u8| b.is_ascii_graphic() && b != b'=';
                let (name, default) =
                    named(variable, is_name).ok_or(("environment", "it is no variable".to_owned()))?;
                Ok(SpanTag::Environment(name, default))
            }
            (None, None, Some(header), None) => {
                let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
                let (name, default) =
                    named(header, is_name).ok_or(("header", "it is no header".to_owned()))?;
                Ok(SpanTag::Header(name, default))
            }
            (None, None, None, Some(format)) => {
                let text = value(format).ok_or(("formatter.value", "it is no format".to_owned()))?;
                log_format::check(&text).map_err(|why| ("formatter.value", why))?;
                Ok(SpanTag::Format(text))
            }
            _ => Err(("", "it has not exactly one source".to_owned())),
        }
    }
}
