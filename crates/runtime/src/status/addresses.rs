//! The writer of automatic addresses: everything once when this replica begins to lead, then what
//! changes.

use super::apply::Wanted;
use super::changes::Look;
use super::stats::{StatusStats, count};
use super::writer::Writer;
use crate::pump::Pump;
use kube::Client;
use mesh::{AddressTrouble, Allocator};
use model::{Kind, ObjectRef};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Gives addresses until the future is dropped, which is when this replica no longer leads, or the
/// engine has ended.
pub(super) async fn write(client: Client, pump: Pump, again: Duration) {
    let (changes, stats) = (pump.changes(), pump.status_stats());
    let mut writer = Writer::new(client, &stats.addresses);
    let mut allocator = Allocator::default();
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
            () = writer.step() => continue,
        };
        match found {
            Look::Everywhere => {
                look = None;
                let Some(requests) = pump.ask(mesh::Mesh::address_requests).await else { return };
                // The statuses tell all there is to know.
                allocator = Allocator::default();
                requests.into_iter().for_each(|request| allocator.put(request));
            }
            Look::At(entries) => {
                let ask = move |mesh: &mesh::Mesh| {
                    let each = entries.into_iter().map(|entry| (mesh.address_request(&entry), entry));
                    each.collect::<Vec<_>>()
                };
                let Some(requests) = pump.ask(ask).await else { return };
                for (request, entry) in requests {
                    match request {
                        Some(request) => allocator.put(request),
                        None => allocator.remove(&entry),
                    }
                }
            }
        }
        give(&mut allocator, &mut writer, stats, &mut told);
    }
}

fn give(
    allocator: &mut Allocator,
    writer: &mut Writer<'_>,
    stats: &StatusStats,
    told: &mut BTreeSet<AddressTrouble>,
) {
    let (assignments, troubles) = allocator.assign();
    for assignment in assignments {
        let object = ObjectRef { kind: Kind::ServiceEntry, name: assignment.entry };
        writer.put(object, Wanted::Addresses { held: assignment.held, wanted: assignment.wanted });
    }
    let (_, short) = allocator.usage();
    stats.short.store(short as u64, Ordering::Relaxed);
    if short == 0 {
        told.retain(|trouble| !matches!(trouble, AddressTrouble::Exhausted { .. }));
    }
    for trouble in troubles {
        match &trouble {
            AddressTrouble::Conflict { .. } => {
                count(&stats.conflicts);
                tracing::warn!("{trouble}");
            }
            AddressTrouble::Exhausted { .. } if told.len() < SAID && told.insert(trouble.clone()) => {
                tracing::warn!("{trouble}");
            }
            AddressTrouble::Exhausted { .. } => {}
        }
    }
}

/// How many hosts without an address are named in the log; the metric counts the others.
const SAID: usize = 20;
