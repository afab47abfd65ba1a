//! Policies of the Gateway API for backends: which one holds for a service, and what their authors are told.

mod sentence;
mod target;
mod tls;
mod traffic;

pub use target::{Held, PolicyTarget};
pub use tls::{BackendTls, Verification};
pub use traffic::BackendTraffic;

pub(crate) use target::Inputs;

use engine::Builder;
use output::Outputs;

/// The policies that hold.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// TLS towards backends: that of a port by name goes before that of its service.
    pub tls: Held<BackendTls>,
    /// Retries towards backends.
    pub traffic: Held<BackendTraffic>,
}

/// Declares them, and the statuses of all.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) -> Policies {
    Policies { tls: tls::declare(b, out, inputs), traffic: traffic::declare(b, out, inputs) }
}
