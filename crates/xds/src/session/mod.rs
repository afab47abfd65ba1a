//! Sessions: the protocol of one stream, without its sockets.
//!
//! The caller hands in requests and the newest snapshot, and takes one response at a time. Each kind of
//! proxy has its session; what they share stands beside them.
//!
//! ```text
//!   ztunnel  ┐   request   decoding under bounds      response  header + shared frames
//!            ├─▶ names     what is subscribed to      acks      nonces, acknowledgements, refusals
//!   envoy    ┘   pending   what awaits an answer      stats     what a session tells about itself
//! ```

mod acks;
mod any;
pub(crate) mod envoy;
mod initial;
mod names;
mod node;
mod pending;
mod request;
mod response;
mod stats;
pub(crate) mod ztunnel;

pub use any::Session;
pub use node::Node;
pub use request::{Question, Variant, node_of_request, question_of_request};
pub use response::Response;
pub use stats::{AckState, Nack, Refusal, RefusedResource, SessionStats, TypeStats};
