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
mod apply;
mod changes;
mod conditions;
mod distribution;
mod election;
mod lock;
mod queue;
mod stats;
mod tracker;
mod writer;

pub use changes::Changes;
pub use election::{Election, Record, Term};
pub use stats::{StatusStats, WriterStats};
pub use tracker::Pace;

use crate::grpc::Clients;
use crate::pump::Pump;
use kube::Client;
use lock::{Candidate, Lock};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
    /// The times of the locks.
    pub term: Term,
    /// When everything is looked at again after something could not be written.
    pub again: Duration,
    /// How often nodes are asked how far they have come with policies, and how often that is written.
    pub pace: Pace,
}

/// Writes statuses until `stop`; begins once the mesh is served, since nothing is known before.
/// `clients` are those of this replica, which tell how far the nodes have come.
pub async fn run(
    client: Client,
    pump: Pump,
    clients: Clients,
    settings: StatusSettings,
    stop: CancellationToken,
) {
    let mut snapshots = pump.snapshots();
    let is_served = tokio::select! {
        served = snapshots.wait_for(Option::is_some) => served.is_ok(),
        () = stop.cancelled() => false,
    };
    if !is_served {
        return;
    }
    let candidate = |lock, duty| {
        let key = if settings.revision.is_empty() { "default" } else { &settings.revision };
        let (leads, watched) = watch::channel(false);
        let candidate = Candidate {
            lock,
            namespace: settings.namespace.clone(),
            election: Election::new(settings.identity.clone(), key.to_owned(), settings.term),
            retry: settings.term.retry,
            duty,
            leads,
        };
        (candidate, watched)
    };
    let lease = Lock::lease(client.clone(), &settings.namespace, lock::CONDITIONS);
    let map = Lock::config_map(client.clone(), &settings.namespace, lock::ADDRESSES);
    let (for_conditions, leads_conditions) = candidate(lease, "writes conditions");
    let (for_addresses, leads_addresses) = candidate(map, "gives addresses");
    let stats = pump.status_stats();
    let conditions = while_leading(leads_conditions, &stats.conditions, || {
        conditions::write(client.clone(), pump.clone(), clients.clone(), settings.again, settings.pace)
    });
    let addresses = while_leading(leads_addresses, &stats.addresses, || {
        addresses::write(client.clone(), pump.clone(), settings.pools, settings.again)
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
    mut leads: watch::Receiver<bool>,
    stats: &WriterStats,
    work: impl Fn() -> W,
) {
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        stats.leads.store(true, Ordering::Relaxed);
        let has_lost = tokio::select! {
            biased;
            lost = leads.wait_for(|leads| !*leads) => lost.is_ok(),
            () = work() => false,
        };
        stats.leads.store(false, Ordering::Relaxed);
        stats.waiting.store(0, Ordering::Relaxed);
        if !has_lost {
            return;
        }
    }
}
