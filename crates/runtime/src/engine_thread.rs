//! The engine thread: the only writer of the mesh.
//!
//! ```text
//! sources ──batches──▶ thread: apply ▸ encode ▸ publish ──watch──▶ streams
//!                        ▲   └──────────────▶ subscribers: events, nodes, names of what changed
//! debug, dump ──query────┘
//! ```
//!
//! The thread takes whatever is waiting as one commit and publishes it at once. There is no timer:
//! an idle system publishes a change when it arrives; while a busy one commits, the next batch grows.

use crate::latency;
use crate::log::{Commit, EventCounts, MeshLog};
use cluster::{Batch, Batches};
use mesh::Options;
use model::Event;
use plane::{Delta, Plane};
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use xds::{ResourceType, Snapshot, Writer};

/// How many batches may wait; more hold their sources back.
const MAX_BATCHES: usize = 64;
/// How many events one commit takes at most, so that a commit stays within its memory.
const MAX_EVENTS: usize = 200_000;

/// The published state; `None` until everything has been listed once.
pub type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// Called for each commit, on the engine thread: it must neither block nor take long.
pub trait Subscriber: Send {
    /// Sees the events of a commit before the mesh does.
    fn received(&mut self, _events: &[Event]) {}

    /// Sees what a commit changed before the snapshot of this step is published; only once everything has
    /// been listed. `arrived` is when a source learned of the first of its events.
    fn publishing(&mut self, _step: u64, _arrived: Instant, _mesh: &Plane, _delta: &Delta) {}

    /// Sees what a commit changed after it was published.
    fn published(&mut self, _delta: &Delta) {}
}

type Query = Box<dyn FnOnce(&Plane) + Send>;

/// Counters and latencies of the engine thread.
#[derive(Debug)]
pub struct EngineStats {
    /// Commits so far.
    pub commits: AtomicU64,
    /// Events taken so far.
    pub events: AtomicU64,
    /// Resources published or removed so far.
    pub resources: AtomicU64,
    /// Time spent in commits, in nanoseconds.
    pub busy_nanos: AtomicU64,
    /// Seconds that a commit takes, from the first event taken to the published snapshot.
    pub commit_seconds: Histogram,
    /// Seconds from the arrival of a batch at its source until it is published.
    pub publish_seconds: Histogram,
}

impl Default for EngineStats {
    fn default() -> Self {
        Self {
            commits: AtomicU64::default(),
            events: AtomicU64::default(),
            resources: AtomicU64::default(),
            busy_nanos: AtomicU64::default(),
            commit_seconds: latency::histogram(),
            publish_seconds: latency::histogram(),
        }
    }
}

/// A handle to the engine thread.
#[derive(Clone)]
pub struct EngineHandle {
    batches: Batches,
    queries: mpsc::Sender<Query>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    stats: Arc<EngineStats>,
    log: Arc<MeshLog>,
}

impl EngineHandle {
    /// Starts the engine thread. It ends when every `EngineHandle` and every sender is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(options: Options) -> std::io::Result<Self> {
        Self::start_with(options, Vec::new())
    }

    /// Starts the engine thread with subscribers, which it calls in this order.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_with(options: Options, subscribers: Vec<Box<dyn Subscriber>>) -> std::io::Result<Self> {
        let (batches, events) = mpsc::channel(MAX_BATCHES);
        let (queries, queried) = mpsc::channel(MAX_BATCHES);
        let (publish, snapshots) = watch::channel(None);
        let (stats, log) = (Arc::new(EngineStats::default()), Arc::new(MeshLog::default()));
        let engine = Engine {
            mesh: Plane::new(&options).awaiting_settings(),
            writer: Writer::new(),
            subscribers,
            publish,
            stats: stats.clone(),
            log: log.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || runtime.block_on(engine.run(events, queried)))?;
        Ok(Self { batches, queries, snapshots, stats, log })
    }

    /// Returns where sources send their batches.
    pub fn batches(&self) -> Batches {
        self.batches.clone()
    }

    /// Returns the published state: `None` until everything has been listed once.
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Returns the log of the mesh, which also counts findings.
    pub fn log(&self) -> &Arc<MeshLog> {
        &self.log
    }

    /// Runs a query on the mesh between two commits; `None` when the engine has ended.
    pub async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Plane) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let query = Box::new(move |mesh: &Plane| {
            // The caller may have gone away.
            let _ = answer.send(query(mesh));
        });
        self.queries.send(query).await.ok()?;
        answered.await.ok()
    }
}

