//! The controller of statuses: everything once when this replica becomes the leader, then what changes.

use super::acks::{AckSummary, Distribution};
use super::classes;
use super::compare::{Desired, Part, Stored, has_distribution, part_of};
use super::refused::RefusedObjects;
use super::tracker::Tracker;
use crate::controllers::changes::{Changed, ChangedObjects};
use crate::controllers::settings::StatusSettings;
use crate::controllers::stats::StatusStats;
use crate::engine_thread::{EngineHandle, Snapshots};
use crate::refusals::ActiveRefusals;
use cluster::{Action, DesiredStatus, Lane, ObjectClient, StatusWriter, WriterStats};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use model::{Kind, Name, ObjectRef};
use plane::{Conditions, Plane};
use server::Clients;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// Writes the statuses of one part until the future is dropped, which is when this replica no longer leads, or
/// the engine has ended.
#[allow(clippy::too_many_arguments)]
pub(in crate::controllers) async fn run(
    part: Part,
    client: &Client,
    engine: &EngineHandle,
    clients: &Clients,
    refusals: &ActiveRefusals,
    changes: &ChangedObjects,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let (resync_delay, intervals) = (settings.resync_delay, settings.report_intervals);
    let client = ObjectClient::new(client.clone());
    let stats = stats.of(part);
    let mut controller = Controller {
        part,
        snapshots: engine.snapshots(),
        tracker: Tracker::new(intervals),
        refused: RefusedObjects::new(intervals.settle),
        engine,
        clients,
        writer: StatusWriter::new(client.clone(), stats),
        client,
        stats,
    };
    // Changes are recorded from here on, so none is missed between the resync and them.
    let _recording = changes.record_statuses(part);
    let mut resync = Some(Instant::now());
    let mut evaluation = Instant::now();
    let mut refusals = refusals.clone();
    refusals.mark_changed();
    loop {
        if controller.writer.has_given_up() && resync.is_none() {
            resync = Some(Instant::now() + resync_delay);
        }
        let due = at(resync);
        let refused_due = at(controller.refused.due());
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
            changed = changes.next_statuses(part) => match changed {
                Changed::All => resync = Some(Instant::now()),
                Changed::Keys(objects) => {
                    match controller.reconcile(objects).await {
                        Some(true) => {}
                        Some(false) => resync = Some(Instant::now() + resync_delay),
                        None => return,
                    }
                    evaluation = evaluation.min(Instant::now() + intervals.awaiting);
                }
            },
            Ok(()) = refusals.changed() => {
                let active = Arc::clone(&refusals.borrow_and_update());
                controller.refused.set(&active, |object| part_of(object.kind) == Some(part));
                if controller.tell_refusals().await.is_none() {
                    return;
                }
            }
            () = refused_due => {
                if controller.tell_refusals().await.is_none() {
                    return;
                }
            }
            // Only ztunnels acknowledge anything that a status reports.
            () = sleep_until(evaluation), if part == Part::Mesh => {
                controller.evaluate_acks();
                evaluation = Instant::now() + controller.tracker.interval();
            }
            () = controller.writer.process() => {}
        }
    }
}

/// Waits until then; forever for nothing.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

