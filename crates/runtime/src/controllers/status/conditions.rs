//! The controller of conditions: everything once when this replica becomes the leader, then what changes.

use super::acks::{AckSummary, Distribution};
use super::compare::{Desired, Stored, field_manager, has_distribution};
use super::tracker::Tracker;
use crate::controllers::changes::{Changed, ChangedObjects};
use crate::controllers::settings::StatusSettings;
use crate::controllers::stats::StatusStats;
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
pub(in crate::controllers) async fn run(
    client: &Client,
    engine: &EngineHandle,
    clients: &Clients,
    changes: &ChangedObjects,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let (resync_delay, intervals) = (settings.resync_delay, settings.report_intervals);
    let writer = StatusWriter::new(client.clone(), &stats.conditions);
    let mut controller = Controller {
        snapshots: engine.snapshots(),
        tracker: Tracker::new(intervals),
        client,
        engine,
        clients,
        writer,
    };
    // Changes are recorded from here on, so none is missed between the resync and them.
    let _recording = changes.record_conditions();
    let mut resync = Some(Instant::now());
    let mut evaluation = Instant::now();
    loop {
        if controller.writer.has_given_up() && resync.is_none() {
            resync = Some(Instant::now() + resync_delay);
        }
        let due = async {
            match resync {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {
                resync = None;
                match controller.resync().await {
                    Some(true) => {}
                    Some(false) => resync = Some(Instant::now() + resync_delay),
                    None => return,
                }
            }
            changed = changes.next_conditions() => match changed {
                Changed::All => resync = Some(Instant::now()),
                Changed::Keys(objects) => {
                    if controller.reconcile(objects).await.is_none() {
                        return;
                    }
                    evaluation = evaluation.min(Instant::now() + intervals.awaiting);
                }
            },
            () = sleep_until(evaluation) => {
                controller.evaluate_acks();
                evaluation = Instant::now() + controller.tracker.interval();
            }
            () = controller.writer.process() => {}
        }
    }
}

struct Controller<'a> {
    client: &'a Client,
    engine: &'a EngineHandle,
    clients: &'a Clients,
    snapshots: Snapshots,
    tracker: Tracker,
    writer: StatusWriter<'a, Desired>,
}

impl Controller<'_> {
    /// Queries the mesh, and takes the snapshot that was published with it.
    async fn query<T: Send + 'static>(
        &mut self,
        query: impl FnOnce(&Plane) -> T + Send + 'static,
    ) -> Option<T> {
        let snapshots = self.snapshots.clone();
        let query = move |mesh: &Plane| (query(mesh), snapshots.borrow().clone());
        let (answer, snapshot) = self.engine.query(query).await?;
        snapshot.into_iter().for_each(|snapshot| self.tracker.set_snapshot(snapshot));
        Some(answer)
    }

    /// Compares every status in the cluster; tells whether all could be read. `None` when the engine
    /// has ended.
    async fn resync(&mut self) -> Option<bool> {
        let desired: BTreeMap<ObjectRef, Arc<Conditions>> =
            self.query(Plane::conditions).await?.into_iter().collect();
        for (object, conditions) in desired.iter().filter(|(object, _)| has_distribution(object.kind)) {
            self.tracker.set_conditions(&object.name, Some(conditions.clone()));
        }
        self.tracker.retain(|name| {
            let kind = Kind::AuthorizationPolicy;
            desired.contains_key(&ObjectRef { kind, name: name.clone() })
        });
        let mut is_complete = true;
        for &kind in Kind::ALL.iter().filter(|kind| field_manager(**kind).is_some()) {
            if !desired.keys().any(|object| object.kind == kind) {
                continue;
            }
            // An object that takes no part in the mesh has no row, and its conditions are left as they are.
            let (tracker, writer) = (&mut self.tracker, &mut self.writer);
            let compare = |stored: Stored| {
                let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
                let object = ObjectRef { kind, name };
                let Some(conditions) = desired.get(&object) else { return };
                if has_distribution(kind) {
                    tracker.adopt(&object.name, stored.reported());
                }
                let conditions =
                    Desired::Conditions(Some(conditions.clone()), distribution(tracker, &object));
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

    /// Queues the statuses of some objects. `None` when the engine has ended.
    async fn reconcile(&mut self, objects: BTreeSet<ObjectRef>) -> Option<()> {
        let rows = self
            .query(move |mesh| {
                objects.into_iter().map(|object| (mesh.conditions_of(&object), object)).collect::<Vec<_>>()
            })
            .await?;
        for (conditions, object) in rows {
            if has_distribution(object.kind) {
                self.tracker.set_conditions(&object.name, conditions.clone());
            }
            // Without a row the object is gone, or its conditions must be removed.
            let desired = Desired::Conditions(conditions, distribution(&self.tracker, &object));
            self.writer.add(object, desired, None);
        }
        Some(())
    }

    /// Evaluates which policies the nodes have acknowledged, and queues the statuses that report otherwise.
    fn evaluate_acks(&mut self) {
        // In this order: what is published meanwhile counts as pending, not as acknowledged.
        let states = self.clients.policy_ack_states();
        let snapshot = self.snapshots.borrow().clone();
        snapshot.into_iter().for_each(|snapshot| self.tracker.set_snapshot(snapshot));
        let summary = AckSummary::new(states, |word| self.tracker.is_sent(word));
        for name in self.tracker.evaluate(&summary, Instant::now()) {
            let conditions = self.tracker.conditions(&name);
            let object = ObjectRef { kind: Kind::AuthorizationPolicy, name };
            let desired = Desired::Conditions(conditions, distribution(&self.tracker, &object));
            self.writer.add(object, desired, None);
        }
    }
}

fn distribution(tracker: &Tracker, object: &ObjectRef) -> Distribution {
    match has_distribution(object.kind) {
        true => tracker.distribution(&object.name),
        false => Distribution::Keep,
    }
}
