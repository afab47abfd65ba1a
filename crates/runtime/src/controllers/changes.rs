//! What changed since the writers last looked: the way from the engine thread to them.
//!
//! The engine leaves names here and never waits; however slow the API server is, no more than one
//! note for each object is kept. While this replica does not lead nothing is noted at all: a new
//! leader looks at everything first.

use model::Event;
use model::{Kind, Name, ObjectRef};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// Notes of the engine for the writers of this replica.
#[derive(Debug, Default)]
pub struct Changes {
    conditions: Notes<ObjectRef>,
    entries: Notes<Name>,
}

/// The objects to look at.
#[derive(Debug)]
struct Notes<K> {
    /// `None` while nobody reads.
    pending: Mutex<Option<Pending<K>>>,
    came: Notify,
}

#[derive(Debug)]
struct Pending<K> {
    keys: BTreeSet<K>,
    /// Objects may have been replaced unseen: look at everything.
    is_relisted: bool,
}

/// What a writer is told to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<K> {
    /// These.
    At(BTreeSet<K>),
    /// Everything.
    Everywhere,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), is_relisted: false }
    }
}

impl<K> Default for Notes<K> {
    fn default() -> Self {
        Self { pending: Mutex::new(None), came: Notify::new() }
    }
}

impl<K: Ord> Notes<K> {
    fn add(&self, keys: impl Iterator<Item = K>) {
        if let Some(pending) = self.pending.lock().as_mut() {
            pending.keys.extend(keys);
        }
    }

    fn wake(&self) {
        let has_any = self
            .pending
            .lock()
            .as_ref()
            .is_some_and(|pending| pending.is_relisted || !pending.keys.is_empty());
        if has_any {
            self.came.notify_one();
        }
    }

    fn open(&self) {
        *self.pending.lock() = Some(Pending::default());
    }

    fn close(&self) {
        *self.pending.lock() = None;
    }

    /// Waits for notes and takes them all. Dropping the future loses none.
    async fn take(&self) -> Look<K> {
        loop {
            if let Some(pending) = self.pending.lock().as_mut() {
                let taken = std::mem::take(pending);
                if taken.is_relisted {
                    return Look::Everywhere;
                }
                if !taken.keys.is_empty() {
                    return Look::At(taken.keys);
                }
            }
            self.came.notified().await;
        }
    }
}

/// Tells whether objects of a kind have conditions of ours.
pub(super) fn has_status(kind: Kind) -> bool {
    super::status::manager(kind).is_some()
}

impl Changes {
    /// Notes what the events of a commit touch; called before they are applied.
    pub fn note(&self, events: &[Event]) {
        if self.conditions.pending.lock().is_none() && self.entries.pending.lock().is_none() {
            return;
        }
        for event in events {
            match event {
                // An object that comes again under its name lacks what the former one had.
                Event::Remove(object) if has_status(object.kind) => {
                    self.conditions.add([object.clone()].into_iter());
                }
                Event::Synced(kind) if has_status(*kind) => {
                    if let Some(pending) = self.conditions.pending.lock().as_mut() {
                        pending.is_relisted = true;
                    }
                }
                Event::Put(object) if object.kind() == Kind::ServiceEntry => {
                    self.entries.add([object.name()].into_iter());
                }
                _ => {}
            }
        }
    }

    /// Notes the objects whose conditions a commit changed, and the entries that ask for other addresses; wakes
    /// the writers.
    pub fn publish(&self, objects: &[ObjectRef], entries: &[Name]) {
        self.conditions.add(objects.iter().cloned());
        self.entries.add(entries.iter().cloned());
        self.conditions.wake();
        self.entries.wake();
    }

    /// Begins to note objects for the writer of conditions, until the guard is dropped.
    pub(super) fn open_conditions(&self) -> Open<'_> {
        self.conditions.open();
        Open(self, |changes| changes.conditions.close())
    }

    /// Begins to note ServiceEntries for the writer of addresses, until the guard is dropped.
    pub(super) fn open_entries(&self) -> Open<'_> {
        self.entries.open();
        Open(self, |changes| changes.entries.close())
    }

    /// Waits for objects whose conditions may have changed.
    pub(super) async fn conditions(&self) -> Look<ObjectRef> {
        self.conditions.take().await
    }

    /// Waits for ServiceEntries whose addresses may be wrong.
    pub(super) async fn entries(&self) -> Look<Name> {
        self.entries.take().await
    }
}

/// While it lives, changes are noted.
#[must_use]
pub(super) struct Open<'a>(&'a Changes, fn(&Changes));

impl Drop for Open<'_> {
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
    async fn names_are_kept_once_until_they_are_read() {
        let changes = Changes::default();
        changes.publish(&[object(Kind::Service, "before")], &[]);
        let open = changes.open_conditions();
        for _ in 0..3 {
            changes.publish(&[object(Kind::Service, "a"), object(Kind::Service, "b")], &[]);
        }
        let expected = [object(Kind::Service, "a"), object(Kind::Service, "b")];
        assert_eq!(changes.conditions().await, Look::At(BTreeSet::from(expected)));
        drop(open);
        changes.publish(&[object(Kind::Service, "c")], &[]);
        assert!(changes.conditions.pending.lock().is_none());
    }

    #[tokio::test]
    async fn a_new_listing_calls_for_a_look_at_everything() {
        let changes = Changes::default();
        let _open = changes.open_conditions();
        changes.note(&[Event::Synced(Kind::Pod)]);
        changes.publish(&[], &[]);
        assert_eq!(changes.conditions.pending.lock().as_ref().map(|p| p.is_relisted), Some(false));
        changes.note(&[Event::Synced(Kind::Service)]);
        changes.publish(&[], &[]);
        assert_eq!(changes.conditions().await, Look::Everywhere);
    }

    #[tokio::test]
    async fn an_object_that_was_deleted_is_looked_at_even_if_its_conditions_are_as_before() {
        let changes = Changes::default();
        let _open = changes.open_conditions();
        let object = object(Kind::Service, "a");
        changes.note(&[Event::Remove(object.clone())]);
        changes.publish(&[], &[]);
        assert_eq!(changes.conditions().await, Look::At(BTreeSet::from([object])));
    }
}
