//! Metrics in the text format of Prometheus.
//!
//! Latencies are counted as they happen; everything else is read when it is asked for. Names are those of
//! istiod wherever dashboards use them; its counters carry no `_total`. No label is unbounded: never a pod,
//! an address or a policy.

mod controllers;
mod identity;
mod process;
mod samples;
mod webhook;

use crate::controllers::StatusStats;
use crate::engine_thread::EngineHandle;
use crate::refusals::{ActiveRefusals, Refusal};
use crate::source::SourceView;
use crate::webhook::WebhookStats;
use ::identity::IdentityView;
use model::ObjectRef;
use plane::StageStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::registry::Registry;
use samples::Samples;
use server::{Clients, CloseReason, TypeTotals};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a scrape reads.
#[derive(Clone)]
pub struct Metrics {
    engine: EngineHandle,
    clients: Clients,
    source: SourceView,
    identity: IdentityView,
    status: Arc<StatusStats>,
    /// Absent where nobody follows them.
    refusals: Option<ActiveRefusals>,
    webhook: Arc<WebhookStats>,
    started: Instant,
}

impl Metrics {
    /// Gathers from these parts.
    pub fn new(engine: EngineHandle, clients: Clients) -> Self {
        Self {
            engine,
            clients,
            source: SourceView::default(),
            identity: IdentityView::default(),
            status: Arc::default(),
            refusals: None,
            webhook: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Gathers from the source too.
    pub fn with_source(self, source: SourceView) -> Self {
        Self { source, ..self }
    }

    /// Gathers from the secure port too.
    pub fn with_identity(self, identity: IdentityView) -> Self {
        Self { identity, ..self }
    }

    /// Gathers what Envoys refuse too.
    pub fn with_refusals(self, refusals: ActiveRefusals) -> Self {
        Self { refusals: Some(refusals), ..self }
    }

    /// Gathers from the controllers too.
    pub fn with_status(self, status: Arc<StatusStats>) -> Self {
        Self { status, ..self }
    }

    /// Gathers from the webhook too.
    pub fn with_webhook(self, webhook: Arc<WebhookStats>) -> Self {
        Self { webhook, ..self }
    }

    /// Returns all metrics as text.
    pub async fn render(&self) -> String {
        let tables = self.engine.query(plane::Plane::stats).await;
        let mut registry = Registry::default();
        let stats = self.engine.stats();
        registry.register(
            "pilothouse_commit_seconds",
            "Seconds that a commit takes, from the first event taken to the published snapshot",
            stats.commit_seconds.clone(),
        );
        registry.register(
            "pilothouse_publish_seconds",
            "Seconds from the arrival of a batch of events at its source until the snapshot with them is published",
            stats.publish_seconds.clone(),
        );
        self.clients.latencies().register(&mut registry);
        registry.register_collector(Box::new(Scrape { of: self.clone(), tables }));
        let mut text = String::with_capacity(32 * 1024);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &registry);
        samples::typed(&text)
    }
}

/// What is read for one scrape.
struct Scrape {
    of: Metrics,
    /// Absent when the engine has ended.
    tables: Option<Vec<StageStats>>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (out, of) = (&mut Samples(encoder), &self.of);
        let version = env!("CARGO_PKG_VERSION");
        let help = "Version of this control plane.";
        out.gauges("istio_build", help, [([("component", "pilot"), ("tag", version)], 1u64)])?;
        out.gauges("pilot_info", help, [([("version", version)], 1u64)])?;
        out.gauge("istiod_uptime_seconds", "Seconds since the start.", of.started.elapsed().as_secs())?;
        out.gauge(
            "pilothouse_source_problems",
            "Problems that keep the source from reading at the moment.",
            of.source.problems().len(),
        )?;
        clients(out, &of.clients)?;
        refusals(out, of.refusals.as_ref())?;
        engine(out, &of.engine)?;
        tables(out, self.tables.as_deref().unwrap_or_default())?;
        identity::encode(out, &of.identity)?;
        controllers::encode(out, &of.status)?;
        webhook::encode(out, &of.webhook)?;
        process::encode(out)
    }
}

