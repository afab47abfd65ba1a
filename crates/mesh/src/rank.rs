//! In which order clients are sent what a commit changed.

use output::Rank;

/// Services. They go first: a client judges a workload by the services that it knows.
pub(crate) const SERVICE: Rank = Rank::new(10);
/// Services of ServiceEntries, which share hostnames with those.
pub(crate) const ENTRY_SERVICE: Rank = SERVICE.next();
/// Gateways of networks.
pub(crate) const NETWORK_GATEWAY: Rank = Rank::new(20);
/// What stands for workloads of other networks.
pub(crate) const SUMMARY: Rank = Rank::new(30);
/// WorkloadEntries.
pub(crate) const WORKLOAD_ENTRY: Rank = Rank::new(40);
/// Endpoints of ServiceEntries.
pub(crate) const INLINE_ENDPOINT: Rank = Rank::new(50);
/// Endpoints of slices.
pub(crate) const SLICE_ENDPOINT: Rank = Rank::new(60);
/// Pods.
pub(crate) const POD: Rank = Rank::new(70);
/// What every strict workload lists.
pub(crate) const STRICT_POLICY: Rank = Rank::new(80);
/// Policies of modes of ports.
pub(crate) const PORT_POLICY: Rank = Rank::new(90);
/// Policies that let waypoints through.
pub(crate) const IMPLICIT_ALLOW_POLICY: Rank = Rank::new(100);
/// Policies that require waypoints.
pub(crate) const WAYPOINT_POLICY: Rank = Rank::new(110);
/// AuthorizationPolicies.
pub(crate) const AUTHORIZATION_POLICY: Rank = Rank::new(120);
