//! The mesh of a real API server, as a ztunnel comes to hold it.
//!
//! ```text
//! API server ──(proxy)──▶ daemon, in this process ──delta xDS──▶ reference client
//!      │                                                              │
//!      ├──── fresh list ──▶ fresh computation ──── byte for byte ─────┘
//!      └──── statuses ────────────┘ word for word
//! ```
//!
//! A test is done with waiting when the client and the statuses hold what a computation from scratch
//! makes of what the API server holds: nothing here sleeps.

mod cluster;
mod daemon;
mod edits;
mod fresh;
mod proxy;
mod statuses;

mod bookinfo;
mod capabilities;
mod kinds;
mod networks;
mod outage;
mod random;
mod refusal;
mod rights;
