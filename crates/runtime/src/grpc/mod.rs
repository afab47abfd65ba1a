//! gRPC on HTTP/2: discovery for ztunnels, and certificates.
//!
//! ```text
//!   TcpListener ──> Service::serve ──> one task per connection (TLS, hyper, HTTP/2): an Arrival
//!                        │                    │
//!                        │ path               │ one task per call
//!                        v                    v
//!                       Ads ── open ──> body of the response = xds::Session + log
//!                        ^                    │          └──> StreamGuard: credential, pod, node
//!     Fanout: newest snapshot, own nodes first └──> Clients: who is connected, and how far
//! ```
//!
//! With a [`Gate`](crate::identity::Gate) each call is authenticated first, and certificates are issued.
//!
//! The framing is written here rather than taken from a gRPC library, since a response is made of
//! shared stretches of a log: it is never one message in memory.

mod ads;
mod arrival;
mod bounds;
mod ca;
mod clients;
mod connection;
mod fanout;
mod frames;
mod guard;
mod intake;
mod message;
mod port;
mod reading;
mod server;
mod told;
mod unary;

pub use ads::Ads;
pub use bounds::{Bound, Bounds, Refusals};
pub use clients::{ClientView, Clients, Totals, TypeTotals};
pub use connection::{End, Ends, Patience};
pub use fanout::Concerned;
pub use message::MAX_REQUEST_BYTES;
pub use server::{ResponseBody, Service};
pub use unary::{CallError, unary};
