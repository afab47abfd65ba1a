//! The conditions of objects: what they say, and when they are written.

mod acks;
mod compare;
mod conditions;
mod tracker;

pub(super) use compare::{Desired, Stored, field_manager};
pub(super) use conditions::run;
pub use tracker::ReportIntervals;
