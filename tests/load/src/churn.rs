//! Changes pods at a fixed rate while the streams watch.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::args::{Change, Kind};
use crate::cluster::Cluster;
use crate::feed::Feeds;
use crate::ledger::{Expected, Ledger, Ticket};
use crate::mesh::{Mesh, PodId};
use crate::process::Meter;
use crate::report::Churn;

/// Changes pods for the time given, waits for the last ones, and tells how that went.
///
/// # Errors
/// If the mesh has no pods, or every change was refused.
pub async fn measure(
    cluster: &Cluster,
    mesh: &Mesh,
    feeds: &Feeds,
    ledger: &Arc<Ledger>,
    change: &Change,
    meter: Meter,
) -> anyhow::Result<Churn> {
    let before: u64 = feeds.now().iter().map(|one| one.bytes).sum();
    ledger.open();
    let begun = Instant::now();
    let mut made = JoinSet::new();
    let slots = Arc::new(Semaphore::new(cluster.in_flight));
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / change.rate));
    // a late tick is made up for: the rate is what was asked, or as much as the server takes
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // a run's marks differ from those of the run before, or its first changes would change nothing
    let salt = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as u32;
    let run = Run {
        cluster: cluster.clone(),
        mesh: mesh.clone(),
        ledger: Arc::clone(ledger),
        kind: change.change,
        salt,
    };
    let run = Arc::new(run);
    let mut refusal = None;
    let mut count = 0;
    for number in 0_u32.. {
        ticks.tick().await;
        if begun.elapsed() >= change.duration {
            break;
        }
        let id = mesh.pod_at(number as usize).context("the mesh has no pods to change")?;
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let one = One { run: Arc::clone(&run), id, number };
        made.spawn(async move {
            let outcome = one.make().await;
            drop(slot);
            outcome
        });
        count = number + 1;
        while let Some(done) = made.try_join_next() {
            refusal = done?.err().or(refusal);
        }
    }
    while let Some(done) = made.join_next().await {
        refusal = done?.err().or(refusal);
    }
    let seconds = begun.elapsed().as_secs_f64();
    ledger.drain(change.drain).await;
    let process = meter.finish();
    let propagation = ledger.propagation();
    run.restore(count).await;
    if let Some(error) = &refusal {
        eprintln!(
            "{} of {} changes were refused, such as: {error:#}",
            propagation.failed, propagation.changes
        );
    }
    if propagation.failed == propagation.changes {
        return Err(refusal.unwrap_or_else(|| anyhow::anyhow!("no change was made")))
            .context("every change failed");
    }
    let now = feeds.now();
    Ok(Churn {
        change: format!("{:?}", change.change).to_lowercase(),
        asked_per_second: change.rate,
        changes_per_second: propagation.changes as f64 / seconds,
        seconds,
        sampled_streams: ledger.streams(),
        lost_streams: now.iter().filter(|one| one.error.is_some()).count(),
        bytes: now.iter().map(|one| one.bytes).sum::<u64>() - before,
        propagation,
        process,
    })
}

/// What the changes of a run have in common.
struct Run {
    cluster: Cluster,
    mesh: Mesh,
    ledger: Arc<Ledger>,
    kind: Kind,
    salt: u32,
}

/// One change.
struct One {
    run: Arc<Run>,
    id: PodId,
    number: u32,
}

impl Run {
    /// Whether change `number` sets its pod ready: every pass over the mesh flips all pods, the
    /// first to "not ready".
    fn sets_ready(&self, number: u32) -> bool {
        (number as usize / self.mesh.pod_count().max(1)) % 2 == 1
    }

    fn new_name(&self, number: u32) -> String {
        format!("new-{:x}-{number}", self.salt)
    }

    /// How many new pods live before the oldest is deleted: more than are just being made.
    fn alive(&self) -> u32 {
        self.cluster.in_flight as u32 * 2 + 20
    }

