//! The SPIFFE certificate authority, without I/O: the caller passes the time, the entropy, the
//! bytes of Secrets and files, and the pods; what comes back are certificates and refusals.
//!
//! ```text
//!  bearer token ──▶ token::verify ──▶ ServiceAccountToken ─┐        who asks
//!  client cert  ──▶ Certificate::identities ───────────────┤
//!                                                          ▼
//!  ImpersonatedIdentity ─────────▶ NodeAuthorizer ◀── Pods (node → accounts)
//!                                                          │        for whom
//!  CSR ──▶ SigningRequest (its key, nothing else) ──┐      ▼
//!                                                   └▶ Issuer::issue ──▶ Issued
//!                                                          ▲            leaf, chain, roots
//!  Secret ──▶ RootState ── signing root + trust ───────────┤
//!  files  ──▶ KeyMaterial (plugged-in intermediate) ───────┘
//!              └─ Issuer::intermediate (P-256, if that key is slow)
//!
//!  CSR ──▶ ExternalRequest (all of it counts) ──▶ a signer elsewhere ──▶ accept ──▶ Issued
//! ```
//!
//! Invariants
//! - Only the public key of a request enters a certificate; it is encoded anew, never copied.
//! - An [`Issuer`] is one immutable snapshot of certificate, key, chain and roots: a rotation
//!   replaces it whole, so that no answer mixes generations.
//! - Nothing is signed after the signing certificate has expired, nor beyond its expiry.
//! - Key material that does not verify is refused whole; what is active stays active.
//! - Every input is bounded before it is parsed, and every refusal is typed: it has a gRPC
//!   [`Code`], a short `reason` for a metric's label, and a text for the log.
//!
//! ```
//! use pilothouse_ca::{Identity, Issuer, Root, SigningKey, SigningRequest, SystemEntropy, TtlPolicy};
//! use rustls_pki_types::UnixTime;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
//! let root = Root::create("cluster.local", Duration::from_secs(87_600 * 3600), now, &SystemEntropy)?;
//! let issuer = Issuer::self_signed(&root, TtlPolicy::default())?;
//!
//! let key = SigningKey::generate_p256()?;
//! let request = SigningRequest::from_pem(&key.request_pem(&["spiffe://cluster.local/ns/shop/sa/web"])?)?;
//! let identity = Identity::parse("spiffe://cluster.local/ns/shop/sa/web")?;
//! let issued = issuer.issue(&request, &identity, 3600, now, &SystemEntropy)?;
//! assert_eq!(issued.chain.len(), 2);
//! # Ok(()) }
//! ```

mod authorize;
mod bundle;
mod certificate;
mod chain;
mod crl;
mod der;
mod entropy;
mod external;
#[cfg(test)]
mod fixture;
mod identity;
mod intermediate;
mod issuer;
mod key;
mod material;
mod pair;
mod peers;
mod pem;
mod pods;
mod profile;
mod refusal;
mod request;
mod root;
mod rotation;
mod secret;
mod serial;
mod server_name;
mod signature;
mod stream;
pub mod token;
mod ttl;

pub use authorize::{Caller, CertificateRenewal, Denial, NodeAuthorizer, TrustedAccountsError};
pub use bundle::{BundleError, TrustBundle};
pub use certificate::{Certificate, CertificateError};
pub use chain::{ChainError, verify_chain};
pub use crl::{CrlError, RevocationLists};
pub use entropy::{Entropy, NoEntropy, SystemEntropy};
pub use external::{
    AnswerError, ExternalRefusal, ExternalRequest, MIN_EXTERNAL_LIFE, Purpose, SignerNames, SignerRoots,
    check_external_request, root_of_answer,
};
pub use identity::{Identity, IdentityError};
pub use intermediate::IntermediateError;
pub use issuer::{IssueError, Issued, Issuer, IssuerError};
pub use key::{KeyError, SigningKey};
pub use material::{CRL_FILE, KeyMaterial, MaterialError, PLUGGED_IN_FILES, TLS_FILES};
pub use model::TrustDomain;
pub use pair::PairError;
pub use peers::PeerError;
pub use pods::{PodIndex, Pods, RunningPod};
pub use refusal::{Code, Refusal};
pub use request::{MAX_REQUEST_BYTES, PublicKeyKind, RequestError, SigningRequest};
pub use root::{Root, RootError};
pub use rotation::{Incoming, Retiring, RootState, RotationError, RotationPolicy, Step};
pub use secret::{SECRET_TYPE, SecretError};
pub use serial::Serial;
pub use stream::{ProxyKind, StreamDenial, StreamNode, StreamPolicy, authorize_gateway, authorize_stream};
pub use ttl::{TtlError, TtlPolicy, Validity};
