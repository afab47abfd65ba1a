//! The conditions of objects: what they say, and when they are written.

mod apply;
mod conditions;
mod distribution;
mod tracker;

pub(super) use apply::{Stored, Wanted, manager};
pub(super) use conditions::write;
pub use tracker::Pace;
