//! Listeners.

mod chain;
mod direct;
mod edge;
mod elsewhere;
mod http;
mod originate;
mod port;
mod requests;
mod state;
mod terminate;

pub(crate) use direct::direct;
pub(crate) use edge::{Edge, Hosts, Over, over_quic, over_tls};
pub(crate) use elsewhere::{inner_connect_originate, outer_connect_originate, waypoint_originate};
pub(crate) use originate::connect_originate;
pub(crate) use port::of_port;
pub(crate) use requests::main_internal;
pub(crate) use terminate::{connect_pass, connect_terminate};
