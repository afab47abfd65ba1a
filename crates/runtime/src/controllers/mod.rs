//! What is written into the cluster: conditions and automatic addresses, by one elected replica each.
//!
//! ```text
//!             clients: who answered ──▶┐
//! engine ──names──▶ Changes ──▶ conditions ┐            ┌─ GET status
//!                          └──▶ addresses  ┴▶ Writer ───┤
//!                                 ▲                     └─ apply, if it is not as it should be
//!            lock ──▶ election ───┘ while this replica leads
//! ```
//!
//! - Nothing here is on the way of what clients are sent. The engine notes names and goes on; without
//!   a leader, without rights, without an API server the mesh is served all the same.
//! - A status is read before it is written, and written only if its content differs and only over the
//!   version that was read: no write is in vain, and nobody else's is undone.
//! - The locks, their times and the field managers of conditions are those of the reference, so that
//!   its replicas and ours take turns rather than fight. A live lock is never taken from its holder.
//! - Who begins to lead compares everything in the cluster first; a replica that does not lead keeps
//!   nothing.

mod addresses;
mod changes;
pub mod roots;
mod stats;
mod status;

pub use changes::Changes;
pub use stats::StatusStats;
pub use status::Pace;

use crate::engine_thread::EngineHandle;
use cluster::{Candidate, Election, LeaseTimings, Lock, WriterStats};
use kube::Client;
use server::Clients;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The lock of conditions; the reference uses the same.
const CONDITIONS: &str = "istio-status-leader";
/// The lock of automatic addresses; the reference uses the same.
const ADDRESSES: &str = "istio-ip-autoallocate";

/// When everything is looked at again after something could not be written, unless told otherwise.
pub const AGAIN: Duration = Duration::from_secs(60);

/// Who takes part in the elections, and where.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// The name of this replica, unlike that of any other.
    pub identity: String,
    /// The revision; empty stands for `default`.
    pub revision: String,
    /// The namespace of the locks.
    pub namespace: String,
    /// Whether ServiceEntries get addresses from here.
    pub allocates_addresses: bool,
    /// Which.
    pub pools: mesh::Pools,
    /// The timings of the locks.
    pub timings: LeaseTimings,
    /// When everything is looked at again after something could not be written.
    pub again: Duration,
    /// How often nodes are asked how far they have come with policies, and how often that is written.
    pub pace: Pace,
}

/// What writes statuses, ready to run.
pub struct Controllers {
    /// The way to the API server.
    pub client: Client,
    /// Knows what statuses should hold.
    pub engine: EngineHandle,
    /// The clients of this replica, which tell how far the nodes have come.
    pub clients: Clients,
    /// What changed, as the engine thread tells.
    pub changes: Arc<Changes>,
    /// The counters.
    pub stats: Arc<StatusStats>,
    /// Who takes part in the elections, and where.
    pub settings: StatusSettings,
}

impl Controllers {
    /// Writes statuses until `stop`; begins once the mesh is served, since nothing is known before.
    pub async fn run(self, stop: CancellationToken) {
        run(self, stop).await;
    }
}

async fn run(controllers: Controllers, stop: CancellationToken) {
    let Controllers { client, engine, clients, changes, stats, settings } = controllers;
    let mut snapshots = engine.snapshots();
    let is_served = tokio::select! {
        served = snapshots.wait_for(Option::is_some) => served.is_ok(),
        () = stop.cancelled() => false,
    };
    if !is_served {
        return;
    }
    let candidate = |lock, task| {
        let key = if settings.revision.is_empty() { "default" } else { &settings.revision };
        let (is_leader, watched) = watch::channel(false);
        let candidate = Candidate {
            lock,
            namespace: settings.namespace.clone(),
            election: Election::new(settings.identity.clone(), key.to_owned(), settings.timings),
            retry_period: settings.timings.retry_period,
            task,
            is_leader,
        };
        (candidate, watched)
    };
    let lease = Lock::lease(client.clone(), &settings.namespace, CONDITIONS);
    let map = Lock::config_map(client.clone(), &settings.namespace, ADDRESSES);
    let (for_conditions, leads_conditions) = candidate(lease, "writes conditions");
    let (for_addresses, leads_addresses) = candidate(map, "gives addresses");
    let conditions = while_leading(leads_conditions, &stats.conditions, || {
        status::write(&client, &engine, &clients, &changes, &stats, &settings)
    });
    let addresses = while_leading(leads_addresses, &stats.addresses, || {
        addresses::write(&client, &engine, &changes, &stats, &settings)
    });
    let writers = async {
        tokio::join!(conditions, addresses);
    };
    let candidates = async {
        let addresses = async {
            // Who is no candidate leads nobody: the writer ends with it.
            if settings.allocates_addresses {
                for_addresses.run(&stats.addresses, stop.clone()).await;
            }
        };
        tokio::join!(for_conditions.run(&stats.conditions, stop.clone()), addresses);
    };
    tokio::select! {
        () = candidates => {}
        // They end when the engine has ended.
        () = writers => {}
    }
}

/// Does `work` whenever this replica leads, and drops it at once when it no longer does.
async fn while_leading<W: Future<Output = ()>>(
    mut is_leader: watch::Receiver<bool>,
    stats: &WriterStats,
    work: impl Fn() -> W,
) {
    loop {
        if is_leader.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        stats.is_leader.store(true, Ordering::Relaxed);
        let has_lost = tokio::select! {
            biased;
            lost = is_leader.wait_for(|leads| !*leads) => lost.is_ok(),
            () = work() => false,
        };
        stats.is_leader.store(false, Ordering::Relaxed);
        stats.waiting.store(0, Ordering::Relaxed);
        if !has_lost {
            return;
        }
    }
}
