//! How values that are read at each scrape are handed to the library of metrics.

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt::Result;

/// Takes metrics with their samples, one after another.
pub(super) struct Samples<'a>(pub DescriptorEncoder<'a>);

impl Samples<'_> {
    /// Takes a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result {
        self.put(name, MetricType::Gauge, help, [(None::<NoLabelSet>, value)])
    }

    /// Takes a gauge with labels.
    pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> Result {
        let samples = samples.into_iter().map(|(labels, value)| (Some(labels), value));
        self.put(name, MetricType::Gauge, help, samples)
    }

    /// Takes a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result {
        let (name, kind) = of_counter(name);
        self.put(name, kind, help, [(None::<NoLabelSet>, value)])
    }

    /// Takes a counter with one label.
    pub fn counters(
        &mut self,
        name: &str,
        label: &str,
        help: &str,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> Result {
        let (name, kind) = of_counter(name);
        self.put(name, kind, help, counts.into_iter().map(|(of, count)| (Some([(label, of)]), count)))
    }

    /// Takes a counter with any labels.
    pub fn counters_by<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl IntoIterator<Item = (L, u64)>,
    ) -> Result {
        let (name, kind) = of_counter(name);
        self.put(name, kind, help, counts.into_iter().map(|(labels, count)| (Some(labels), count)))
    }

    fn put<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        kind: MetricType,
        help: &str,
        samples: impl IntoIterator<Item = (Option<L>, V)>,
    ) -> Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            // A counter is encoded in the same way: its suffix comes with its type.
            match labels {
                Some(labels) => encoder.encode_family(&labels)?.encode_gauge(&value)?,
                None => encoder.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// Returns the name and the type under which the library writes a counter of this name.
///
/// The library ends every counter in `_total`. Those of istiod have no suffix, and dashboards know them so:
/// they go as untyped, and [`typed`] tells afterwards that they are counters.
fn of_counter(name: &str) -> (&str, MetricType) {
    name.strip_suffix("_total").map_or((name, MetricType::Unknown), |stem| (stem, MetricType::Counter))
}

/// Gives counters without `_total` their type in the text of a scrape: nothing else is untyped here, and in
/// the text format any name may be a counter's.
pub(super) fn typed(text: &str) -> String {
    text.replace(" untyped\n", " counter\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct All;

    impl Collector for All {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
            let mut out = Samples(encoder);
            out.counter("pilot_xds_pushes", "Pushes.", 3u64)?;
            out.counter("pilothouse_commits_total", "Commits.", 4u64)?;
            out.counters("pilothouse_ends_total", "reason", "Ends.", [("a\"b", 5), ("c", 6)])?;
            out.gauge("pilothouse_left_seconds", "Time left.", -7i64)?;
            out.gauges("pilothouse_days", "Days.", [([("of", "root"), ("number", "1")], 1.5)])
        }
    }

    #[test]
    fn names_and_types_are_written_as_they_are_given() {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(All));
        encode(&mut text, &registry).unwrap();
        let expected = r#"# HELP pilot_xds_pushes Pushes.
# TYPE pilot_xds_pushes counter
pilot_xds_pushes 3
# HELP pilothouse_commits_total Commits.
# TYPE pilothouse_commits_total counter
pilothouse_commits_total 4
# HELP pilothouse_ends_total Ends.
# TYPE pilothouse_ends_total counter
pilothouse_ends_total{reason="a\"b"} 5
pilothouse_ends_total{reason="c"} 6
# HELP pilothouse_left_seconds Time left.
# TYPE pilothouse_left_seconds gauge
pilothouse_left_seconds -7
# HELP pilothouse_days Days.
# TYPE pilothouse_days gauge
pilothouse_days{of="root",number="1"} 1.5
"#;
        assert_eq!(typed(&text), expected);
    }
}
