//! What one client may take of a port: connections, requests, time.

mod bounds;
mod connection_state;
mod ends;
mod patience;
mod request_reader;
mod slot;

pub use bounds::{Bound, Bounds, Refusals};
pub(crate) use connection_state::Arrival;
pub use ends::{End, Ends};
pub use patience::Patience;
pub(crate) use request_reader::{Arrived, Intake, Rooms};
pub(crate) use slot::Slot;