    /// Brings the mesh back to what the next run expects: pods ready, and none that are new.
    async fn restore(&self, count: u32) {
        let last = match self.kind {
            Kind::Ip => 0,
            Kind::Ready => count.min(self.mesh.pod_count() as u32),
            Kind::Replace => count.min(self.alive()),
        };
        let restored = futures::stream::iter(count - last..count).map(|number| async move {
            let id = self.mesh.pod_at(number as usize)?;
            let space = self.mesh.namespace(id.namespace);
            let path = format!("/api/v1/namespaces/{space}/pods");
            let outcome = match self.kind {
                Kind::Replace => self.cluster.delete(&format!("{path}/{}", self.new_name(number))).await,
                _ if self.sets_ready(number) => Ok(()),
                _ => {
                    let status = json!({"status": Mesh::status(self.mesh.pod_ip(id), true)});
                    let path = format!("{path}/{}/status", Mesh::pod_name(id));
                    self.cluster.patch(&path, &status).await.map(drop)
                }
            };
            outcome.err()
        });
        let failed: Vec<_> = restored.buffer_unordered(self.cluster.in_flight).collect().await;
        if let Some(error) = failed.into_iter().flatten().next() {
            eprintln!("the mesh is not as it was before: {error:#}");
        }
    }
}

impl One {
    async fn make(&self) -> anyhow::Result<()> {
        let space = self.run.mesh.namespace(self.id.namespace);
        let name = Mesh::pod_name(self.id);
        match self.run.kind {
            Kind::Ip => self.set_running(&space, &name).await,
            Kind::Ready => {
                let ready = self.run.sets_ready(self.number);
                let status = Mesh::status(self.run.mesh.pod_ip(self.id), ready);
                self.set_status(&space, &name, &status, Expected::Ready(ready)).await
            }
            Kind::Replace => self.replace(&space).await,
        }
    }

    /// Creates a pod and sets it running; deletes one that was created a while ago.
    async fn replace(&self, space: &str) -> anyhow::Result<()> {
        let Run { cluster, mesh, .. } = &*self.run;
        let name = self.run.new_name(self.number);
        let pods = format!("/api/v1/namespaces/{space}/pods");
        cluster.create(&pods, &mesh.pod_named(self.id, &name)).await?;
        self.set_running(space, &name).await?;
        let Some(old) = self.number.checked_sub(self.run.alive()) else { return Ok(()) };
        let id = mesh.pod_at(old as usize).context("the mesh has no pods to change")?;
        let (space, name) = (mesh.namespace(id.namespace), self.run.new_name(old));
        let ticket = self.run.ledger.begin(&format!("{space}/{name}"), Expected::Gone, Instant::now());
        let outcome = cluster.delete(&format!("/api/v1/namespaces/{space}/pods/{name}")).await;
        self.settle(&ticket, outcome)
    }

    async fn set_running(&self, space: &str, name: &str) -> anyhow::Result<()> {
        // 24 bits stay in the range of moved addresses
        let ip = Mesh::moved_ip(((self.run.salt % 251) << 16).wrapping_add(self.number) % (1 << 24));
        self.set_status(space, name, &Mesh::status(ip, true), Expected::Address(IpAddr::V4(ip))).await
    }

    async fn set_status(
        &self,
        space: &str,
        name: &str,
        status: &Value,
        expected: Expected,
    ) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{space}/pods/{name}/status");
        let body = json!({"status": status});
        let ticket = self.run.ledger.begin(&format!("{space}/{name}"), expected, Instant::now());
        let outcome = self.run.cluster.patch(&path, &body).await.map(drop);
        self.settle(&ticket, outcome)
    }

    fn settle(&self, ticket: &Ticket, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        match outcome {
            Ok(()) => self.run.ledger.answer(ticket, Instant::now()),
            Err(_) => self.run.ledger.fail(ticket),
        }
        outcome
    }
}
