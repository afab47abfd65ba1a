//! What an Envoy reads first: who it is, where its control plane is, and how it shows that it may ask.
//!
//! Upstream's Envoy has no agent beside it. The token of its account is a file that is replaced from time to
//! time; Envoy follows a file only where a secret names it, so two secrets are files of their own.

mod document;
mod server;
mod settings;
mod xds;

pub use document::Documents;
pub use settings::{Bootstrap, ProxyKind, ROOT_SECRET, TOKEN_SECRET};
