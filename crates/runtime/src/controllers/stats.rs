//! Counters of the controllers.

use super::status::Part;
use cluster::WriterStats;
use std::sync::atomic::AtomicU64;

/// The counters of this replica.
#[derive(Debug, Default)]
pub struct StatusStats {
    /// Conditions.
    pub conditions: WriterStats,
    /// Statuses of the Gateway API.
    pub gateways: WriterStats,
    /// Objects of deployments of gateways.
    pub deployments: WriterStats,
    /// The condition of objects of kinds that are not read.
    pub unread: WriterStats,
    /// Automatic addresses.
    pub addresses: WriterStats,
    /// Automatic addresses that two ServiceEntries claimed.
    pub address_conflicts: AtomicU64,
    /// ServiceEntries with a host for which no address is left.
    pub without_address: AtomicU64,
}

impl StatusStats {
    /// Returns those of a part of the statuses.
    pub(super) fn of(&self, part: Part) -> &WriterStats {
        match part {
            Part::Mesh => &self.conditions,
            Part::Gateways => &self.gateways,
        }
    }
}
