//! Listeners.

mod chain;
mod direct;
mod http;

mod originate;
mod port;
mod requests;
mod state;
mod terminate;

pub(crate) use direct::direct;
pub(crate) use http::SCOPE_HEADER;
pub(crate) use originate::connect_originate;
pub(crate) use port::of_port;
pub(crate) use requests::main_internal;
pub(crate) use terminate::connect_terminate;
