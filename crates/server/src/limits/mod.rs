//! What one client may take of a port: connections, requests, time.

mod bounds;
mod closed;
mod connection_state;
mod request_reader;
mod slot;
mod timeouts;

pub use bounds::{Bound, Bounds, Refusals};
pub use closed::{CloseCounts, CloseReason};
pub(crate) use connection_state::ConnectionState;
pub(crate) use request_reader::{Request, RequestBudgets, RequestReader};
pub(crate) use slot::Slot;
pub use timeouts::Timeouts;
