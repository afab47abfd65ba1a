//! What each namespace holds, and when to write to it next.

use model::Str;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first and the longest backoff between two writes to one namespace; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// How long after its last write the backoff of a namespace starts over.
const RESET_AFTER: Duration = Duration::from_secs(120);

/// How often a namespace was written to lately.
struct RecentWrites {
    count: u32,
    last: Instant,
}

/// The namespaces of one text: what they are to hold, what they hold, when they are written to. An object of
/// the cluster has the empty namespace.
#[derive(Default)]
pub(super) struct WriteSchedule {
    namespaces: Arc<BTreeSet<Str>>,
    /// What each namespace is to hold; nothing while that is not known.
    text: Option<String>,
    /// What each namespace holds; absent where there is no object, nothing where it is not as it should be.
    held: BTreeMap<String, Option<String>>,
    /// Whether all objects have been listed once.
    listed: bool,
    recent: BTreeMap<String, RecentWrites>,
    ready_at: BTreeMap<String, Instant>,
}

impl WriteSchedule {
    /// Returns what each namespace is to hold.
    pub fn text(&self) -> Option<String> {
        self.text.clone()
    }

    /// Sets what each namespace is to hold.
    pub fn set_text(&mut self, text: Option<String>) {
        if self.text != text {
            self.text = text;
            self.reschedule_all();
        }
    }

    /// Sets which namespaces there are.
    pub fn set_namespaces(&mut self, namespaces: Arc<BTreeSet<Str>>) {
        self.namespaces = namespaces;
        self.reschedule_all();
    }

    /// Begins a listing: what was observed before is dropped, and nothing is written until it ends.
    pub fn begin_listing(&mut self) {
        self.held.clear();
        self.listed = false;
    }

    /// Ends a listing.
    pub fn end_listing(&mut self) {
        self.listed = true;
        self.reschedule_all();
    }

    /// Records what the object of a namespace holds.
    pub fn observed(&mut self, namespace: String, text: Option<String>) {
        self.held.insert(namespace.clone(), text);
        self.reschedule(&namespace);
    }

    /// Records that the object of a namespace was deleted.
    pub fn deleted(&mut self, namespace: &str) {
        self.held.remove(namespace);
        self.reschedule(namespace);
    }

    /// Returns when the next write is ready.
    pub fn next(&self) -> Option<Instant> {
        self.ready_at.values().min().copied().filter(|_| self.listed)
    }

    /// Returns the namespaces to be written to at `now`, and whether each has an object.
    pub fn ready(&self, now: Instant) -> Vec<(String, bool)> {
        let ready = self.ready_at.iter().filter(|(_, at)| **at <= now);
        ready.map(|(namespace, _)| (namespace.clone(), self.held.contains_key(namespace))).collect()
    }

    /// Records that a namespace was written to, with success or not.
    pub fn written(&mut self, namespace: &str, now: Instant) {
        self.ready_at.remove(namespace);
        let recent = self.recent.entry(namespace.to_owned()).or_insert(RecentWrites { count: 0, last: now });
        recent.count = if now.duration_since(recent.last) > RESET_AFTER { 1 } else { recent.count + 1 };
        recent.last = now;
    }

    fn reschedule_all(&mut self) {
        let namespaces = Arc::clone(&self.namespaces);
        self.recent.retain(|namespace, _| namespaces.contains(namespace.as_str()));
        self.ready_at.retain(|namespace, _| namespaces.contains(namespace.as_str()));
        for namespace in namespaces.iter() {
            self.reschedule(namespace);
        }
    }

    /// Decides when to write to a namespace, if at all.
    pub fn reschedule(&mut self, namespace: &str) {
        let is_current = self.held.get(namespace).is_some_and(|held| *held == self.text);
        if is_current || self.text.is_none() || !self.namespaces.contains(namespace) {
            self.ready_at.remove(namespace);
            return;
        }
        let now = Instant::now();
        let at = match self.recent.get(namespace) {
            // The first two writes have no backoff: that of the object, and its repair.
            Some(recent) if recent.count > 1 && now.duration_since(recent.last) < RESET_AFTER => {
                let doubled = BACKOFF.0.saturating_mul(1 << recent.count.min(16));
                recent.last + doubled.min(BACKOFF.1)
            }
            _ => now,
        };
        self.ready_at.entry(namespace.to_owned()).or_insert(at);
    }
}
