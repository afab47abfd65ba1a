//! The routing model: for each hostname at each listener or service, its rules in the order in which they
//! are tried.

mod host;
mod order;
mod outcome;
mod placed;
mod sentence;

pub use host::{Host, Routing};
pub use outcome::{Outcome, Request};
pub use placed::Placed;

pub(crate) use host::{Inputs, declare};
