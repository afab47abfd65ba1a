//! The writer of conditions: everything once when this replica begins to lead, then what changes.

use super::apply::{Stored, Wanted, has_distribution, manager};
use super::distribution::{Distribution, Survey};
use super::tracker::Tracker;
use crate::controllers::changes::{Changes, Look};
use crate::controllers::{StatusSettings, StatusStats};
use crate::engine_thread::{EngineHandle, Snapshots};
use cluster::{Action, DesiredStatus, StatusWriter, list_statuses};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use model::{Kind, Name, ObjectRef};
use plane::{Conditions, Plane};
use server::Clients;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// Writes conditions until the future is dropped, which is when this replica no longer leads, or the
/// engine has ended.
pub(in crate::controllers) async fn write(
    client: &Client,
    engine: &EngineHandle,
    clients: &Clients,
    changes: &Changes,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let (again, pace) = (settings.again, settings.pace);
    let writer = StatusWriter::new(client.clone(), &stats.conditions);
    let mut conditions = Writing {
        snapshots: engine.snapshots(),
        tracker: Tracker::new(pace),
        client,
        engine,
        clients,
        writer,
    };
    // What changes from here on is noted, so nothing falls between the look at everything and it.
    let _noting = changes.open_conditions();
    let mut look = Some(Instant::now());
    let mut survey = Instant::now();
    loop {
        if conditions.writer.has_given_up() && look.is_none() {
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
                match conditions.look_everywhere().await {
                    Some(true) => {}
                    Some(false) => look = Some(Instant::now() + again),
                    None => return,
                }
            }
            found = changes.conditions() => match found {
                Look::Everywhere => look = Some(Instant::now()),
                Look::At(objects) => {
                    if conditions.look_at(objects).await.is_none() {
                        return;
                    }
                    survey = survey.min(Instant::now() + pace.look);
                }
            },
            () = sleep_until(survey) => {
                conditions.survey();
                survey = Instant::now() + conditions.tracker.pause();
            }
            () = conditions.writer.process() => {}
        }
    }
}

struct Writing<'a> {
    client: &'a Client,
    engine: &'a EngineHandle,
    clients: &'a Clients,
    snapshots: Snapshots,
    tracker: Tracker,
    writer: StatusWriter<'a, Wanted>,
}

impl Writing<'_> {
    /// Asks the mesh something, and takes the snapshot that was published with it.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&Plane) -> T + Send + 'static,
    ) -> Option<T> {
        let snapshots = self.snapshots.clone();
        let ask = move |mesh: &Plane| (question(mesh), snapshots.borrow().clone());
        let (answer, snapshot) = self.engine.ask(ask).await?;
        snapshot.into_iter().for_each(|snapshot| self.tracker.advance(snapshot));
        Some(answer)
    }

    /// Compares every status in the cluster; tells whether all could be read. `None` when the engine
    /// has ended.
    async fn look_everywhere(&mut self) -> Option<bool> {
        let wanted: BTreeMap<ObjectRef, Arc<Conditions>> =
            self.ask(Plane::conditions).await?.into_iter().collect();
        for (object, conditions) in wanted.iter().filter(|(object, _)| has_distribution(object.kind)) {
            self.tracker.put(&object.name, Some(conditions.clone()));
        }
        self.tracker.retain(|name| {
            let kind = Kind::AuthorizationPolicy;
            wanted.contains_key(&ObjectRef { kind, name: name.clone() })
        });
        let mut is_complete = true;
        for &kind in Kind::ALL.iter().filter(|kind| manager(**kind).is_some()) {
            if !wanted.keys().any(|object| object.kind == kind) {
                continue;
            }
            // What is not ours has no row, and its conditions are left as they are.
            let (tracker, writer) = (&mut self.tracker, &mut self.writer);
            let compare = |stored: Stored| {
                let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
                let object = ObjectRef { kind, name };
                let Some(conditions) = wanted.get(&object) else { return };
                if has_distribution(kind) {
                    tracker.adopt(&object.name, stored.said());
                }
                let conditions = Wanted::Conditions(Some(conditions.clone()), distribution(tracker, &object));
                if conditions.compare(&object, &stored, Timestamp::now()) != Action::None {
                    writer.add(object, conditions, Some(Arc::new(stored)));
                }
            };
            if let Err(error) = list_statuses(self.client, kind, compare).await {
                tracing::warn!(%kind, "cannot compare statuses: {error}; trying again later");
                is_complete = false;
            }
        }
        Some(is_complete)
    }

    /// Sees to the statuses of some objects. `None` when the engine has ended.
    async fn look_at(&mut self, objects: BTreeSet<ObjectRef>) -> Option<()> {
        let rows = self
            .ask(move |mesh| {
                objects.into_iter().map(|object| (mesh.conditions_of(&object), object)).collect::<Vec<_>>()
            })
            .await?;
        for (conditions, object) in rows {
            if has_distribution(object.kind) {
                self.tracker.put(&object.name, conditions.clone());
            }
            // Without a row the object is gone, or its conditions must go.
            let wanted = Wanted::Conditions(conditions, distribution(&self.tracker, &object));
            self.writer.add(object, wanted, None);
        }
        Some(())
    }

    /// Looks how far the nodes have come with the policies, and sees to the statuses that say otherwise.
    fn survey(&mut self) {
        // In this order: what is published meanwhile is found to be pending, not to be acknowledged.
        let standings = self.clients.policy_ack_states();
        let snapshot = self.snapshots.borrow().clone();
        snapshot.into_iter().for_each(|snapshot| self.tracker.advance(snapshot));
        let survey = Survey::new(standings, |word| self.tracker.is_sent(word));
        for name in self.tracker.look(&survey, Instant::now()) {
            let row = self.tracker.row(&name);
            let object = ObjectRef { kind: Kind::AuthorizationPolicy, name };
            let wanted = Wanted::Conditions(row, distribution(&self.tracker, &object));
            self.writer.add(object, wanted, None);
        }
    }
}

fn distribution(tracker: &Tracker, object: &ObjectRef) -> Distribution {
    match has_distribution(object.kind) {
        true => tracker.distribution(&object.name),
        false => Distribution::Untouched,
    }
}
