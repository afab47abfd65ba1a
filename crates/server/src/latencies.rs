//! How long clients wait: histograms, and the moments from which they are measured.

use parking_lot::Mutex;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use proto::type_url;
use std::collections::VecDeque;
use std::time::Instant;
use xds::{Scope, Snapshot};

/// The upper bounds of the buckets of every latency, in seconds. Those from 0.1 on are istiod's, which
/// dashboards know; the finer ones are where most of ours are.
pub const LATENCY_BUCKETS: [f64; 21] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];

/// How many publications are remembered. A stream that lags behind further counts from the oldest of them.
const MAX_PUBLICATIONS: usize = 4096;

type Label = [(&'static str, &'static str); 1];

fn histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Returns the short name of a type of resources, as istiod's metrics have it; `None` for types that are not
/// served.
pub(crate) fn type_label(type_url: &str) -> Option<&'static str> {
    Some(match type_url {
        type_url::ADDRESS | type_url::WORKLOAD => "wds",
        type_url::AUTHORIZATION => "wads",
        type_url::CLUSTER => "cds",
        type_url::ENDPOINT => "eds",
        type_url::LISTENER => "lds",
        type_url::ROUTE => "rds",
        type_url::SECRET => "sds",
        type_url::EXTENSION_CONFIG => "ecds",
        _ => return None,
    })
}

/// A snapshot that was published.
#[derive(Debug)]
struct Publication {
    step: u64,
    /// When the first event in it arrived.
    arrived: Instant,
    /// Whether it changed anything for ztunnels.
    changes_mesh: bool,
}

/// Latencies of discovery and of certificates.
#[derive(Debug)]
pub struct Latencies {
    convergence: Histogram,
    push: Family<Label, Histogram>,
    ack: Family<Label, Histogram>,
    certificate: Histogram,
    /// The newest publications, ascending by step.
    published: Mutex<VecDeque<Publication>>,
}

impl Default for Latencies {
    fn default() -> Self {
        let by_type = || {
            let family = Family::<Label, Histogram>::new_with_constructor(histogram as fn() -> Histogram);
            // There before the first response.
            for label in ["wads", "wds"] {
                drop(family.get_or_create(&[("type", label)]));
            }
            family
        };
        Self {
            convergence: histogram(),
            push: by_type(),
            ack: by_type(),
            certificate: histogram(),
            published: Mutex::default(),
        }
    }
}

impl Latencies {
    /// Adds the histograms to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "pilot_proxy_convergence_time",
            "Seconds from the arrival of an event until all that it changed is handed to the transport of a stream",
            self.convergence.clone(),
        );
        registry.register(
            "pilot_xds_push_time",
            "Seconds from the begin of a response until its last byte is handed to the transport, by type",
            self.push.clone(),
        );
        registry.register(
            "pilothouse_xds_ack_seconds",
            "Seconds from the last byte of a response until the client has acknowledged it, by type",
            self.ack.clone(),
        );
        registry.register(
            "pilothouse_certificate_seconds",
            "Seconds from the request for a certificate until it is issued",
            self.certificate.clone(),
        );
    }

    /// Takes note of a snapshot: when the first event in it arrived, and whether it changes anything for
    /// ztunnels. To be called before it is published.
    pub fn record_publication(&self, step: u64, arrived: Instant, changes_mesh: bool) {
        let mut published = self.published.lock();
        if published.back().is_some_and(|last| last.step == step) {
            // Nothing has changed.
            return;
        }
        if published.len() == MAX_PUBLICATIONS {
            published.pop_front();
        }
        published.push_back(Publication { step, arrived, changes_mesh });
    }

    /// Returns when the first event arrived that concerns a scope and is in a snapshot, but not in the one of
    /// step `after`; what is served of the scope changed last in the step `changed`.
    fn arrival(&self, scope: &Scope, changed: u64, after: u64, latest: &Snapshot) -> Option<Instant> {
        let published = self.published.lock();
        let begin = match scope {
            Scope::Mesh => after + 1,
            // Which publication concerns a proxy is known of its newest only.
            Scope::Proxy(_) => (after + 1).max(changed),
        };
        let at = published.partition_point(|publication| publication.step < begin);
        let mut later = published.range(at..).take_while(|publication| publication.step <= latest.step());
        let found = later.find(|publication| publication.changes_mesh || *scope != Scope::Mesh)?;
        Some(found.arrived)
    }

    /// Counts a certificate that was issued for a request of this moment.
    pub(crate) fn issued(&self, requested: Instant) {
        self.certificate.observe(requested.elapsed().as_secs_f64());
    }
}

