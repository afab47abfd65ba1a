//! Histograms of how long something takes.

use prometheus_client::metrics::histogram::Histogram;

/// Returns an empty histogram of seconds, with the buckets that all latencies have.
pub(crate) fn histogram() -> Histogram {
    Histogram::new(server::LATENCY_BUCKETS)
}
