//! What holds where several say something: pure, and with the precedence that Istio has.

use model::Str;
use model::facts::{DefaultProviders, Metric, SpanTag, Tracing, TracingDefaults, TrafficMode};
use std::collections::{BTreeMap, BTreeSet};

use super::TelemetryRules;

/// What is logged, counted and traced at a place; providers by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effective {
    /// What is logged; `None` where nobody says anything, so that the mesh settings do (`accessLogFile`).
    pub logs: Option<Vec<LogTo>>,
    /// What of metrics is otherwise than by default; `None` where nothing is counted.
    pub metrics: Option<MetricRules>,
    /// What is traced; `None` where nothing is.
    pub tracing: Option<Traced>,
}

/// A log that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogTo {
    /// Where to.
    pub provider: Str,
    /// Of what: an expression in CEL; `None` for everything.
    pub filter: Option<Str>,
}

/// What of metrics is otherwise than by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricRules {
    /// Those that are not counted.
    pub disabled: BTreeSet<Metric>,
    /// Labels by metric: an expression in CEL for one that is set, `None` for one that is removed.
    pub tags: BTreeMap<Metric, BTreeMap<Str, Option<Str>>>,
}

/// How requests are traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traced {
    /// Where spans go.
    pub provider: Str,
    /// How many requests are traced about which nobody before decided, in thousandths of a percent.
    pub sampling: u32,
    /// The longest path in a span; `None` for what Envoy has.
    pub max_path_length: Option<u32>,
    /// Further tags.
    pub tags: BTreeMap<Str, SpanTag>,
    /// Whether spans have the tags of Istio.
    pub has_istio_tags: bool,
    /// Whether requests go on without the headers by which spans find each other.
    pub is_not_propagated: bool,
    /// Whether the id of a request has a say in whether it is traced.
    pub samples_by_request_id: bool,
}

/// Returns what holds on a side of traffic; `levels` go from the least specific to the most specific one.
pub fn effective(
    levels: &[&TelemetryRules],
    defaults: &DefaultProviders,
    tracing: TracingDefaults,
    side: TrafficMode,
) -> Effective {
    Effective {
        logs: logs(levels, &defaults.access_logging, side),
        metrics: metrics(levels, &defaults.metrics, side),
        tracing: traced(levels.iter().flat_map(|level| &level.tracing), defaults, tracing, side),
    }
}

/// Names of providers are the same in any case.
fn lower(name: &Str) -> String {
    name.to_ascii_lowercase()
}

/// Providers that are named replace those of less specific levels; entries that name none are about those of the level
/// before.
fn logs(levels: &[&TelemetryRules], defaults: &[Str], side: TrafficMode) -> Option<Vec<LogTo>> {
    let said: Vec<_> =
        levels.iter().map(|level| &level.access_logging).filter(|all| !all.is_empty()).collect();
    if said.is_empty() {
        let all = defaults.iter().map(|name| LogTo { provider: name.clone(), filter: None });
        return (!defaults.is_empty()).then(|| all.collect());
    }
    let mut named: Vec<&Str> = defaults.iter().collect();
    for level in &said {
        let own: Vec<&Str> = level.iter().flat_map(|entry| &entry.providers).collect();
        if !own.is_empty() {
            named = own;
        }
    }
    let in_scope: BTreeSet<String> = named.into_iter().map(lower).collect();
    let mut parents: &[Str] = defaults;
    let mut logs: BTreeMap<String, LogTo> = BTreeMap::new();
    for entry in said.into_iter().flatten() {
        if !entry.providers.is_empty() {
            parents = &entry.providers;
        }
        for provider in parents.iter().filter(|name| in_scope.contains(&lower(name))) {
            if !entry.mode.includes(side) {
                continue;
            }
            if entry.disabled {
                logs.remove(&lower(provider));
            } else {
                let log = LogTo { provider: provider.clone(), filter: entry.filter.clone() };
                logs.insert(lower(provider), log);
            }
        }
    }
    Some(logs.into_values().collect())
}

/// The provider of metrics that is there without being declared; gateways have no other.
pub(super) const PROMETHEUS: &str = "prometheus";

