//! The objects that changed since the controllers last looked: from the engine thread to them.
//!
//! The engine thread leaves names here and never waits; however slow the API server is, no more than one
//! name for each object is kept. While this replica does not lead nothing is recorded at all: a new leader
//! compares everything first.

use super::status::field_manager;
use model::{Event, Kind, Name, ObjectRef};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// The objects that changed, for the controllers of this replica.
#[derive(Debug, Default)]
pub struct ChangedObjects {
    conditions: Queue<ObjectRef>,
    service_entries: Queue<Name>,
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
    keys: BTreeSet<K>,
    /// Objects may have been replaced unseen: everything is to be compared.
    needs_resync: bool,
}

/// What a controller is to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed<K> {
    /// These objects.
    Keys(BTreeSet<K>),
    /// All objects.
    All,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), needs_resync: false }
    }
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { pending: Mutex::new(None), added: Notify::new() }
    }
}

impl<K: Ord> Queue<K> {
    fn add(&self, keys: impl Iterator<Item = K>) {
        if let Some(pending) = self.pending.lock().as_mut() {
            pending.keys.extend(keys);
        }
    }

    fn notify(&self) {
        let has_any = self
            .pending
            .lock()
            .as_ref()
            .is_some_and(|pending| pending.needs_resync || !pending.keys.is_empty());
        if has_any {
            self.added.notify_one();
        }
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
                if taken.needs_resync {
                    return Changed::All;
                }
                if !taken.keys.is_empty() {
                    return Changed::Keys(taken.keys);
                }
            }
            self.added.notified().await;
        }
    }
}

/// Tells whether objects of a kind have conditions of ours.
fn has_conditions(kind: Kind) -> bool {
    field_manager(kind).is_some()
}

impl ChangedObjects {
    /// Records what the events of a commit touch; called before they are applied.
    pub fn received(&self, events: &[Event]) {
        if self.conditions.pending.lock().is_none() && self.service_entries.pending.lock().is_none() {
            return;
        }
        for event in events {
            match event {
                // An object that is created again under its name lacks the status of the former one.
                Event::Remove(object) if has_conditions(object.kind) => {
                    self.conditions.add([object.clone()].into_iter());
                }
                Event::Synced(kind) if has_conditions(*kind) => {
                    if let Some(pending) = self.conditions.pending.lock().as_mut() {
                        pending.needs_resync = true;
                    }
                }
                Event::Put(object) if object.kind() == Kind::ServiceEntry => {
                    self.service_entries.add([object.name()].into_iter());
                }
                _ => {}
            }
        }
    }

    /// Records the objects whose conditions a commit changed, and the ServiceEntries that need other
    /// addresses; wakes the controllers.
    pub fn published(&self, objects: &[ObjectRef], entries: &[Name]) {
        self.conditions.add(objects.iter().cloned());
        self.service_entries.add(entries.iter().cloned());
        self.conditions.notify();
        self.service_entries.notify();
    }

    /// Starts to record objects for the controller of conditions, until the guard is dropped.
    pub(super) fn record_conditions(&self) -> Recording<'_> {
        self.conditions.start();
        Recording(self, |changes| changes.conditions.stop())
    }

    /// Starts to record ServiceEntries for the controller of addresses, until the guard is dropped.
    pub(super) fn record_service_entries(&self) -> Recording<'_> {
        self.service_entries.start();
        Recording(self, |changes| changes.service_entries.stop())
    }

    /// Waits for objects whose conditions may have changed.
    pub(super) async fn next_conditions(&self) -> Changed<ObjectRef> {
        self.conditions.next().await
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
        let recording = changes.record_conditions();
        for _ in 0..3 {
            changes.published(&[object(Kind::Service, "a"), object(Kind::Service, "b")], &[]);
        }
        let expected = [object(Kind::Service, "a"), object(Kind::Service, "b")];
        assert_eq!(changes.next_conditions().await, Changed::Keys(BTreeSet::from(expected)));
        drop(recording);
        changes.published(&[object(Kind::Service, "c")], &[]);
        assert!(changes.conditions.pending.lock().is_none());
    }

    #[tokio::test]
    async fn a_new_listing_requires_a_resync() {
        let changes = ChangedObjects::default();
        let _recording = changes.record_conditions();
        changes.received(&[Event::Synced(Kind::Pod)]);
        changes.published(&[], &[]);
        assert_eq!(changes.conditions.pending.lock().as_ref().map(|p| p.needs_resync), Some(false));
        changes.received(&[Event::Synced(Kind::Service)]);
        changes.published(&[], &[]);
        assert_eq!(changes.next_conditions().await, Changed::All);
    }

    #[tokio::test]
    async fn an_object_that_was_deleted_counts_as_changed_even_if_its_conditions_are_as_before() {
        let changes = ChangedObjects::default();
        let _recording = changes.record_conditions();
        let object = object(Kind::Service, "a");
        changes.received(&[Event::Remove(object.clone())]);
        changes.published(&[], &[]);
        assert_eq!(changes.next_conditions().await, Changed::Keys(BTreeSet::from([object])));
    }
}