/// What one stream was sent when.
#[derive(Debug, Default)]
pub(crate) struct StreamTimes {
    /// The response that is being handed out, and since when.
    begun: Option<(&'static str, Instant)>,
    /// When the last response of each type had been handed out, until it is acknowledged.
    sent: Vec<(&'static str, Instant)>,
    /// The step of the last snapshot of which the stream has sent all; 0 before the first.
    served: u64,
    /// Whether something was sent since.
    has_sent: bool,
}

impl StreamTimes {
    /// A response of a type begins.
    pub fn begin(&mut self, type_url: &str) {
        self.begun = type_label(type_url).map(|label| (label, Instant::now()));
    }

    /// All of the response is handed to the transport.
    pub fn end(&mut self, latencies: &Latencies) {
        let Some((label, begun)) = self.begun.take() else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(begun).as_secs_f64();
        latencies.push.get_or_create(&[("type", label)]).observe(took);
        self.sent.retain(|(of, _)| *of != label);
        self.sent.push((label, now));
        self.has_sent = true;
    }

    /// The client has acknowledged the last response of a type.
    pub fn acknowledged(&mut self, type_url: &str, latencies: &Latencies) {
        let of_type = |(label, _): &(&str, Instant)| Some(*label) == type_label(type_url);
        let Some(at) = self.sent.iter().position(of_type) else { return };
        let (label, sent) = self.sent.swap_remove(at);
        latencies.ack.get_or_create(&[("type", label)]).observe(sent.elapsed().as_secs_f64());
    }

    /// The stream has sent all of a snapshot that is in its scope, which changed last in the step `changed`.
    pub fn caught_up(&mut self, scope: &Scope, changed: u64, latest: &Snapshot, latencies: &Latencies) {
        let served = std::mem::replace(&mut self.served, latest.step());
        // The first snapshot of a stream is no answer to an event.
        if std::mem::take(&mut self.has_sent)
            && served > 0
            && let Some(arrived) = latencies.arrival(scope, changed, served, latest)
        {
            latencies.convergence.observe(arrived.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use xds::{ResourceType, Writer};

    #[test]
    fn buckets_ascend() {
        assert!(LATENCY_BUCKETS.is_sorted());
    }

    #[test]
    fn a_stream_counts_from_the_first_event_that_it_had_not_sent() {
        let (latencies, mut writer) = (Latencies::default(), Writer::new());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut snapshots = Vec::new();
        for (step, changes_mesh) in [(1, true), (2, false), (3, true), (4, true)] {
            let scope = if changes_mesh { Scope::Mesh } else { Scope::proxy("shop/waypoint") };
            let of = if changes_mesh { ResourceType::Address } else { ResourceType::Listener };
            let put = writer.put(&scope, of, "a", &vec![b'a'; step as usize]);
            assert_eq!(put.ok(), Some(true));
            latencies.record_publication(step, at(step), changes_mesh);
            snapshots.push(writer.publish());
        }
        let (mesh, proxy) = (Scope::Mesh, Scope::proxy("shop/waypoint"));
        let latest = &snapshots[3];
        assert_eq!(latencies.arrival(&mesh, 0, 1, latest), Some(at(3)), "step 2 is none of a ztunnel's");
        assert_eq!(latencies.arrival(&mesh, 0, 3, latest), Some(at(4)));
        assert_eq!(latencies.arrival(&mesh, 0, 3, &snapshots[2]), None);
        assert_eq!(latencies.arrival(&mesh, 0, 4, latest), None);
        assert_eq!(latencies.arrival(&proxy, 2, 1, latest), Some(at(2)));
    }
}
