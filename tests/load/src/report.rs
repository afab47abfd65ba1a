//! What was measured, as JSON and as a table.

use std::fmt::Write as _;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// A whole run; a part that was not run is absent.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Writing the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
    /// Synchronising the streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<Sync>,
    /// Changing pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// Asking for certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certs: Option<Certs>,
    /// Being hostile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abuse: Option<crate::abuse::Attacked>,
}

/// Asking for certificates.
#[derive(Debug, Serialize)]
pub struct Certs {
    /// Requests in flight all the time.
    pub in_flight: usize,
    /// Whether each request had a connection of its own.
    pub new_connections: bool,
    /// How long was asked.
    pub seconds: f64,
    /// Certificates a second.
    pub per_second: f64,
    /// Requests that were refused; no latency counts them.
    pub refused: u64,
    /// From the request (or the connection for it) to the certificate.
    pub answer: Latency,
    /// The process measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Writing the mesh.
#[derive(Debug, Serialize)]
pub struct Fill {
    /// Objects that the mesh has.
    pub objects: usize,
    /// Writes that were needed: requests, or files.
    pub writes: usize,
    /// Time it took.
    pub seconds: f64,
}

/// Synchronising the streams. Times count from the start of all streams.
#[derive(Debug, Serialize)]
pub struct Sync {
    /// Streams.
    pub streams: usize,
    /// Until the server accepted the stream.
    pub opened_seconds: Spread,
    /// Until the first response was decoded.
    pub first_seconds: Spread,
    /// Until the stream held the mesh.
    pub synced_seconds: Spread,
    /// Responses on all streams.
    pub responses: u64,
    /// Encoded responses on all streams, in bytes.
    pub bytes: u64,
    /// The mean of that over the streams.
    pub bytes_per_stream: u64,
    /// Addresses on the stream that got the fewest.
    pub addresses_per_stream: u64,
    /// Authorizations on the stream that got the fewest.
    pub authorizations_per_stream: u64,
    /// The process measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Changing pods.
#[derive(Debug, Serialize)]
pub struct Churn {
    /// What was done to pods.
    pub change: String,
    /// The rate asked for.
    pub asked_per_second: f64,
    /// The rate reached.
    pub changes_per_second: f64,
    /// How long pods were changed.
    pub seconds: f64,
    /// Streams that were measured.
    pub sampled_streams: usize,
    /// Streams that ended meanwhile.
    pub lost_streams: usize,
    /// Encoded responses on all streams meanwhile, in bytes.
    pub bytes: u64,
    /// When the streams saw the changes.
    #[serde(flatten)]
    pub propagation: Propagation,
    /// The process measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// When streams saw changes: one value for each change and sampled stream.
#[derive(Debug, Serialize)]
pub struct Propagation {
    /// Changes made.
    pub changes: u64,
    /// Changes that the API server refused.
    pub failed: u64,
    /// Sights of a change with a later one of the same pod.
    pub coalesced: u64,
    /// Sights that did not come in time; no latency counts them.
    pub missing: u64,
    /// From the API server's answer to the decoded resource.
    pub update: Latency,
    /// From the API server's answer to the decoded removal.
    pub removal: Latency,
    /// Both, from the request to the API server on.
    pub from_request: Latency,
    /// From the request to the API server to its answer.
    pub api_write: Latency,
}

/// A distribution of times, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// All are at most this.
    pub max_ms: f64,
}

impl Latency {
    /// From a histogram of microseconds.
    pub fn of(micros: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        Self {
            count: micros.len(),
            p50_ms: ms(micros.value_at_quantile(0.5)),
            p99_ms: ms(micros.value_at_quantile(0.99)),
            max_ms: ms(micros.max()),
        }
    }
}

/// Least, middle and greatest of a few values.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these values; zeros without any.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }
}

/// CPU and memory of a process in one phase.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Its identifier.
    pub pid: u32,
    /// How long the phase was.
    pub seconds: f64,
    /// CPU time it used in the phase, user and system.
    pub cpu_seconds: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// The most resident memory seen in the phase.
    pub peak_rss_bytes: u64,
}

