//! gRPC on HTTP/2: discovery for ztunnels.
//!
//! ```text
//!   TcpListener ──> Service::serve ──> one task per connection (hyper, HTTP/2)
//!                        │                    │
//!                        │ path               │ one task per call
//!                        v                    v
//!                       Ads ── open ──> body of the response = xds::Session + log
//!                        ^                    │
//!        watch: newest snapshot               └──> Clients: who is connected, and how far
//! ```
//!
//! The framing is written here rather than taken from a gRPC library, since a response is made of
//! shared stretches of a log: it is never one message in memory.

mod ads;
mod clients;
mod message;
mod server;

pub use ads::Ads;
pub use clients::{ClientView, Clients, Totals};
pub use message::MAX_REQUEST_BYTES;
pub use server::{ResponseBody, Service};
