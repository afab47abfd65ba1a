//! The objects that changed since the controllers last looked: from the engine thread to them.
//!
//! The engine thread leaves names here and never waits; however slow the API server is, no more than one
//! name for each object is kept. While this replica does not lead nothing is recorded at all: a new leader
//! compares everything first.

use super::status::{Part, part_of};
use cluster::Lane;
use model::{Event, Kind, Name, ObjectRef};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// The objects that changed, for the controllers of this replica.
#[derive(Debug, Default)]
pub struct ChangedObjects {
    mesh: Queue<ObjectRef>,
    gateways: Queue<ObjectRef>,
    service_entries: Queue<Name>,
    deployments: Queue<Name>,
}

/// The objects of one controller.
#[derive(Debug)]
struct Queue<K> {
    /// `None` while the controller does not run.
    pending: Mutex<Option<Pending<K>>>,
    added: Notify,
}

#[derive(Debug)]
struct Pending<K> {
    /// Those that changed with few others.
    few: BTreeSet<K>,
    /// Those that changed with many others, and not otherwise since.
    many: BTreeSet<K>,
    /// Objects may have been replaced unseen: everything is to be compared.
    needs_resync: bool,
}

/// What a controller is to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed<K> {
    /// These objects, and whether each of them changed with few or many others.
    Keys(Vec<(K, Lane)>),
    /// All objects.
    All,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { few: BTreeSet::new(), many: BTreeSet::new(), needs_resync: false }
    }
}

impl<K: Ord> Pending<K> {
    fn is_empty(&self) -> bool {
        !self.needs_resync && self.few.is_empty() && self.many.is_empty()
    }

    fn into_changed(mut self) -> Changed<K> {
        if self.needs_resync {
            return Changed::All;
        }
        self.many.retain(|key| !self.few.contains(key));
        let few = self.few.into_iter().map(|key| (key, Lane::Few));
        Changed::Keys(few.chain(self.many.into_iter().map(|key| (key, Lane::Many))).collect())
    }
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { pending: Mutex::new(None), added: Notify::new() }
    }
}

impl<K: Ord> Queue<K> {
    /// Adds what changed by one commit.
    fn add(&self, keys: Vec<K>) {
        if let Some(pending) = self.pending.lock().as_mut() {
            match Lane::of(keys.len()) {
                Lane::Few => pending.few.extend(keys),
                Lane::Many => pending.many.extend(keys),
            }
        }
    }

    fn needs_resync(&self) {
        if let Some(pending) = self.pending.lock().as_mut() {
            pending.needs_resync = true;
        }
    }

    fn notify(&self) {
        if self.pending.lock().as_ref().is_some_and(|pending| !pending.is_empty()) {
            self.added.notify_one();
        }
    }

    fn is_stopped(&self) -> bool {
        self.pending.lock().is_none()
    }

    fn start(&self) {
        *self.pending.lock() = Some(Pending::default());
    }

    fn stop(&self) {
        *self.pending.lock() = None;
    }

    /// Waits for objects and takes them all. Dropping the future loses none.
    async fn next(&self) -> Changed<K> {
        loop {
            if let Some(pending) = self.pending.lock().as_mut() {
                let taken = std::mem::take(pending);
                if !taken.is_empty() {
                    return taken.into_changed();
                }
            }
            self.added.notified().await;
        }
    }
}

impl ChangedObjects {
    fn statuses(&self, part: Part) -> &Queue<ObjectRef> {
        match part {
            Part::Mesh => &self.mesh,
            Part::Gateways => &self.gateways,
        }
    }

    /// Records what the events of a commit touch; called before they are applied.
    pub fn received(&self, events: &[Event]) {
        if self.mesh.is_stopped() && self.gateways.is_stopped() && self.service_entries.is_stopped() {
            return;
        }
        let mut entries = Vec::new();
        let mut removed = Vec::new();
        for event in events {
            match event {
                // An object that is created again under its name lacks the status of the former one.
                Event::Remove(object) if part_of(object.kind).is_some() => removed.push(object.clone()),
                Event::Synced(kind) => {
                    if let Some(part) = part_of(*kind) {
                        self.statuses(part).needs_resync();
                    }
                }
                Event::Put(object) if object.kind() == Kind::ServiceEntry => entries.push(object.name()),
                _ => {}
            }
        }
        self.add_statuses(removed.into_iter());
        self.service_entries.add(entries);
    }

    /// Records the objects whose conditions a commit changed, and the ServiceEntries that need other
    /// addresses; wakes the controllers.
    pub fn published(&self, objects: &[ObjectRef], entries: &[Name]) {
        self.add_statuses(objects.iter().cloned());
        self.service_entries.add(entries.to_vec());
        self.mesh.notify();
        self.gateways.notify();
        self.service_entries.notify();
    }

    /// Records the gateways for which something else is to be deployed; wakes the controller.
    pub fn deployments_changed(&self, gateways: &[Name]) {
        self.deployments.add(gateways.to_vec());
        self.deployments.notify();
    }

