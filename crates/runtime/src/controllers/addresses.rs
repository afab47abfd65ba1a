//! The writer of automatic addresses: everything once when this replica begins to lead, then what
//! changes.

use super::StatusSettings;
use super::changes::{Changes, Look};
use super::stats::StatusStats;
use super::status::{Stored, Wanted};
use crate::engine_thread::EngineHandle;
use cluster::{StatusWriter, list_statuses};
use kube::Client;
use mesh::{AddressTrouble, Allocator};
use model::{Kind, Name, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};

/// How many hosts without an address are named in the log; the metric counts the others.
const SAID: usize = 20;

/// Gives addresses until the future is dropped, which is when this replica no longer leads, or the
/// engine has ended.
pub(super) async fn write(
    client: &Client,
    engine: &EngineHandle,
    changes: &Changes,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let again = settings.again;
    let mut writer = StatusWriter::new(client.clone(), &stats.addresses);
    let mut allocator = Allocator::new(settings.pools);
    let mut told = BTreeSet::new();
    let _noting = changes.open_entries();
    let mut look = Some(Instant::now());
    loop {
        if writer.has_given_up() && look.is_none() {
            look = Some(Instant::now() + again);
        }
        let due = async {
            match look {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            biased;
            () = due => Look::Everywhere,
            found = changes.entries() => found,
            () = writer.process() => continue,
        };
        let is_everywhere = found == Look::Everywhere;
        match found {
            Look::Everywhere => {
                look = None;
                let Some(requests) = engine.ask(plane::Plane::address_requests).await else { return };
                // Entries that went are noted one by one, and their addresses rest while this replica leads.
                requests.into_iter().for_each(|request| allocator.put(request));
            }
            Look::At(entries) => {
                let ask = move |mesh: &plane::Plane| {
                    let each = entries.into_iter().map(|entry| (mesh.address_request(&entry), entry));
                    each.collect::<Vec<_>>()
                };
                let Some(requests) = engine.ask(ask).await else { return };
                for (request, entry) in requests {
                    match request {
                        Some(request) => allocator.put(request),
                        None => allocator.remove(&entry),
                    }
                }
            }
        }
        let (assignments, troubles) = allocator.assign();
        // Many at once are read at once.
        let known =
            if is_everywhere && !assignments.is_empty() { read(client).await } else { BTreeMap::new() };
        for assignment in assignments {
            let known = known.get(&assignment.entry).cloned();
            let object = ObjectRef { kind: Kind::ServiceEntry, name: assignment.entry };
            let wanted = Wanted::Addresses { held: assignment.held, wanted: assignment.wanted };
            writer.add(object, wanted, known);
        }
        let (_, short) = allocator.usage();
        report(troubles, short, stats, &mut told);
    }
}

/// Reads the statuses of all entries; what cannot be read now is read one by one.
async fn read(client: &Client) -> BTreeMap<Name, Arc<Stored>> {
    let mut all = BTreeMap::new();
    let add = |stored: Stored| {
        let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
        all.insert(name, Arc::new(stored));
    };
    if let Err(error) = list_statuses(client, Kind::ServiceEntry, add).await {
        tracing::debug!("cannot read all statuses at once: {error}");
    }
    all
}

/// Counts and tells what went wrong; `short` entries have a host that found no address.
fn report(
    troubles: Vec<AddressTrouble>,
    short: usize,
    stats: &StatusStats,
    told: &mut BTreeSet<AddressTrouble>,
) {
    stats.short.store(short as u64, Ordering::Relaxed);
    if short == 0 {
        told.clear();
    }
    for trouble in troubles {
        match &trouble {
            AddressTrouble::Conflict { .. } => {
                stats.conflicts.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{trouble}");
            }
            AddressTrouble::Exhausted { .. } if told.len() < SAID && told.insert(trouble.clone()) => {
                tracing::warn!("{trouble}");
            }
            AddressTrouble::Exhausted { .. } => {}
        }
    }
}
