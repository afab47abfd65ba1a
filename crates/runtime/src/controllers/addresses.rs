//! The controller of automatic addresses: everything once when this replica becomes the leader, then what
//! changes.

use super::changes::{Changed, ChangedObjects};
use super::settings::StatusSettings;
use super::stats::StatusStats;
use super::status::{Desired, Stored};
use crate::engine_thread::EngineHandle;
use cluster::{Lane, ObjectClient, StatusWriter};
use kube::Client;
use mesh::{AddressProblem, Allocator};
use model::{Kind, Name, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};

/// How many hosts without an address are named in the log; the metric counts the others.
const MAX_LOGGED: usize = 20;

/// Allocates addresses until the future is dropped, which is when this replica no longer leads, or the
/// engine has ended.
pub(super) async fn run(
    client: &Client,
    engine: &EngineHandle,
    changes: &ChangedObjects,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let client = ObjectClient::new(client.clone());
    let mut writer = StatusWriter::new(client.clone(), &stats.addresses);
    let mut allocator = Allocator::new(settings.pools);
    let mut logged = BTreeSet::new();
    let _recording = changes.record_service_entries();
    let mut resync = Some(Instant::now());
    loop {
        if writer.has_given_up() && resync.is_none() {
            resync = Some(Instant::now() + settings.resync_delay);
        }
        let due = async {
            match resync {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            biased;
            () = due => Changed::All,
            changed = changes.next_service_entries() => changed,
            () = writer.process() => continue,
        };
        let is_resync = changed == Changed::All;
        match changed {
            Changed::All => {
                resync = None;
                let Some(requests) = engine.query(plane::Plane::address_requests).await else { return };
                // Entries that were deleted are recorded one by one, and their addresses are not given to others
                // while this replica leads.
                requests.into_iter().for_each(|request| allocator.put(request));
            }
            Changed::Keys(entries) => {
                let requests_of = move |mesh: &plane::Plane| {
                    let each = entries.into_iter().map(|(entry, _)| (mesh.address_request(&entry), entry));
                    each.collect::<Vec<_>>()
                };
                let Some(requests) = engine.query(requests_of).await else { return };
                for (request, entry) in requests {
                    match request {
                        Some(request) => allocator.put(request),
                        None => allocator.remove(&entry),
                    }
                }
            }
        }
        let (assignments, problems) = allocator.assign();
        // Many statuses are read by one list.
        let stored = if is_resync && !assignments.is_empty() { list(&client).await } else { BTreeMap::new() };
        let lane = Lane::of(assignments.len());
        for assignment in assignments {
            let stored = stored.get(&assignment.entry).cloned();
            let object = ObjectRef { kind: Kind::ServiceEntry, name: assignment.entry };
            let desired = Desired::Addresses { held: assignment.held, desired: assignment.wanted };
            writer.add(object, desired, stored, lane);
        }
        let (_, without_address) = allocator.usage();
        report(problems, without_address, stats, &mut logged);
    }
}

/// Lists the statuses of all entries; what cannot be listed now is read one by one.
async fn list(client: &ObjectClient) -> BTreeMap<Name, Arc<Stored>> {
    let mut all = BTreeMap::new();
    let add = |stored: Stored| {
        let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
        all.insert(name, Arc::new(stored));
    };
    if let Err(error) = client.list(Kind::ServiceEntry, add).await {
        tracing::debug!("cannot list the statuses: {error}");
    }
    all
}

/// Counts and logs problems of the allocation.
fn report(
    problems: Vec<AddressProblem>,
    without_address: usize,
    stats: &StatusStats,
    logged: &mut BTreeSet<AddressProblem>,
) {
    stats.without_address.store(without_address as u64, Ordering::Relaxed);
    if without_address == 0 {
        logged.clear();
    }
    for problem in problems {
        match &problem {
            AddressProblem::Conflict { .. } => {
                stats.address_conflicts.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{problem}");
            }
            AddressProblem::Exhausted { .. }
                if logged.len() < MAX_LOGGED && logged.insert(problem.clone()) =>
            {
                tracing::warn!("{problem}");
            }
            AddressProblem::Exhausted { .. } => {}
        }
    }
}
