//! Bounds on what clients may take, without I/O: the caller passes addresses and the time.
//!
//! | type | bounds |
//! |---|---|
//! | [`KeyedSemaphore`] | how many permits each key holds at once |
//! | [`FairSlots`] | how many slots there are at once; when all are taken, whoever has the most loses one |
//! | [`FairBudget`] | how many bytes are held at once; when all are taken, whoever holds the most gives some up |
//! | [`TokenBucket`], [`Limiter`] | how often something may be done, by one client and by all |
//! | [`PeerLimiter`] | how often by one address, and by its network |
//! | [`LogThrottle`], [`Occurrences`] | how many log lines a repeated event makes |
//!
//! [`Peer`] and [`Network`] say which addresses count as one client.

mod fair_budget;
mod fair_slots;
mod keyed_semaphore;
mod log_throttle;
mod peer;
mod peer_limiter;
mod ranking;
mod token_bucket;

pub use fair_budget::{Charge, Exhausted, FairBudget};
pub use fair_slots::{Evicted, FairSlot, FairSlots, Full, HolderKind, NoSlot, SlotLimits};
pub use keyed_semaphore::{KeyedSemaphore, Permit};
pub use log_throttle::{LogThrottle, Occurrences, truncated};
pub use peer::{Network, Peer};
pub use peer_limiter::PeerLimiter;
pub use token_bucket::{Limiter, Limits, Rate, Refill, TokenBucket};