struct Engine {
    mesh: Plane,
    writer: Writer,
    subscribers: Vec<Box<dyn Subscriber>>,
    publish: watch::Sender<Option<Arc<Snapshot>>>,
    stats: Arc<EngineStats>,
    log: Arc<MeshLog>,
}

impl Engine {
    async fn run(mut self, mut batches: mpsc::Receiver<Batch>, mut queries: mpsc::Receiver<Query>) {
        loop {
            tokio::select! {
                biased;
                batch = batches.recv() => match batch {
                    Some(batch) => self.commit(batch, &mut batches),
                    None => return,
                },
                Some(query) = queries.recv() => query(&self.mesh),
            }
        }
    }

    fn commit(&mut self, first: Batch, batches: &mut mpsc::Receiver<Batch>) {
        let begin = Instant::now();
        let (mut events, mut arrivals) = (first.events, vec![first.arrived]);
        while events.len() < MAX_EVENTS
            && let Ok(more) = batches.try_recv()
        {
            events.extend(more.events);
            arrivals.push(more.arrived);
        }
        // Each source sends in order; among several one may have waited longer.
        let arrived = arrivals.iter().copied().min().unwrap_or(begin);
        let (count, kinds) = (events.len(), EventCounts::of(&events));
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.received(&events));
        let delta = self.mesh.apply(events);
        self.write(&delta);
        let was_ready = self.publish.borrow().is_some();
        if self.mesh.is_synced() {
            let snapshot = self.writer.publish();
            let step = snapshot.step();
            self.subscribers
                .iter_mut()
                .for_each(|subscriber| subscriber.publishing(step, arrived, &self.mesh, &delta));
            self.publish.send_replace(Some(snapshot));
            let now = Instant::now();
            for arrived in arrivals {
                let waited = now.saturating_duration_since(arrived);
                self.stats.publish_seconds.observe(waited.as_secs_f64());
            }
        }
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.published(&delta));
        let took = begin.elapsed();
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.stats.events.fetch_add(count as u64, Ordering::Relaxed);
        self.stats.resources.fetch_add(delta.resources.len() as u64, Ordering::Relaxed);
        self.stats.busy_nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.stats.commit_seconds.observe(took.as_secs_f64());
        self.tell(&delta, count, &kinds, took, was_ready);
    }

    fn write(&mut self, delta: &Delta) {
        for change in &delta.resources {
            let (scope, kind) = (&change.scope, change.resource_type);
            match &change.body {
                None => {
                    self.writer.remove(scope, kind, &change.name);
                }
                Some(_) if change.resend => {
                    self.writer.resend(scope, kind, &change.name);
                }
                Some(body) => {
                    if let Err(error) = self.writer.put_shared(scope, kind, &change.name, body, change.needs)
                    {
                        tracing::error!(name = change.name, %error, "a resource cannot be sent; its last version stays");
                    }
                }
            }
        }
    }

    fn tell(&self, delta: &Delta, events: usize, kinds: &EventCounts, took: Duration, was_ready: bool) {
        let waits_for = if self.mesh.is_synced() || !self.mesh.missing().is_empty() {
            None
        } else {
            self.mesh.unusable()
        };
        self.log.waits_for(waits_for);
        self.log.found(&delta.findings);
        if !was_ready {
            if self.mesh.is_synced() {
                let (addresses, policies) = self.publish.borrow().as_ref().map_or((0, 0), |s| {
                    (s.mesh().len(ResourceType::Address), s.mesh().len(ResourceType::Authorization))
                });
                tracing::info!(addresses, policies, "ready: every kind is listed, the mesh is served");
            } else {
                tracing::debug!(events, ?took, "listing");
            }
        } else if !delta.is_empty() {
            self.log.committed(&Commit {
                resources: &delta.resources,
                events: kinds,
                event_count: events,
                took,
            });
        } else {
            tracing::debug!(events, ?took, "no resource changed");
        }
    }
}