fn metrics(levels: &[&TelemetryRules], defaults: &[Str], side: TrafficMode) -> Option<MetricRules> {
    let all: Vec<_> = levels.iter().flat_map(|level| &level.metrics).collect();
    let named = all.iter().rev().map(|entry| &entry.providers).find(|names| !names.is_empty());
    let named = named.map_or(defaults, Vec::as_slice);
    let is_counted = |names: &[Str]| names.is_empty() || names.iter().any(|name| lower(name) == PROMETHEUS);
    if !is_counted(named) {
        return None;
    }
    let mut rules = MetricRules::default();
    let mut parents: &[Str] = defaults;
    for entry in all {
        if !entry.providers.is_empty() {
            parents = &entry.providers;
        }
        if !is_counted(parents) {
            continue;
        }
        for of in entry.overrides.iter().filter(|of| of.mode.includes(side)) {
            let metrics = match &of.metric {
                Some(metric) => std::slice::from_ref(metric),
                None => &Metric::ALL,
            };
            for metric in metrics {
                match of.disabled {
                    Some(true) => _ = rules.disabled.insert(*metric),
                    Some(false) => _ = rules.disabled.remove(metric),
                    None => {}
                }
                if !of.tags.is_empty() {
                    let tags = of.tags.iter().map(|(name, value)| (name.clone(), value.clone()));
                    rules.tags.entry(*metric).or_default().extend(tags);
                }
            }
        }
    }
    (rules.disabled.len() < Metric::ALL.len()).then_some(rules)
}

