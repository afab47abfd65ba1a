//! Metrics in the text format of Prometheus, gathered when they are asked for.
//!
//! Names are those of the reference wherever dashboards use them; its counters carry no `_total`.
//! No label is unbounded: never a pod, an address or a policy.

use crate::grpc::Clients;
use crate::pump::Pump;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tikv_jemalloc_ctl::{epoch, stats};

/// What a scrape reads.
#[derive(Clone)]
pub struct Metrics {
    pump: Pump,
    clients: Clients,
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

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, &[("", &value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help, &[("", &value)]);
    }
}

impl Metrics {
    /// Gathers from these parts.
    pub fn new(pump: Pump, clients: Clients) -> Self {
        Self { pump, clients, started: Instant::now() }
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
        let mut pushes: BTreeMap<&str, u64> = BTreeMap::from([("wads", 0), ("wds", 0)]);
        let mut rejects = pushes.clone();
        for client in self.clients.list() {
            for of in client.stats.types {
                let short = if of.type_url == proto::type_url::AUTHORIZATION { "wads" } else { "wds" };
                *pushes.entry(short).or_default() += of.responses;
                *rejects.entry(short).or_default() += of.nacks;
            }
        }
        let samples = |of: &BTreeMap<&str, u64>| -> Vec<(String, u64)> {
            of.iter().map(|(t, n)| (format!("type=\"{t}\""), *n)).collect()
        };
        for (name, help, of) in [
            ("pilot_xds_pushes", "Responses to the clients that are connected, by type.", &pushes),
            ("pilot_total_xds_rejects", "Refusals by the clients that are connected, by type.", &rejects),
        ] {
            let list = samples(of);
            let list: Vec<(&str, &dyn Display)> =
                list.iter().map(|(l, n)| (l.as_str(), n as &dyn Display)).collect();
            out.metric(name, "gauge", help, &list);
        }
    }

    async fn engine(&self, out: &mut Text) {
        let stats = self.pump.stats();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.counter("pilothouse_commits_total", "Commits of the engine.", read(&stats.commits));
        out.counter("pilothouse_events_total", "Events taken from sources.", read(&stats.events));
        out.counter("pilothouse_resources_total", "Resources published or removed.", read(&stats.resources));
        out.counter("pilot_total_rejected_configs", "Objects refused.", read(&stats.rejected));
        let busy = read(&stats.busy_nanos) as f64 / 1e9;
        out.counter("pilothouse_commit_seconds_total", "Time spent in commits.", busy);
        let Some(tables) = self.pump.ask(mesh::Mesh::stats).await else { return };
        type Read = fn(&mesh::StageStats) -> u64;
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
