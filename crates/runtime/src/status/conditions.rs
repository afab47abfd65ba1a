//! The writer of conditions: everything once when this replica begins to lead, then what changes.

use super::apply::{Step, Stored, Wanted, manager};
use super::changes::Look;
use super::writer::{Writer, list};
use crate::pump::Pump;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use mesh::Conditions;
use model::{Kind, Name, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Writes conditions until the future is dropped, which is when this replica no longer leads, or the
/// engine has ended.
pub(super) async fn write(client: Client, pump: Pump, again: Duration) {
    let changes = pump.changes();
    let mut writer = Writer::new(client.clone(), &pump.status_stats().conditions);
    // What changes from here on is noted, so nothing falls between the look at everything and it.
    let _noting = changes.open_conditions();
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
        tokio::select! {
            biased;
            () = due => {
                look = None;
                match look_everywhere(&client, &pump, &mut writer).await {
                    Some(true) => {}
                    Some(false) => look = Some(Instant::now() + again),
                    None => return,
                }
            }
            found = changes.conditions() => match found {
                Look::Everywhere => look = Some(Instant::now()),
                Look::At(objects) => {
                    if look_at(&pump, objects, &mut writer).await.is_none() {
                        return;
                    }
                }
            },
            () = writer.step() => {}
        }
    }
}

/// Compares every status in the cluster; tells whether all could be read. `None` when the engine has
/// ended.
async fn look_everywhere(client: &Client, pump: &Pump, writer: &mut Writer<'_>) -> Option<bool> {
    let all = pump.ask(mesh::Mesh::conditions).await?;
    let wanted: BTreeMap<ObjectRef, Arc<Conditions>> =
        all.into_iter().filter_map(|change| Some((change.object, change.conditions?))).collect();
    let mut is_complete = true;
    for &kind in Kind::ALL.iter().filter(|kind| manager(**kind).is_some()) {
        if !wanted.keys().any(|object| object.kind == kind) {
            continue;
        }
        // What is not ours has no row, and its conditions are left as they are.
        let compare = |stored: Stored| {
            let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
            let object = ObjectRef { kind, name };
            let Some(conditions) = wanted.get(&object) else { return };
            let conditions = Wanted::Conditions(Some(conditions.clone()));
            if conditions.step(&object, &stored, Timestamp::now()) != Step::Right {
                writer.put(object, conditions, Some(Arc::new(stored)));
            }
        };
        if let Err(error) = list(client, kind, compare).await {
            tracing::warn!(%kind, "cannot compare statuses: {error}; trying again later");
            is_complete = false;
        }
    }
    Some(is_complete)
}

/// Sees to the statuses of some objects. `None` when the engine has ended.
async fn look_at(pump: &Pump, objects: BTreeSet<ObjectRef>, writer: &mut Writer<'_>) -> Option<()> {
    let rows = pump
        .ask(move |mesh| {
            objects.into_iter().map(|object| (mesh.conditions_of(&object), object)).collect::<Vec<_>>()
        })
        .await?;
    for (conditions, object) in rows {
        // Without a row the object is gone, or its conditions must go.
        writer.put(object, Wanted::Conditions(conditions), None);
    }
    Some(())
}
