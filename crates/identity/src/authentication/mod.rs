//! Who a client is, and what it may do.
//!
//! ```text
//!  client certificate ─▶ still valid ─▶ live account ─┐          ┌─▶ stream: node matches identity, bound to its pod
//!                                                     ├─▶ Caller ┤
//!  bearer token ─▶ limits ─▶ verified ─▶ live pod ────┘          └─▶ certificate: own, or of a pod on its node
//!                                                                                │ an Envoy's
//!                                                       roots, its certificate ◀─┘ proxy_secrets
//!  ╰─────────────── Authenticator ────────────╯                  ╰────────────── Authorizer ──────────────╯
//! ```
//!
//! Each call is checked again: a connection may outlive the credential that was shown in the handshake.

mod authenticator;
mod authorizer;
mod caller;
mod client_certificates;
mod proxy_secrets;
mod vouched_pods;

pub use authenticator::Authenticator;
pub use authorizer::{Authorizer, AuthorizerSettings, CertificateRequest, NodeClaim, StreamPermit};
pub use caller::{Authenticated, Connection, Tokens};
pub use client_certificates::{ClientCertificate, ClientCertificates, ClientVerifier, client_certificate};
pub use proxy_secrets::{ProxyCertificate, ProxySecret, proxy_secrets};
