//! What is written into the cluster: conditions, statuses of the Gateway API and automatic addresses by one
//! elected replica each, roots and configurations of webhooks by all.
//!
//! ```text
//!   clients: acknowledgements, refusals ──▶┐
//! engine ──names──▶ ChangedObjects ──▶ status, of the mesh ──┐                  ┌─ read the status
//!                                ├──▶ status, of gateways ───┼─▶ StatusWriter ──┤
//!                                └──▶ addresses ─────────────┘                  └─ write, if it differs
//!                                        ▲
//!               locks ─▶ elections ──────┘ while this replica leads
//!                            └──▶ unread: lists kinds that are not read ──▶ StatusWriter
//!
//! identity ──roots, revocation lists──▶ roots ──▶ ConfigMaps, a ClusterTrustBundle
//!         └─roots──▶ webhooks ──▶ ValidatingWebhookConfigurations
//! ```
//!
//! - Nothing here delays what clients are sent. The engine thread notes names and goes on; without a
//!   leader, without rights, without an API server the mesh is served all the same.
//! - A status is read before it is written, and written only if its content differs and only over the
//!   version that was read: no write is needless, and nobody else's is undone.
//! - The locks, their timings and the field managers of conditions are those of istiod, so that its
//!   replicas and ours take turns. A lock is never acquired while its holder renews it.
//! - A new leader compares everything in the cluster first; a replica that does not lead keeps nothing.

mod addresses;
mod changes;
mod deployment;
mod leader;
pub mod roots;
mod settings;
mod stats;
mod status;
mod unread;
pub mod webhooks;

pub use changes::ChangedObjects;
pub use leader::Controllers;
pub use settings::{RELIST_INTERVAL, RESYNC_DELAY, StatusSettings};
pub use stats::StatusStats;
pub use status::ReportIntervals;
