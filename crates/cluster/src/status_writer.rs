//! Writes statuses: reads each, compares it with the desired one, and writes what differs.

use crate::dispatcher::{Bounds, Dispatcher};
use crate::error::MissingRight;
use crate::object_client::{ObjectClient, RequestError, StatusTarget};
use crate::stats::{WriterStats, count};
use crate::work_queue::{Completion, Lane};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use limits::Rate;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// How many statuses are reconciled.
const BOUNDS: Bounds = Bounds { rate: Rate { burst: 1000, per_second: 200 }, concurrent: 16 };

/// The desired content of a status.
pub trait DesiredStatus: Clone + Send + Sync + 'static {
    /// The objects that have it.
    type Target: StatusTarget;
    /// The part of an object that is read for this.
    type Stored: DeserializeOwned + Send + Sync + 'static;

    /// Compares with what is stored and returns what is to be done at `now`.
    fn compare(&self, object: &Self::Target, stored: &Self::Stored, now: Timestamp) -> Action;
}

/// What is to be done with a status.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Nothing: it is up to date.
    None,
    /// Nothing for now: the desired status was computed for another content; a newer one will follow.
    Superseded,
    /// This is to be applied, by this field manager.
    Apply {
        /// `fieldManager`.
        manager: &'static str,
        /// The apply configuration.
        body: serde_json::Value,
    },
    /// The status is to be merged with this, by this field manager.
    Merge {
        /// `fieldManager`.
        manager: &'static str,
        /// A JSON merge patch of the object.
        body: serde_json::Value,
    },
}

/// How reconciling one status ended.
enum Outcome {
    Unchanged,
    Written,
    Gone,
    Failed { verb: &'static str, error: RequestError },
}

/// Writes the statuses that are added to it, at a bounded rate.
pub struct StatusWriter<'a, D: DesiredStatus> {
    client: ObjectClient,
    stats: &'a WriterStats,
    dispatcher: Dispatcher<'a, D::Target, D, D::Stored, Outcome>,
    has_given_up: bool,
}

impl<'a, D: DesiredStatus> StatusWriter<'a, D> {
    /// Makes a writer with nothing to do, which counts in `stats`.
    pub fn new(client: ObjectClient, stats: &'a WriterStats) -> Self {
        Self { client, stats, dispatcher: Dispatcher::new(stats, BOUNDS), has_given_up: false }
    }

    /// Queues the desired status of an object. `stored` is what was read of it a moment ago; without it,
    /// it is read first. `lane` tells with how many others it comes.
    pub fn add(&mut self, object: D::Target, desired: D, stored: Option<Arc<D::Stored>>, lane: Lane) {
        self.dispatcher.add(object, desired, stored, lane);
    }

    /// Tells whether a write was given up since this was last asked.
    pub fn has_given_up(&mut self) -> bool {
        std::mem::take(&mut self.has_given_up)
    }

    /// Starts what is ready and waits until something can be done again. Dropping the future loses
    /// nothing; dropping the writer ends every request.
    pub async fn process(&mut self) {
        let client = &self.client;
        let start = |object, desired, stored| reconcile(client.clone(), object, desired, stored);
        if let Some((object, outcome)) = self.dispatcher.next(start).await {
            self.done(&object, &outcome);
        }
    }

    fn done(&mut self, object: &D::Target, outcome: &Outcome) {
        let completion = match outcome {
            Outcome::Unchanged => {
                count(&self.stats.unchanged);
                Completion::Done
            }
            Outcome::Written => {
                count(&self.stats.written);
                self.stats.set_problem(object.kind().name, None);
                tracing::debug!(%object, "wrote its status");
                Completion::Done
            }
            Outcome::Gone => Completion::Done,
            Outcome::Failed { verb, error } => {
                count(&self.stats.failed);
                self.failed(object, verb, error)
            }
        };
        if self.dispatcher.done(object, completion) {
            self.has_given_up = true;
            if completion == Completion::Retry
                && let Outcome::Failed { verb, error } = outcome
            {
                tracing::warn!(%object, "cannot {verb} its status: {}; trying again later", error.message);
            }
        }
    }

    fn failed(&mut self, object: &D::Target, verb: &str, error: &RequestError) -> Completion {
        tracing::debug!(%object, code = error.code, "cannot {verb} its status: {}", error.message);
        if !error.is_forbidden() {
            return Completion::Retry;
        }
        let kind = object.kind();
        let part = if verb == "patch" { "/status" } else { "" };
        let right = MissingRight { verb, verbs: verb, group: kind.group, plural: kind.plural, part };
        self.stats.set_missing_right(kind.name, &right, &error.message);
        self.dispatcher.drop_waiting(|other| other.kind() == kind);
        Completion::GiveUp
    }
}

async fn reconcile<D: DesiredStatus>(
    client: ObjectClient,
    object: D::Target,
    desired: D,
    stored: Option<Arc<D::Stored>>,
) -> Outcome {
    let stored = match stored {
        Some(stored) => stored,
        None => match client.find(&object).await {
            Ok(Some(found)) => Arc::new(found),
            Ok(None) => return Outcome::Gone,
            Err(error) => return Outcome::Failed { verb: "list", error },
        },
    };
    let (params, patch) = match desired.compare(&object, &stored, Timestamp::now()) {
        Action::None => return Outcome::Unchanged,
        Action::Superseded => return Outcome::Gone,
        Action::Apply { manager, body } => (PatchParams::apply(manager).force(), Patch::Apply(body)),
        Action::Merge { manager, body } => (
            PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() },
            Patch::Merge(body),
        ),
    };
    match client.patch_status(&object, &params, &patch).await {
        Ok(()) => Outcome::Written,
        Err(error) if error.code == 404 => Outcome::Gone,
        Err(error) => Outcome::Failed { verb: "patch", error },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::work_queue::WorkQueue;
    use limits::TokenBucket;
    use std::time::{Duration, Instant};

    #[test]
    fn two_thousand_items_are_handed_out_at_the_rate_of_statuses() {
        let (mut queue, begin) = (WorkQueue::new(), Instant::now());
        (0..2000).for_each(|key| queue.add(key, (), Lane::Many, begin));
        let mut bucket = TokenBucket::new(BOUNDS.rate, Duration::ZERO);
        let (mut now, mut by_second) = (begin, vec![0]);
        while queue.len() > 0 {
            match queue.get_limited(&mut bucket, begin, now) {
                Ok((key, (), _)) => {
                    *by_second.last_mut().unwrap() += 1;
                    queue.done(&key, Completion::Done, now);
                }
                // Asked again a second later: what is refilled meanwhile is the rate.
                Err(ready_at) => {
                    assert!(ready_at.unwrap() > now);
                    now += Duration::from_secs(1);
                    by_second.push(0);
                }
            }
        }
        assert_eq!(by_second, [1000, 200, 200, 200, 200, 200]);
        assert_eq!(queue.get_limited(&mut bucket, begin, now), Err(None));
    }
}
