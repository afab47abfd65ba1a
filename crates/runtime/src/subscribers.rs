//! The subscribers of the engine thread.

use crate::controllers::ChangedObjects;
use crate::engine_thread::Subscriber;
use identity::IdentityIndex;
use model::Event;
use model::facts::{KeySource, Referent};
use plane::{Delta, Plane};
use server::{AffectedNodes, Latencies};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
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
        self.deployments_changed(&delta.deployments);
    }
}

/// What is referred to, for the source to read. It always has the newest set: a source that is behind misses
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct WantedReferents(Arc<watch::Sender<BTreeSet<Referent>>>);

impl WantedReferents {
    /// Returns what tells the newest set.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<Referent>> {
        self.0.subscribe()
    }
}

impl Subscriber for WantedReferents {
    fn published(&mut self, delta: &Delta) {
        let changed = &delta.referents;
        if changed.is_empty() {
            return;
        }
        self.0.send_modify(|all| {
            all.retain(|of| changed.unwanted.binary_search(of).is_err());
            all.extend(changed.wanted.iter().cloned());
        });
    }
}

/// Where keys for tokens are published that somebody needs, and how long to wait for each. It always has the newest set.
#[derive(Clone, Debug, Default)]
pub struct WantedKeys(Arc<watch::Sender<BTreeMap<KeySource, Duration>>>);

impl WantedKeys {
    /// Returns what tells the newest set.
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<KeySource, Duration>> {
        self.0.subscribe()
    }
}

impl Subscriber for WantedKeys {
    fn published(&mut self, delta: &Delta) {
        if delta.keys.is_empty() {
            return;
        }
        self.0.send_modify(|all| {
            for (source, timeout) in &delta.keys {
                match timeout {
                    Some(timeout) => all.insert(source.clone(), *timeout),
                    None => all.remove(source),
                };
            }
        });
    }
}
