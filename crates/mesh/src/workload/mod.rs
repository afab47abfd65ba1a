//! Workloads as sent: pods, endpoints of slices, WorkloadEntries and endpoints of ServiceEntries.

mod entry;
mod fields;
mod inputs;
mod pod;
mod remote;
mod slice;
mod tables;

pub(crate) use entry::EntryWorkload;
pub(crate) use inputs::Inputs;
pub(crate) use remote::{Remote, RemoteKey};
pub(crate) use tables::{Workloads, declare};
