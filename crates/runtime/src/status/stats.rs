//! Counters of the writers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is counted for conditions, and again for addresses.
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
}

/// The counters of this replica.
#[derive(Debug, Default)]
pub struct StatusStats {
    /// Conditions.
    pub conditions: WriterStats,
    /// Automatic addresses.
    pub addresses: WriterStats,
    /// Automatic addresses that had two claims.
    pub conflicts: AtomicU64,
    /// ServiceEntries with a host for which no address is left.
    pub short: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
