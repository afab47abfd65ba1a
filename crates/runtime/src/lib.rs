//! Everything that touches the world: sources, servers, the engine thread.
//!
//! ```text
//! source/{kube,folder} ──batches──▶ pump (one thread: mesh, log) ──snapshots──▶ grpc
//!                                     ▲                                          │
//!                              http, metrics: ask                             Clients
//!
//! identity: certificates and the secure port, fed from the same batches
//! status: conditions and automatic addresses, written by the replica that leads
//! ```
//!
//! [`serve::Daemon`] puts the parts together; [`config`] is the only place that reads settings.

pub mod config;
mod fair;
pub mod grpc;
pub mod http;
mod http_port;
pub mod identity;
pub mod metrics;
mod peer;
pub mod pump;
pub mod serve;
pub mod source;
pub mod status;
mod tally;
pub mod telemetry;
