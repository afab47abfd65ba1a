//! The reference client, fixtures of real parts, and the tests that cross crates.
pub mod apiserver;
pub mod certificates;
pub mod client;
pub mod conformance;
mod go;
pub mod helm;
pub mod kubectl;
pub mod recorder;
pub mod signer;
pub mod statuses;
