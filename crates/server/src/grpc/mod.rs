//! gRPC on HTTP/2: framing, statuses, and one call as a client.

mod message;
mod unary;

pub use message::MAX_REQUEST_BYTES;
pub(crate) use message::{MessageBuffer, PREFIX_BYTES, Status, prefix};
pub(crate) use unary::unary;
