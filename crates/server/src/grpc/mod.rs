//! gRPC on HTTP/2: framing and statuses.

mod message;

pub use message::MAX_REQUEST_BYTES;
pub(crate) use message::{MessageBuffer, PREFIX_BYTES, Status, prefix};
