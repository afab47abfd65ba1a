//! The subscribers of the engine thread.

use crate::controllers::ChangedObjects;
use crate::engine_thread::Subscriber;
use identity::IdentityIndex;
use model::Event;
use plane::{Delta, Plane};
use server::{AffectedNodes, Latencies};
use std::sync::Arc;
use std::time::Instant;
use xds::Scope;

/// Identity follows pods, namespaces and the mesh settings. It knows a pod before the ztunnel of its node does.
impl Subscriber for Arc<IdentityIndex> {
    fn publishing(&mut self, _: u64, _: Instant, mesh: &Plane, delta: &Delta) {
        if !delta.identity.is_empty() {
            self.publish(mesh.identity(), &delta.identity);
        }
    }
}

/// Streams of the nodes that a snapshot affects are served first.
impl Subscriber for Arc<AffectedNodes> {
    fn publishing(&mut self, step: u64, _: Instant, _: &Plane, delta: &Delta) {
        self.add(step, delta.nodes.iter().cloned());
    }
}

/// Latencies of streams are measured from the arrival of what they send.
impl Subscriber for Arc<Latencies> {
    fn publishing(&mut self, step: u64, arrived: Instant, _: &Plane, delta: &Delta) {
        self.record_publication(
            step,
            arrived,
            delta.resources.iter().any(|change| change.scope == Scope::Mesh),
        );
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
