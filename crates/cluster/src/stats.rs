//! Counters of a writer.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is counted of one writer of statuses, and of the election for it.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Whether this replica writes them.
    pub leads: AtomicBool,
    /// Statuses written.
    pub written: AtomicU64,
    /// Statuses that were right already when they were looked at.
    pub unchanged: AtomicU64,
    /// Requests that failed; most are tried again.
    pub failed: AtomicU64,
    /// Objects that wait to be written.
    pub waiting: AtomicU64,
    /// What is in the way, by where it is.
    troubles: Mutex<BTreeMap<String, String>>,
}

impl WriterStats {
    /// Returns what is in the way, in one sentence each.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().values().cloned().collect()
    }

    /// Takes note of what is in the way somewhere, or that nothing is; tells whether that is news.
    pub(crate) fn note(&self, place: &str, trouble: Option<String>) -> bool {
        let mut all = self.troubles.lock();
        match trouble {
            Some(sentence) => all.insert(place.to_owned(), sentence.clone()).as_ref() != Some(&sentence),
            None => all.remove(place).is_some(),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