impl Report {
    /// The report as JSON, indented.
    ///
    /// # Errors
    /// If a number is none that JSON has.
    pub fn to_json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the report")
    }

    /// The report as a table of names and values.
    pub fn to_table(&self) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        if let Some(fill) = &self.fill {
            let rate = fill.writes as f64 / fill.seconds.max(f64::MIN_POSITIVE);
            rows.push(("mesh", format!("{} objects", fill.objects)));
            rows.push((
                "  written",
                format!("{} writes in {:.2} s ({rate:.0}/s)", fill.writes, fill.seconds),
            ));
        }
        if let Some(sync) = &self.sync {
            rows.push(("sync", format!("{} streams", sync.streams)));
            rows.push(("  opened", seconds(&sync.opened_seconds)));
            rows.push(("  first response", seconds(&sync.first_seconds)));
            rows.push(("  synchronised", seconds(&sync.synced_seconds)));
            let (addresses, policies) = (sync.addresses_per_stream, sync.authorizations_per_stream);
            rows.push(("  per stream", format!("{addresses} addresses, {policies} authorizations")));
            rows.push(("  bytes per stream", megabytes(sync.bytes_per_stream)));
            process_rows(&mut rows, sync.process.as_ref());
        }
        if let Some(churn) = &self.churn {
            let found = &churn.propagation;
            let rate = format!("{:.1}/s of {}/s asked", churn.changes_per_second, churn.asked_per_second);
            rows.push(("churn", format!("{}: {} changes, {rate}", churn.change, found.changes)));
            rows.push(("  update to client", latency(&found.update)));
            rows.push(("  removal to client", latency(&found.removal)));
            rows.push(("  both, from request", latency(&found.from_request)));
            rows.push(("  API server's write", latency(&found.api_write)));
            let (failed, lost) = (found.failed, churn.lost_streams);
            rows.push((
                "  not as hoped",
                format!(
                    "{failed} refused, {} missing, {} coalesced, {lost} streams lost",
                    found.missing, found.coalesced
                ),
            ));
            rows.push(("  bytes on all streams", megabytes(churn.bytes)));
            process_rows(&mut rows, churn.process.as_ref());
        }
        if let Some(abuse) = &self.abuse {
            let done = format!("{} acts on {} connections", abuse.acts, abuse.connections);
            rows.push(("abuse", done));
        }
        if let Some(certs) = &self.certs {
            let each = if certs.new_connections { ", each on a new connection" } else { "" };
            rows.push(("certificates", format!("{} in flight{each}", certs.in_flight)));
            rows.push(("  issued", format!("{:.0}/s, {} refused", certs.per_second, certs.refused)));
            rows.push(("  answer", latency(&certs.answer)));
            process_rows(&mut rows, certs.process.as_ref());
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in rows {
            let _ = writeln!(text, "{name:width$}  {value}");
        }
        text
    }
}

fn process_rows(rows: &mut Vec<(&str, String)>, process: Option<&Process>) {
    let Some(process) = process else { return };
    rows.push(("  CPU", format!("{:.2} s in {:.1} s", process.cpu_seconds, process.seconds)));
    let (now, peak) = (megabytes(process.rss_bytes), megabytes(process.peak_rss_bytes));
    rows.push(("  memory", format!("{now}, at most {peak}")));
}

fn seconds(spread: &Spread) -> String {
    format!("{:.3} s (from {:.3} s, median {:.3} s)", spread.max, spread.min, spread.median)
}

fn latency(latency: &Latency) -> String {
    match latency {
        Latency { count: 0, .. } => "none".to_owned(),
        Latency { count, p50_ms, p99_ms, max_ms } => {
            format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms ({count})")
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_of_nothing_is_zero_and_of_values_ordered() {
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(spread, Spread { min: 1.0, median: 2.0, max: 3.0 });
    }

    #[test]
    fn parts_that_were_not_run_are_absent() {
        let report = Report { fill: Some(Fill { objects: 3, writes: 2, seconds: 0.5 }), ..Report::default() };
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"fill": {"objects": 3, "writes": 2, "seconds": 0.5}}));
        assert_eq!(report.to_table(), "mesh       3 objects\n  written  2 writes in 0.50 s (4/s)\n");
    }

    #[test]
    fn the_table_tells_latencies_losses_and_the_process() {
        let mut micros = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        micros.record_n(1_000, 99).unwrap();
        micros.record(5_000).unwrap();
        let none = || Latency { count: 0, p50_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 };
        let propagation = Propagation {
            changes: 50,
            failed: 1,
            coalesced: 2,
            missing: 3,
            update: Latency::of(&micros),
            removal: none(),
            from_request: none(),
            api_write: none(),
        };
        let process = Process {
            pid: 1,
            seconds: 10.0,
            cpu_seconds: 1.25,
            rss_bytes: 2_000_000,
            peak_rss_bytes: 3_000_000,
        };
        let churn = Churn {
            change: "ip".to_owned(),
            asked_per_second: 5.0,
            changes_per_second: 4.96,
            seconds: 10.0,
            sampled_streams: 2,
            lost_streams: 4,
            bytes: 1_500_000,
            propagation,
            process: Some(process),
        };
        let report = Report { churn: Some(churn), ..Report::default() };
        let table = report.to_table();
        for row in [
            "churn                   ip: 50 changes, 5.0/s of 5/s asked\n",
            "  update to client      p50 1.00 ms, p99 1.00 ms, max 5.00 ms (100)\n",
            "  removal to client     none\n",
            "  not as hoped          1 refused, 3 missing, 2 coalesced, 4 streams lost\n",
            "  CPU                   1.25 s in 10.0 s\n",
            "  memory                2.00 MB, at most 3.00 MB\n",
        ] {
            assert!(table.contains(row), "{row:?} is not in\n{table}");
        }
        // the counts stand beside the rates in JSON, not nested
        assert!(report.to_json().unwrap().contains("\n    \"missing\": 3,"));
    }
}
