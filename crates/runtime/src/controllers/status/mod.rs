//! The statuses of objects: what they say, and when they are written.

mod acks;
mod classes;
mod compare;
mod conditions;
mod refused;
mod tracker;

pub(super) use compare::{ACCEPTED, Desired, Part, Stored, part_of};
pub(super) use conditions::run;
pub use tracker::ReportIntervals;
