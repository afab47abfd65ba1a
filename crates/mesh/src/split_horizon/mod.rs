//! Other networks as this one sees them: behind their gateways, one workload for each service.
//!
//! ```text
//! workloads ──▶ parts ──by (network, service)──▶ sums ─┬▶ summary, one for each GLOBAL service and
//!                                                      │  each network with a gateway
//!                                                      └▶ subject_alt_names of the service
//! ```
//!
//! A workload of another network has no address that this one can use, so it is not sent. A change of
//! it runs again the sum of its part and that of the parts of its network and service, and nothing else
//! unless that comes out as another one.

mod global_service;
mod summary;

pub(crate) use global_service::{GlobalService, declare as declare_global};
pub(crate) use summary::{Summary, declare};
