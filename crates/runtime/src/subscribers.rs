//! The subscribers of the engine thread.

use crate::controllers::ChangedObjects;
use crate::engine_thread::Subscriber;
use identity::WorldWriter;
use model::Event;
use plane::Delta;
use server::AffectedNodes;
use std::sync::Arc;

/// Identity follows pods, namespaces and the mesh settings.
impl Subscriber for WorldWriter {
    fn received(&mut self, events: &[Event]) {
        self.take(events);
    }
}

/// Streams of the nodes that a snapshot affects are served first.
impl Subscriber for Arc<AffectedNodes> {
    fn publishing(&mut self, step: u64, delta: &Delta) {
        self.add(step, delta.nodes.iter().cloned());
    }
}

/// Controllers look at the objects that changed.
impl Subscriber for Arc<ChangedObjects> {
    fn received(&mut self, events: &[Event]) {
        ChangedObjects::received(self, events);
    }

    fn published(&mut self, delta: &Delta) {
        ChangedObjects::published(self, &delta.conditions, &delta.address_requests);
    }
}
