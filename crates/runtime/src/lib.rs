//! The daemon: what the other crates offer, put together.
//!
//! ```text
//! source/folder, cluster ──batches──▶ engine thread (mesh, log) ──snapshots──▶ server
//!                                      │  ▲                                     │
//!                          subscribers ◀┘  └── pages, metrics: ask            Clients
//!                               │
//!        identity (pods, settings), controllers (names of what changed), the order of streams (nodes)
//! ```
//!
//! [`serve::Daemon`] puts the parts together; [`config`] is the only place that reads settings.

pub mod config;
pub mod controllers;
pub mod engine_thread;
pub mod keys;
pub mod kinds;
mod latency;
pub mod log;
pub mod metrics;
pub mod pages;
pub mod refusals;
pub mod secure;
pub mod serve;
pub mod source;
mod subscribers;
pub mod telemetry;
pub mod views;
pub mod webhook;
