//! What one client may take of a port: connections, requests, memory, time.

mod bounds;
mod closed;
mod connection_state;
mod memory;
mod places;
mod request_reader;
mod slot;
mod timeouts;

pub(crate) use bounds::RefusedCall;
pub use bounds::{Bound, Bounds, Refusals};
pub use closed::{CloseCounts, CloseReason};
pub(crate) use connection_state::ConnectionState;
pub(crate) use memory::{MemoryBudgets, StreamMemory};
pub(crate) use places::Places;
pub(crate) use request_reader::{Request, RequestBudgets, RequestReader};
pub(crate) use slot::{PeerSlots, Slot, peer_slots};
pub use timeouts::Timeouts;