struct Controller<'a> {
    part: Part,
    client: ObjectClient,
    engine: &'a EngineHandle,
    clients: &'a Clients,
    snapshots: Snapshots,
    tracker: Tracker,
    refused: RefusedObjects,
    writer: StatusWriter<'a, Desired>,
    stats: &'a WriterStats,
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
        let followed = snapshot.filter(|_| self.part == Part::Mesh);
        followed.into_iter().for_each(|snapshot| self.tracker.set_snapshot(snapshot));
        Some(answer)
    }

    /// Compares every status in the cluster; tells whether all could be read. `None` when the engine
    /// has ended.
    async fn resync(&mut self) -> Option<bool> {
        let mut is_complete = self.create_classes().await?;
        let part = self.part;
        let rows = self.query(Plane::conditions).await?.into_iter();
        let desired: BTreeMap<ObjectRef, Arc<Conditions>> =
            rows.filter(|(object, _)| part_of(object.kind) == Some(part)).collect();
        for (object, conditions) in desired.iter().filter(|(object, _)| has_distribution(object.kind)) {
            self.tracker.set_conditions(&object.name, Some(conditions.clone()));
        }
        self.tracker.retain(|name| {
            let kind = Kind::AuthorizationPolicy;
            desired.contains_key(&ObjectRef { kind, name: name.clone() })
        });
        for &kind in Kind::ALL.iter().filter(|kind| part_of(**kind) == Some(part)) {
            if !desired.keys().any(|object| object.kind == kind) {
                continue;
            }
            // An object that takes no part in the mesh, or is another's, has no row, and its conditions are
            // left as they are.
            let (tracker, refused, writer) = (&mut self.tracker, &self.refused, &mut self.writer);
            let compare = |stored: Stored| {
                let name = Name::new(&stored.metadata.namespace, &stored.metadata.name);
                let object = ObjectRef { kind, name };
                let Some(conditions) = desired.get(&object) else { return };
                if has_distribution(kind) {
                    tracker.adopt(&object.name, stored.reported());
                }
                let Some(desired) = wish(tracker, refused, &object, Some(conditions.clone())) else { return };
                match desired.compare(&object, &stored, Timestamp::now()) {
                    Action::None | Action::Superseded => {}
                    Action::Apply { .. } | Action::Merge { .. } => {
                        writer.add(object, desired, Some(Arc::new(stored)), Lane::Many);
                    }
                }
            };
            if let Err(error) = self.client.list(kind, compare).await {
                tracing::warn!(%kind, "cannot compare statuses: {error}; trying again later");
                is_complete = false;
            }
        }
        Some(is_complete)
    }

    /// Queues the statuses of some objects; tells whether nothing is left to be done later. `None` when the
    /// engine has ended.
    async fn reconcile(&mut self, objects: Vec<(ObjectRef, Lane)>) -> Option<bool> {
        let has_classes = objects.iter().any(|(object, _)| object.kind == Kind::GatewayClass);
        let is_complete = !has_classes || self.create_classes().await?;
        let rows = self
            .query(move |mesh| {
                let objects = objects.into_iter();
                objects.map(|(object, lane)| (mesh.conditions_of(&object), object, lane)).collect::<Vec<_>>()
            })
            .await?;
        for (conditions, object, lane) in rows {
            if has_distribution(object.kind) {
                self.tracker.set_conditions(&object.name, conditions.clone());
            }
            if let Some(desired) = wish(&self.tracker, &self.refused, &object, conditions) {
                self.writer.add(object, desired, None, lane);
            }
        }
        Some(is_complete)
    }

    /// Queues the statuses of which Envoys refuse something else now than was told. `None` when the engine has ended.
    async fn tell_refusals(&mut self) -> Option<()> {
        let changed = self.refused.evaluate(Instant::now());
        if changed.is_empty() {
            return Some(());
        }
        let lane = Lane::of(changed.len());
        self.reconcile(changed.into_iter().map(|object| (object, lane)).collect()).await.map(drop)
    }

    /// Makes the classes that the cluster should have and has not; tells whether none is left to be made later.
    /// `None` when the engine has ended.
    async fn create_classes(&mut self) -> Option<bool> {
        if self.part != Part::Gateways {
            return Some(true);
        }
        let missing = self.query(Plane::missing_classes).await?;
        Some(missing.is_empty() || classes::create(&self.client, self.stats, &missing).await)
    }

    /// Evaluates which policies the nodes have acknowledged, and queues the statuses that report otherwise.
    fn evaluate_acks(&mut self) {
        // In this order: what is published meanwhile counts as pending, not as acknowledged.
        let states = self.clients.policy_ack_states();
        let snapshot = self.snapshots.borrow().clone();
        snapshot.into_iter().for_each(|snapshot| self.tracker.set_snapshot(snapshot));
        let summary = AckSummary::new(states, |word| self.tracker.is_sent(word));
        let changed = self.tracker.evaluate(&summary, Instant::now());
        let lane = Lane::of(changed.len());
        for name in changed {
            let conditions = self.tracker.conditions(&name);
            let object = ObjectRef { kind: Kind::AuthorizationPolicy, name };
            if let Some(desired) = wish(&self.tracker, &self.refused, &object, conditions) {
                self.writer.add(object, desired, None, lane);
            }
        }
    }
}

/// Returns what is to become of the status of an object; `None` where that is left to others.
fn wish(
    tracker: &Tracker,
    refused: &RefusedObjects,
    object: &ObjectRef,
    conditions: Option<Arc<Conditions>>,
) -> Option<Desired> {
    let conditions = conditions.map(|conditions| refused.with_refusals(object, conditions));
    match part_of(object.kind)? {
        // Without a row the object is gone, or its conditions must be removed.
        Part::Mesh => Some(Desired::Conditions(conditions, distribution(tracker, object))),
        // Without a row it is gone, or another revision or controller has it, which takes our conditions
        // over: removing them would undo its own.
        Part::Gateways => conditions.map(Desired::Whole),
    }
}

fn distribution(tracker: &Tracker, object: &ObjectRef) -> Distribution {
    match has_distribution(object.kind) {
        true => tracker.distribution(&object.name),
        false => Distribution::Keep,
    }
}
