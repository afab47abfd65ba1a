//! Counters of the controllers.

use cluster::WriterStats;
use std::sync::atomic::AtomicU64;

/// The counters of this replica.
#[derive(Debug, Default)]
pub struct StatusStats {
    /// Conditions.
    pub conditions: WriterStats,
    /// Automatic addresses.
    pub addresses: WriterStats,
    /// Automatic addresses that two ServiceEntries claimed.
    pub address_conflicts: AtomicU64,
    /// ServiceEntries with a host for which no address is left.
    pub without_address: AtomicU64,
}
