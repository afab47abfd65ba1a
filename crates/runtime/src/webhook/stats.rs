//! What the webhook counts.

use admission::{Decision, Reason, Request};
use axum::http::StatusCode;
use model::{KnownKind, known_kinds};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a decision is counted by: group, version and resource; empty for kinds that are not known, which may have any
/// name.
type Resource = [&'static str; 3];

/// Counters of the webhook, and of who keeps its configurations.
#[derive(Debug, Default)]
pub struct WebhookStats {
    counts: Mutex<Counts>,
    /// Configurations written.
    pub updates: AtomicU64,
    /// Configurations that could not be written.
    pub failed_updates: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    passed: BTreeMap<Resource, u64>,
    failed: BTreeMap<(Resource, Reason), u64>,
    unanswered: BTreeMap<u16, u64>,
}

impl WebhookStats {
    /// Counts a decision. A dry run that is denied is not counted: the control plane asks for some itself.
    pub fn judged(&self, request: &Request<'_>, decision: &Decision) {
        let of = &request.kind;
        let known = known_kinds().find(|known| known.group == of.group && known.name == of.kind);
        let version =
            |known: &KnownKind| known.versions.iter().copied().find(|version| *version == of.version);
        let resource = known.map(|known| [known.group, version(known).unwrap_or_default(), known.plural]);
        let resource = resource.unwrap_or_default();
        let counts = &mut *self.counts.lock();
        match decision {
            Decision::Allowed { .. } => *counts.passed.entry(resource).or_default() += 1,
            Decision::Denied { .. } if request.dry_run => {}
            Decision::Denied { reason, .. } => *counts.failed.entry((resource, *reason)).or_default() += 1,
        }
    }

    /// Counts a request without a decision.
    pub fn unanswered(&self, status: StatusCode) {
        *self.counts.lock().unanswered.entry(status.as_u16()).or_default() += 1;
    }

    /// Returns the objects that passed: group, version, resource.
    pub fn passed(&self) -> Vec<(Resource, u64)> {
        self.counts.lock().passed.iter().map(|(of, count)| (*of, *count)).collect()
    }

    /// Returns the objects that were denied: group, version, resource and reason.
    pub fn failed(&self) -> Vec<(Resource, Reason, u64)> {
        self.counts.lock().failed.iter().map(|((of, reason), count)| (*of, *reason, *count)).collect()
    }

    /// Returns the requests without a decision, by the status that they got.
    pub fn statuses(&self) -> Vec<(u16, u64)> {
        self.counts.lock().unanswered.iter().map(|(status, count)| (*status, *count)).collect()
    }

    /// Returns how many configurations were written, and how many could not be.
    pub fn writes(&self) -> [u64; 2] {
        [&self.updates, &self.failed_updates].map(|counter| counter.load(Ordering::Relaxed))
    }
}
