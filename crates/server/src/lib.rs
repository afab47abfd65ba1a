//! The ports of the process: discovery and certificates over gRPC, health and monitoring over HTTP.
//!
//! ```text
//!   listen   TcpListener ──> one task per connection (TLS, hyper, HTTP/2): a ConnectionState
//!                                  │ path               one task per call
//!   service                  Service::answer
//!                              │           └──> certificates: CreateCertificate
//!   ads                       Ads ── open ──> body of the response = xds::ZtunnelSession + log
//!                              ^                    │       └──> StreamGuard: credential, pod, node
//!       Fanout: newest snapshot, affected nodes first └──> Clients: who is connected, and how far
//!   limits   what one client may take: connections, requests, time
//!   grpc     framing and statuses
//!   http     plain HTTP/1 ports
//! ```
//!
//! With an [`identity::Authorizer`] each call is authenticated first, and certificates are issued.
//!
//! The framing is written here rather than taken from a gRPC library, since a response is made of
//! shared stretches of a log: it is never one message in memory.

mod ads;
mod certificates;
mod grpc;
pub mod http;
mod latencies;
mod limits;
mod listen;
mod service;

pub use crate::ads::{
    Ads, AffectedNodes, ClientRefusals, ClientView, Clients, DebugAnswer, DebugApi, PendingAnswer, Totals,
    TypeTotals,
};
pub use crate::grpc::MAX_REQUEST_BYTES;
pub use crate::latencies::{LATENCY_BUCKETS, Latencies};
pub use crate::limits::{Bound, Bounds, CloseCounts, CloseReason, Refusals, Timeouts};
pub use crate::listen::SecurePort;
pub use crate::service::{ResponseBody, Service};
