//! Metrics in the text format of Prometheus, gathered when they are asked for.
//!
//! Names are those of istiod wherever dashboards use them; its counters carry no `_total`.
//! No label is unbounded: never a pod, an address or a policy.

use crate::controllers::StatusStats;
use crate::engine_thread::EngineHandle;
use cluster::WriterStats;
use identity::IdentityView;
use rustls::pki_types::UnixTime;
use server::{Clients, CloseReason};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tikv_jemalloc_ctl::{epoch, stats};

/// What a scrape reads.
#[derive(Clone)]
pub struct Metrics {
    engine: EngineHandle,
    clients: Clients,
    identity: IdentityView,
    status: Arc<StatusStats>,
    started: Instant,
}

struct Text(String);

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str, samples: &[(&str, &dyn Display)]) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = match *labels {
                "" => writeln!(self.0, "{name} {value}"),
                labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
            };
        }
    }

    fn counts(&mut self, name: &str, label: &str, help: &str, counts: Vec<(&'static str, u64)>) {
        let samples: Vec<(String, u64)> =
            counts.into_iter().map(|(value, count)| (format!("{label}=\"{value}\""), count)).collect();
        let samples: Vec<(&str, &dyn Display)> =
            samples.iter().map(|(labels, count)| (labels.as_str(), count as &dyn Display)).collect();
        self.metric(name, "counter", help, &samples);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, &[("", &value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help, &[("", &value)]);
    }
}

impl Metrics {
    /// Gathers from these parts.
    pub fn new(engine: EngineHandle, clients: Clients) -> Self {
        Self {
            engine,
            clients,
            identity: IdentityView::default(),
            status: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Gathers from the secure port too.
    pub fn with_identity(self, identity: IdentityView) -> Self {
        Self { identity, ..self }
    }

    /// Gathers from the controllers too.
    pub fn with_status(self, status: Arc<StatusStats>) -> Self {
        Self { status, ..self }
    }

    /// Returns all metrics as text.
    pub async fn render(&self) -> String {
        let mut out = Text(String::with_capacity(8 * 1024));
        let version = env!("CARGO_PKG_VERSION");
        out.metric(
            "istio_build",
            "gauge",
            "Version of this control plane.",
            &[(&format!("component=\"pilot\",tag=\"{version}\""), &1)],
        );
        out.metric(
            "pilot_info",
            "gauge",
            "Version of this control plane.",
            &[(&format!("version=\"{version}\""), &1)],
        );
        out.gauge("istiod_uptime_seconds", "Seconds since the start.", self.started.elapsed().as_secs());
        self.clients(&mut out);
        self.engine(&mut out).await;
        self.identity(&mut out);
        self.status(&mut out);
        process(&mut out);
        out.0
    }

    fn clients(&self, out: &mut Text) {
        let totals = self.clients.totals();
        out.metric(
            "pilot_xds",
            "gauge",
            "Connected clients.",
            &[("version=\"unknown\"", &self.clients.len())],
        );
        out.counter("pilothouse_xds_streams_total", "Streams opened.", totals.streams);
        out.counter("pilothouse_xds_responses_total", "Responses handed out.", totals.responses);
        out.counter("pilothouse_xds_sent_bytes_total", "Bytes of responses handed out.", totals.bytes);
        out.counter("pilothouse_xds_acks_total", "Responses acknowledged.", totals.acks);
        out.counter(
            "pilot_xds_write_timeout",
            "Connections ended since their client did not read.",
            self.clients.closed().count(CloseReason::Unread),
        );
        out.counts(
            "pilothouse_connections_ended_total",
            "reason",
            "Connections that were ended from here before their time, by why.",
            self.clients.closed().list(),
        );
        out.counts(
            "pilothouse_bound_refusals_total",
            "bound",
            "Clients refused since they wanted more than one may take, by what of.",
            self.clients.refusals().list(),
        );
        let (wds, wads) = (totals.addresses, totals.authorizations);
        let labels = ["type=\"wads\"", "type=\"wds\""];
        for (name, help, of) in [
            ("pilot_xds_pushes", "Responses, by type.", [wads.responses, wds.responses]),
            ("pilot_total_xds_rejects", "Refusals, by type.", [wads.nacks, wds.nacks]),
        ] {
            out.metric(name, "counter", help, &[(labels[0], &of[0]), (labels[1], &of[1])]);
        }
    }

    async fn engine(&self, out: &mut Text) {
        let stats = self.engine.stats();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.counter("pilothouse_commits_total", "Commits of the engine.", read(&stats.commits));
        out.counter("pilothouse_events_total", "Events taken from sources.", read(&stats.events));
        out.counter("pilothouse_resources_total", "Resources published or removed.", read(&stats.resources));
        out.counter("pilot_total_rejected_configs", "Objects refused.", read(&stats.rejected));
        let busy = read(&stats.busy_nanos) as f64 / 1e9;
        out.counter("pilothouse_commit_seconds_total", "Time spent in commits.", busy);
        let Some(tables) = self.engine.query(plane::Plane::stats).await else { return };
        type Read = fn(&plane::StageStats) -> u64;
        let columns: [(&str, &str, &str, Read); 3] = [
            ("pilothouse_table_rows", "gauge", "Rows of each table.", |s| s.rows as u64),
            ("pilothouse_rows_recomputed_total", "counter", "Rows computed, by table.", |s| s.recomputed),
            ("pilothouse_rows_changed_total", "counter", "Rows that became others, by table.", |s| s.changed),
        ];
        for (name, kind, help, of) in columns {
            let list: Vec<(String, u64)> =
                tables.iter().map(|s| (format!("table=\"{}\"", s.name), of(s))).collect();
            let list: Vec<(&str, &dyn Display)> =
                list.iter().map(|(l, n)| (l.as_str(), n as &dyn Display)).collect();
            out.metric(name, kind, help, &list);
        }
        let services = tables.iter().find(|s| s.name == "services_sent").map_or(0, |s| s.rows);
        out.gauge("pilot_services", "Services of the mesh.", services);
    }
}

impl Metrics {
    fn identity(&self, out: &mut Text) {
        let stats = &self.identity.stats;
        out.counter("citadel_server_csr_count", "Certificate requests.", stats.requests.get());
        out.counter("citadel_server_success_cert_issuance_count", "Certificates issued.", stats.issued.get());
        out.counter(
            "citadel_server_authentication_failure_count",
            "Calls that could not be authenticated.",
            stats.unauthenticated.get(),
        );
        for (name, label, help, counts) in [
            (
                "citadel_server_csr_sign_err_count",
                "error",
                "Requests that could not be signed.",
                &stats.sign_errors,
            ),
            (
                "pilothouse_certificates_refused_total",
                "reason",
                "Refused certificate requests, by reason.",
                &stats.refused,
            ),
            (
                "pilothouse_streams_refused_total",
                "reason",
                "Refused streams of the secure port, by reason, including unauthenticated ones.",
                &stats.streams_refused,
            ),
            (
                "pilothouse_streams_ended_total",
                "reason",
                "Streams ended because the credential expired or the pod is gone.",
                &stats.streams_ended,
            ),
            (
                "pilothouse_tokens_accepted_total",
                "how",
                "Accepted tokens: cached, verified locally, of an additional issuer, or reviewed by the API server.",
                &stats.tokens,
            ),
            ("pilothouse_token_reviews_total", "outcome", "TokenReviews.", &stats.token_reviews),
            (
                "pilothouse_key_fetches_total",
                "outcome",
                "Fetches of the keys of the API server.",
                &stats.key_fetches,
            ),
            (
                "pilothouse_issuer_key_fetches_total",
                "outcome",
                "Fetches of the keys of additional issuers.",
                &stats.issuer_key_fetches,
            ),
            (
                "pilothouse_handshakes_total",
                "outcome",
                "TLS handshakes of the secure port.",
                &stats.handshakes,
            ),
            (
                "pilothouse_root_writes_total",
                "outcome",
                "Writes of the ConfigMap with the roots.",
                &stats.root_writes,
            ),
            (
                "pilothouse_crl_writes_total",
                "outcome",
                "Writes of the ConfigMap with the revocation lists.",
                &stats.crl_writes,
            ),
            (
                "pilothouse_event_writes_total",
                "outcome",
                "Writes of Events about key material.",
                &stats.event_writes,
            ),
            (
                "pilothouse_key_material_problems_total",
                "kind",
                "Problems with key material.",
                self.identity.authority.problems(),
            ),
        ] {
            out.counts(name, label, help, counts.list());
        }
        out.gauge(
            "pilothouse_key_material_problem",
            "Whether there is a problem with key material, 0 or 1.",
            u8::from(self.identity.authority.status().problem.is_some()),
        );
        let now = UnixTime::now();
        let leaves = stats.leaves.by_days_left(now);
        let leaves: Vec<(String, u64)> =
            leaves.into_iter().map(|(days, count)| (format!("days_left=\"{days}\""), count)).collect();
        let leaves: Vec<(&str, &dyn Display)> =
            leaves.iter().map(|(labels, count)| (labels.as_str(), count as &dyn Display)).collect();
        out.metric(
            "pilothouse_workload_certificates",
            "gauge",
            "Valid certificates issued by this process, by days left; each bucket excludes the ones before it.",
            &leaves,
        );
        self.expiry(out, now.as_secs());
    }

    /// Without key material there is nothing that expires: an absent value alarms nobody.
    fn expiry(&self, out: &mut Text, now: u64) {
        let signer = self.identity.authority.current();
        let roots = signer.as_ref().map_or(&[][..], |signer| signer.trust().roots());
        let between = signer.as_ref().map_or(&[][..], |signer| signer.intermediates());
        let seconds_left = |end: u64| i128::from(end) - i128::from(now);
        for (name, first) in
            [("citadel_server_root_cert_expiry", roots), ("citadel_server_cert_chain_expiry", between)]
        {
            let Some(end) = first.first().map(|first| first.validity().not_after.as_secs()) else { continue };
            let (timestamp, seconds) = (format!("{name}_timestamp"), format!("{name}_seconds"));
            out.gauge(&timestamp, "Expiry of a certificate of the authority, in seconds since 1970.", end);
            out.gauge(&seconds, "Seconds until a certificate of the authority expires.", seconds_left(end));
        }
        let numbered = |kind: &'static str, list: &[ca::Certificate]| {
            let ends: Vec<u64> = list.iter().map(|one| one.validity().not_after.as_secs()).collect();
            let label = move |at: usize| format!("certificate=\"{kind}\",number=\"{}\"", at + 1);
            ends.into_iter().enumerate().map(move |(at, end)| (label(at), end))
        };
        let serving = self.identity.stats.serving_expiry.get();
        let serving = serving.map(|end| ("certificate=\"serving\",number=\"1\"".to_owned(), end));
        let days: Vec<(String, String)> = numbered("root", roots)
            .chain(numbered("intermediate", between))
            .chain(serving)
            .map(|(labels, end)| (labels, format!("{:.3}", seconds_left(end) as f64 / 86_400.0)))
            .collect();
        let days: Vec<(&str, &dyn Display)> =
            days.iter().map(|(labels, left)| (labels.as_str(), left as &dyn Display)).collect();
        out.metric(
            "pilothouse_certificate_days_left",
            "gauge",
            "Days until a certificate expires: roots, intermediates, and the serving certificate.",
            &days,
        );
    }
}

impl Metrics {
    fn status(&self, out: &mut Text) {
        let stats = &self.status;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let both = [&stats.addresses, &stats.conditions];
        type Read = fn(&WriterStats) -> u64;
        let columns: [(&str, &str, &str, Read); 5] = [
            ("pilothouse_status_leader", "gauge", "Whether this replica writes them.", |s| {
                u64::from(s.is_leader.load(Ordering::Relaxed))
            }),
            ("pilothouse_status_writes_total", "counter", "Statuses written.", |s| {
                s.written.load(Ordering::Relaxed)
            }),
            (
                "pilothouse_status_unchanged_total",
                "counter",
                "Statuses looked at that were right already.",
                |s| s.unchanged.load(Ordering::Relaxed),
            ),
            (
                "pilothouse_status_failures_total",
                "counter",
                "Requests for statuses that failed; most are tried again.",
                |s| s.failed.load(Ordering::Relaxed),
            ),
            ("pilothouse_status_waiting", "gauge", "Objects whose status waits to be looked at.", |s| {
                s.waiting.load(Ordering::Relaxed)
            }),
        ];
        for (name, kind, help, of) in columns {
            let values = both.map(of);
            let samples: [(&str, &dyn Display); 2] =
                [("what=\"addresses\"", &values[0]), ("what=\"conditions\"", &values[1])];
            out.metric(name, kind, help, &samples);
        }
        out.counter(
            "pilothouse_address_conflicts_total",
            "Automatic addresses with two claims.",
            read(&stats.address_conflicts),
        );
        out.gauge(
            "pilothouse_address_short",
            "ServiceEntries with a host for which no address is left.",
            read(&stats.without_address),
        );
    }
}

/// The process as the kernel and the allocator see it.
fn process(out: &mut Text) {
    if epoch::advance().is_ok()
        && let (Ok(allocated), Ok(resident)) = (stats::allocated::read(), stats::resident::read())
    {
        out.gauge("pilothouse_heap_allocated_bytes", "Bytes that the program holds.", allocated);
        out.gauge("pilothouse_heap_resident_bytes", "Bytes that the allocator holds.", resident);
    }
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name may hold spaces; what follows its closing bracket does not.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let field = |n: usize| fields.split_whitespace().nth(n).and_then(|v| v.parse::<u64>().ok());
    // Fields 14, 15 (ticks of 1/100 s), 23 (bytes) and 24 (pages of 4 KiB) of proc(5), which counts from 1.
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        out.counter("process_cpu_seconds_total", "CPU time spent.", (user + system) as f64 / 100.0);
    }
    if let (Some(virtual_bytes), Some(pages)) = (field(20), field(21)) {
        out.gauge("process_virtual_memory_bytes", "Virtual memory.", virtual_bytes);
        out.gauge("process_resident_memory_bytes", "Resident memory.", pages * 4096);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("process_open_fds", "Open file descriptors.", descriptors.count());
    }
}
