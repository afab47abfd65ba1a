//! The routing model: for each hostname at each listener or service, its rules in the order in which they
//! are tried.

mod host;
mod order;
mod sentence;

pub use host::{Host, Placed, Routing};

pub(crate) use host::{Inputs, declare};
