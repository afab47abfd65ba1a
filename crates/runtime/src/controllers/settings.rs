//! Settings of the controllers that write statuses.

use super::status::ReportIntervals;
use cluster::LeaseTimings;
use std::time::Duration;

/// When everything is compared again after a write was given up, unless set otherwise.
pub const RESYNC_DELAY: Duration = Duration::from_secs(60);

/// How often objects of kinds that are not read are listed, unless set otherwise.
pub const RELIST_INTERVAL: Duration = Duration::from_secs(600);

/// Who takes part in the elections, and where.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// The name of this replica, unlike that of any other.
    pub identity: String,
    /// The revision; empty stands for `default`.
    pub revision: String,
    /// The namespace of the locks.
    pub namespace: String,
    /// Whether this control plane allocates addresses of ServiceEntries.
    pub allocates_addresses: bool,
    /// From which pools.
    pub pools: mesh::Pools,
    /// Whether this control plane deploys gateways.
    pub deploys_gateways: bool,
    /// The timings of the locks.
    pub timings: LeaseTimings,
    /// When everything is compared again after a write was given up.
    pub resync_delay: Duration,
    /// How often objects of kinds that are not read are listed.
    pub relist_interval: Duration,
    /// How often acknowledgements of policies are evaluated and reported.
    pub report_intervals: ReportIntervals,
}
