//! Bounds on what clients may take, without I/O: the caller passes addresses and the time.
//!
//! | type | bounds |
//! |---|---|
//! | [`KeyedSemaphore`] | how many permits each key holds at once |
//! | [`FairSlots`] | how many slots there are at once; when all are taken, the peer with the most loses one |
//! | [`TokenBucket`], [`Limiter`] | how often something may be done, by one client and by all |
//! | [`LogThrottle`], [`Occurrences`] | how many log lines a repeated event makes |
//!
//! [`Peer`] says which addresses count as one client.

mod fair_slots;
mod keyed_semaphore;
mod log_throttle;
mod peer;
mod token_bucket;

pub use fair_slots::{FairSlot, FairSlots, NoSlot};
pub use keyed_semaphore::{KeyedSemaphore, Permit};
pub use log_throttle::{LogThrottle, Occurrences, truncated};
pub use peer::Peer;
pub use token_bucket::{Limiter, Limits, Rate, Refill, TokenBucket};