    fn add_statuses(&self, objects: impl Iterator<Item = ObjectRef>) {
        let (mut mesh, mut gateways) = (Vec::new(), Vec::new());
        for object in objects {
            match part_of(object.kind) {
                Some(Part::Mesh) => mesh.push(object),
                Some(Part::Gateways) => gateways.push(object),
                None => {}
            }
        }
        self.mesh.add(mesh);
        self.gateways.add(gateways);
    }

    /// Starts to record objects for the controller of one part of the statuses, until the guard is dropped.
    pub(super) fn record_statuses(&self, part: Part) -> Recording<'_> {
        let stop: fn(&ChangedObjects) = match part {
            Part::Mesh => |changes| changes.mesh.stop(),
            Part::Gateways => |changes| changes.gateways.stop(),
        };
        self.statuses(part).start();
        Recording(self, stop)
    }

    /// Starts to record ServiceEntries for the controller of addresses, until the guard is dropped.
    pub(super) fn record_service_entries(&self) -> Recording<'_> {
        self.service_entries.start();
        Recording(self, |changes| changes.service_entries.stop())
    }

    /// Starts to record gateways for the controller that deploys them, until the guard is dropped.
    pub(super) fn record_deployments(&self) -> Recording<'_> {
        self.deployments.start();
        Recording(self, |changes| changes.deployments.stop())
    }

    /// Waits for gateways for which something else is to be deployed.
    pub(super) async fn next_deployments(&self) -> Changed<Name> {
        self.deployments.next().await
    }

    /// Waits for objects of one part of the statuses that may have another one.
    pub(super) async fn next_statuses(&self, part: Part) -> Changed<ObjectRef> {
        self.statuses(part).next().await
    }

    /// Waits for ServiceEntries whose addresses may be wrong.
    pub(super) async fn next_service_entries(&self) -> Changed<Name> {
        self.service_entries.next().await
    }
}

/// While it lives, changes are recorded.
#[must_use]
pub(super) struct Recording<'a>(&'a ChangedObjects, fn(&ChangedObjects));

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str) -> ObjectRef {
        ObjectRef { kind, name: Name::new("shop", name) }
    }

    #[tokio::test]
    async fn each_name_is_kept_once_until_it_is_read() {
        let changes = ChangedObjects::default();
        changes.published(&[object(Kind::Service, "before")], &[]);
        let recording = changes.record_statuses(Part::Mesh);
        for _ in 0..3 {
            let objects =
                [object(Kind::Service, "a"), object(Kind::Service, "b"), object(Kind::Gateway, "c")];
            changes.published(&objects, &[]);
        }
        let expected = ["a", "b"].map(|name| (object(Kind::Service, name), Lane::Few));
        assert_eq!(changes.next_statuses(Part::Mesh).await, Changed::Keys(expected.to_vec()));
        drop(recording);
        changes.published(&[object(Kind::Service, "c")], &[]);
        assert!(changes.mesh.is_stopped() && changes.gateways.is_stopped());
    }

    #[tokio::test]
    async fn what_changes_alone_is_told_from_what_changes_with_many() {
        let changes = ChangedObjects::default();
        let _recording = changes.record_statuses(Part::Gateways);
        let routes: Vec<ObjectRef> = (0..100).map(|n| object(Kind::HTTPRoute, &format!("r{n:02}"))).collect();
        changes.published(&routes, &[]);
        changes.published(&routes[40..41], &[]);
        let Changed::Keys(keys) = changes.next_statuses(Part::Gateways).await else { panic!("not all") };
        assert_eq!(keys[0], (routes[40].clone(), Lane::Few));
        assert_eq!(keys.len(), 100);
        assert!(keys[1..].iter().all(|(object, lane)| *object != routes[40] && *lane == Lane::Many));
    }

    #[tokio::test]
    async fn a_new_listing_requires_a_resync() {
        let changes = ChangedObjects::default();
        let _recording = changes.record_statuses(Part::Mesh);
        let needs_resync = |of: &Queue<ObjectRef>| of.pending.lock().as_ref().map(|p| p.needs_resync);
        changes.received(&[Event::Synced(Kind::Pod), Event::Synced(Kind::HTTPRoute)]);
        changes.published(&[], &[]);
        assert_eq!(needs_resync(&changes.mesh), Some(false));
        changes.received(&[Event::Synced(Kind::Service)]);
        changes.published(&[], &[]);
        assert_eq!(changes.next_statuses(Part::Mesh).await, Changed::All);
    }

    #[tokio::test]
    async fn an_object_that_was_deleted_counts_as_changed_even_if_its_conditions_are_as_before() {
        let changes = ChangedObjects::default();
        let _recording = changes.record_statuses(Part::Mesh);
        let object = object(Kind::Service, "a");
        changes.received(&[Event::Remove(object.clone())]);
        changes.published(&[], &[]);
        assert_eq!(changes.next_statuses(Part::Mesh).await, Changed::Keys(vec![(object, Lane::Few)]));
    }
}
