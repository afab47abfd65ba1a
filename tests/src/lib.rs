//! The reference client, fixtures of real parts, and the tests that cross crates.
pub mod apiserver;
pub mod certificates;
pub mod client;
pub mod conformance;
pub mod envoy;
mod go;
pub mod helm;
pub mod kubectl;
pub mod program;
pub mod promql;
mod python;
pub mod recorder;
pub mod signer;
pub mod spiffe;
pub mod statuses;
