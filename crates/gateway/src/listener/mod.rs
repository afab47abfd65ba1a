//! Listeners of gateways and of the ListenerSets attached to them.

mod conflict;
mod merge;
mod protocol;
mod row;
mod table;

pub use conflict::Conflict;
pub use protocol::Protocol;
pub use row::{Listener, Tls};

pub(crate) use merge::{GatewayListeners, Inputs, SetState, declare as declare_gateways};
pub(crate) use table::{Listeners, declare};
