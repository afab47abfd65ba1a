//! Counters of a writer.

use crate::error::MissingRight;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is counted of one writer of statuses, and of the election for it.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Whether this replica is the leader, and so writes.
    pub is_leader: AtomicBool,
    /// Statuses written.
    pub written: AtomicU64,
    /// Statuses that were up to date when they were compared.
    pub unchanged: AtomicU64,
    /// Requests that failed; most are tried again.
    pub failed: AtomicU64,
    /// Objects in the work queue.
    pub waiting: AtomicU64,
    /// What keeps it from writing, by kind or lock.
    problems: Mutex<BTreeMap<String, String>>,
}

impl WriterStats {
    /// Returns what keeps it from writing, in one sentence each.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().values().cloned().collect()
    }

    /// Sets or clears the problem of a kind or lock; tells whether that is a change.
    pub fn set_problem(&self, of: &str, problem: Option<String>) -> bool {
        let mut all = self.problems.lock();
        match problem {
            Some(sentence) => all.insert(of.to_owned(), sentence.clone()).as_ref() != Some(&sentence),
            None => all.remove(of).is_some(),
        }
    }

    /// Records that a right to objects of a kind is missing; writes it into the log if that is news. The cause,
    /// which names one object, is not compared: the problem is that of the whole kind.
    pub(crate) fn set_missing_right(&self, kind: &str, right: &MissingRight<'_>, cause: &str) {
        let sentence = right.to_string();
        if self.set_problem(kind, Some(sentence.clone())) {
            tracing::error!(cause, "{sentence}");
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