fn traced<'t>(
    all: impl Iterator<Item = &'t Tracing>,
    defaults: &DefaultProviders,
    tracing: TracingDefaults,
    side: TrafficMode,
) -> Option<Traced> {
    let (mut provider, mut is_disabled) = (defaults.tracing.clone(), false);
    let mut of = Traced {
        provider: Str::new(),
        sampling: tracing.sampling,
        max_path_length: tracing.max_path_length,
        tags: BTreeMap::new(),
        has_istio_tags: true,
        is_not_propagated: false,
        samples_by_request_id: true,
    };
    for entry in all.filter(|entry| entry.mode.includes(side)) {
        if entry.provider.is_some() {
            provider.clone_from(&entry.provider);
        }
        if let Some(tags) = &entry.tags {
            of.tags.clone_from(tags);
        }
        is_disabled = entry.is_disabled.unwrap_or(is_disabled);
        of.sampling = entry.sampling.unwrap_or(of.sampling);
        of.has_istio_tags = entry.has_istio_tags.unwrap_or(of.has_istio_tags);
        of.is_not_propagated = entry.is_not_propagated.unwrap_or(of.is_not_propagated);
        of.samples_by_request_id = entry.samples_by_request_id.unwrap_or(of.samples_by_request_id);
    }
    Some(Traced { provider: provider.filter(|_| !is_disabled)?, ..of })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use model::{Kind, Object, parse};
    use serde_json::{Value, json};

    fn rules(spec: Value) -> TelemetryRules {
        let object = json!({"metadata": {"namespace": "shop", "name": "t"}, "spec": spec});
        let Object::Telemetry(of) = parse(Kind::Telemetry, object.to_string().as_bytes()).unwrap() else {
            panic!("no Telemetry");
        };
        assert_eq!(of.ignored, [], "{object}");
        TelemetryRules {
            targets: Vec::new(),
            created: 0,
            access_logging: of.access_logging.clone(),
            metrics: of.metrics.clone(),
            tracing: of.tracing.clone(),
        }
    }

    fn of(levels: &[Value], side: TrafficMode) -> Effective {
        let levels: Vec<_> = levels.iter().cloned().map(rules).collect();
        let defaults = DefaultProviders::default();
        effective(&levels.iter().collect::<Vec<_>>(), &defaults, TracingDefaults::default(), side)
    }

    fn logged(levels: &[Value], side: TrafficMode) -> Option<Vec<(String, Option<String>)>> {
        let text = |log: LogTo| (log.provider.to_string(), log.filter.map(|of| of.to_string()));
        of(levels, side).logs.map(|logs| logs.into_iter().map(text).collect())
    }

    fn logging(entries: Value) -> Value {
        json!({"accessLogging": entries})
    }

    #[test]
    fn logs_go_where_the_most_specific_one_says() {
        let (a, b) = (json!([{"name": "a"}]), json!([{"name": "b"}]));
        let mesh = logging(json!([{"providers": a}]));
        let all =
            |names: &[&str]| Some(names.iter().map(|name| ((*name).to_owned(), None)).collect::<Vec<_>>());
        assert_eq!(logged(&[], TrafficMode::Server), None);
        assert_eq!(logged(std::slice::from_ref(&mesh), TrafficMode::Server), all(&["a"]));
        let off = logging(json!([{"disabled": true}]));
        assert_eq!(logged(&[mesh.clone(), off.clone()], TrafficMode::Server), all(&[]));
        let other = logging(json!([{"providers": b}]));
        assert_eq!(logged(&[mesh.clone(), other], TrafficMode::Server), all(&["b"]));
        let both = logging(json!([{"providers": a}, {"providers": b}]));
        assert_eq!(logged(&[mesh.clone(), both], TrafficMode::Server), all(&["a", "b"]));
        let client = logging(json!([{"providers": a, "match": {"mode": "CLIENT"}}]));
        assert_eq!(logged(std::slice::from_ref(&client), TrafficMode::Server), all(&[]));
        assert_eq!(logged(&[client], TrafficMode::Client), all(&["a"]));
        let errors = logging(json!([{"filter": {"expression": "response.code >= 500"}}]));
        let filtered = logged(&[mesh, errors], TrafficMode::Server).unwrap();
        assert_eq!(filtered, [("a".to_owned(), Some("response.code >= 500".to_owned()))]);
    }

    #[test]
    fn metrics_are_counted_unless_somebody_says_otherwise() {
        let off = json!({"metrics": [{"overrides": [{"disabled": true}]}]});
        let some =
            json!({"metrics": [{"overrides": [{"match": {"metric": "REQUEST_COUNT"}, "disabled": false}]}]});
        assert_eq!(of(&[], TrafficMode::Server).metrics, Some(MetricRules::default()));
        assert_eq!(of(std::slice::from_ref(&off), TrafficMode::Server).metrics, None);
        let rules = of(&[off, some], TrafficMode::Server).metrics.unwrap();
        assert!(!rules.disabled.contains(&Metric::RequestCount));
        assert!(rules.disabled.contains(&Metric::RequestSize));
        let other = json!({"metrics": [{"providers": [{"name": "stackdriver"}]}]});
        assert_eq!(of(&[other], TrafficMode::Server).metrics, None);
        let tags = |mode: &str, operation: Value| json!({"metrics": [{"overrides": [{"match": {"mode": mode}, "tagOverrides": {"method": operation}}]}]});
        let set = tags("SERVER", json!({"value": "request.method"}));
        let removed = tags("CLIENT_AND_SERVER", json!({"operation": "REMOVE"}));
        let found = |levels: &[Value], side| {
            let rules = of(levels, side).metrics.unwrap();
            let tags = rules.tags.get(&Metric::ResponseSize).cloned().unwrap_or_default();
            tags.get("method").map(|value| value.as_ref().map(ToString::to_string))
        };
        assert_eq!(
            found(std::slice::from_ref(&set), TrafficMode::Server),
            Some(Some("request.method".to_owned()))
        );
        assert_eq!(found(std::slice::from_ref(&set), TrafficMode::Client), None);
        assert_eq!(found(&[set, removed], TrafficMode::Server), Some(None));
    }

    #[test]
    fn spans_are_sent_where_a_provider_is_named() {
        let traced = |levels: &[Value]| of(levels, TrafficMode::Server).tracing;
        let sampling = json!({"tracing": [{"randomSamplingPercentage": 12.5}]});
        assert_eq!(traced(std::slice::from_ref(&sampling)), None);
        let mesh = json!({"tracing": [{"providers": [{"name": "otel"}], "customTags": {"a": {"literal": {"value": "b"}}}}]});
        let found = traced(std::slice::from_ref(&mesh)).unwrap();
        assert_eq!((found.provider.as_str(), found.sampling, found.tags.len()), ("otel", 1_000, 1));
        let tags = json!({"tracing": [{"customTags": {"c": {"header": {"name": "x-c"}}}}]});
        let found = traced(&[mesh.clone(), sampling, tags]).unwrap();
        assert_eq!(found.sampling, 12_500);
        assert_eq!(found.tags.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["c"]);
        let off = json!({"tracing": [{"disableSpanReporting": true}]});
        assert_eq!(traced(&[mesh, off]), None);
    }
}