fn clients(out: &mut Samples<'_>, clients: &Clients) -> fmt::Result {
    let totals = clients.totals();
    out.gauges("pilot_xds", "Connected clients.", [([("version", "unknown")], clients.len())])?;
    out.counter("pilothouse_xds_streams_total", "Streams opened.", totals.streams)?;
    out.counter("pilothouse_xds_responses_total", "Responses handed out.", totals.responses)?;
    out.counter("pilothouse_xds_sent_bytes_total", "Bytes of responses handed out.", totals.bytes)?;
    out.counter("pilothouse_xds_acks_total", "Responses acknowledged.", totals.acks)?;
    out.counter(
        "pilot_xds_write_timeout",
        "Connections ended since their client did not read.",
        clients.closed().count(CloseReason::Unread),
    )?;
    out.counters(
        "pilothouse_connections_ended_total",
        "reason",
        "Connections that were ended from here before their time, by why.",
        clients.closed().list(),
    )?;
    out.counters(
        "pilothouse_bound_refusals_total",
        "bound",
        "Clients refused since they wanted more than one may take, by what of.",
        clients.refusals().list(),
    )?;
    out.counters(
        "pilothouse_calls_refused_total",
        "reason",
        "Calls that no port serves, by why: no gRPC, or an unknown method.",
        clients.refusals().calls(),
    )?;
    out.gauges(
        "pilothouse_xds_followed_bytes",
        "Bytes held for what clients follow by name, by kind of clients.",
        clients.followed_bytes().into_iter().map(|(kind, bytes)| ([("clients", kind)], bytes)),
    )?;
    let by_type = |of: fn(TypeTotals) -> u64| totals.by_type().map(move |(name, sums)| (name, of(sums)));
    out.counters("pilot_xds_pushes", "type", "Responses, by type.", by_type(|sums| sums.responses))?;
    out.counters("pilot_total_xds_rejects", "type", "Refusals, by type.", by_type(|sums| sums.nacks))?;
    // As istiod has them, without the labels that are not bounded: what an Envoy says, and which it is.
    for (name, help, types) in REJECTS {
        let of_types = totals.by_type().filter(|(name, _)| types.contains(name));
        out.gauge(name, help, of_types.map(|(_, sums)| sums.nacks).sum::<u64>())?;
    }
    Ok(())
}

/// Refusals of Envoys: the gauges of istiod, which only rise, and of which types; routes go in scopes.
const REJECTS: [(&str, &str, &[&str]); 4] = [
    ("pilot_xds_cds_reject", "Refusals of clusters.", &["cds"]),
    ("pilot_xds_eds_reject", "Refusals of endpoints.", &["eds"]),
    ("pilot_xds_lds_reject", "Refusals of listeners.", &["lds"]),
    ("pilot_xds_rds_reject", "Refusals of routes.", &["rds", "srds"]),
];

/// What Envoys refuse at the moment, and how many objects of which kinds are concerned.
fn refusals(out: &mut Samples<'_>, refusals: Option<&ActiveRefusals>) -> fmt::Result {
    let active = refusals.map(|refusals| Arc::clone(&refusals.borrow())).unwrap_or_default();
    let objects: BTreeSet<ObjectRef> = active.iter().flat_map(Refusal::objects).collect();
    let mut by_kind: BTreeMap<&'static str, usize> = BTreeMap::new();
    objects.iter().for_each(|object| *by_kind.entry(object.kind.name()).or_default() += 1);
    out.gauge(
        "pilothouse_xds_refused_resources",
        "Resources of gateways and waypoints that an Envoy refuses at the moment.",
        active.len(),
    )?;
    out.gauges(
        "pilothouse_xds_refused_objects",
        "Objects of whose making an Envoy refuses something at the moment, by kind.",
        by_kind.into_iter().map(|(kind, count)| ([("kind", kind)], count)),
    )
}

fn engine(out: &mut Samples<'_>, engine: &EngineHandle) -> fmt::Result {
    let stats = engine.stats();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    out.counter("pilothouse_commits_total", "Commits of the engine.", read(&stats.commits))?;
    out.counter("pilothouse_events_total", "Events taken from sources.", read(&stats.events))?;
    out.counter("pilothouse_resources_total", "Resources published or removed.", read(&stats.resources))?;
    out.counter(
        "pilot_total_rejected_configs",
        "Objects, and files, of which a version was refused.",
        engine.log().refused(),
    )?;
    let active = engine.log().active().into_iter();
    out.gauges(
        "pilothouse_diagnostics",
        "Findings that stand, by code and severity.",
        active.map(|(code, severity, count)| {
            ([("code", code.to_owned()), ("severity", severity.to_string())], count)
        }),
    )?;
    let busy = read(&stats.busy_nanos) as f64 / 1e9;
    out.counter("pilothouse_commit_seconds_total", "Time spent in commits.", busy)
}

fn tables(out: &mut Samples<'_>, tables: &[StageStats]) -> fmt::Result {
    // Tables of several kinds have one name, and a scrape may have each series once.
    let by_table = |of: fn(&StageStats) -> u64| {
        let mut sums = BTreeMap::<&'static str, u64>::new();
        for table in tables {
            *sums.entry(table.name).or_default() += of(table);
        }
        sums
    };
    let rows = by_table(|table| table.rows as u64).into_iter().map(|(name, rows)| ([("table", name)], rows));
    out.gauges("pilothouse_table_rows", "Rows of each table.", rows)?;
    out.counters(
        "pilothouse_rows_recomputed_total",
        "table",
        "Rows computed, by table.",
        by_table(|table| table.recomputed),
    )?;
    out.counters(
        "pilothouse_rows_changed_total",
        "table",
        "Rows that became others, by table.",
        by_table(|table| table.changed),
    )?;
    let services = tables.iter().find(|table| table.name == "services_sent").map_or(0, |table| table.rows);
    out.gauge("pilot_services", "Services of the mesh.", services)
}
