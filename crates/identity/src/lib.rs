//! Identity: authenticates clients, authorizes what they ask for, and issues certificates.
//!
//! ```text
//!            engine ──snapshots──▶ IdentityIndex (pods, namespaces, trust domain)
//!                                      │
//!  Secret, files, state folder          ▼
//!     └──▶ roots ──▶ authority ──▶ authentication ◀── tokens
//!                       │            (client certificates, bearer tokens, who may have which certificate)
//!                       ├──▶ serving (TLS of the secure port)
//!                       └──▶ Kubernetes Events (problems with key material)
//! ```
//!
//! | module | purpose |
//! |---|---|
//! | `authentication` | who a client is, and what it may do |
//! | `tokens` | verifies bearer tokens |
//! | `authority` | the active signer and its roots |
//! | `external` | asks external signers through the API server |
//! | `roots` | loads, creates, rotates and watches key material, and hands it to the authority |
//! | `serving` | the serving certificate and TLS of the secure port |
//!
//! [`Identity`] wires them together. It reports when the secure port may be opened: once the first snapshot
//! of the mesh is published and there is a root to sign with. The servers and the controller that
//! distributes roots to namespaces live in other crates.

mod assembly;
mod authentication;
mod authority;
mod bindings;
mod clock;
mod external;
mod identity_index;
mod issue_request;
mod refused;
mod roots;
mod serving;
mod settings;
mod stats;
mod tokens;

pub use assembly::{
    DEVELOPMENT_TOKEN_TTL, Identity, IdentityError, IdentityView, KeyStore, NO_UID, development_token,
};
pub use authentication::{
    Authenticated, Authenticator, Authorizer, AuthorizerSettings, CertificateRequest, ClientCertificate,
    ClientCertificates, ClientVerifier, Connection, NodeClaim, ProxyCertificate, ProxySecret, StreamPermit,
    Tokens, client_certificate, proxy_secrets,
};
pub use authority::{
    ActiveMaterial, Authority, AuthorityStatus, MaterialReceiver, Problem, ProblemKind, Signer,
};
pub use bindings::Binding;
pub use clock::{Clock, SystemClock, Timer};
pub use identity_index::{IdentityIndex, LivePods, MeshIdentity};
pub use refused::Refused;
pub use roots::{DEVELOPMENT_ISSUER, ROOTS_KEY, ROTATE, StateDir, StateError, TRUST_BUNDLE, TrustBundles};
pub use settings::{Settings, SigningIntermediate};
pub use stats::{Count, Counts, IdentityStats, LeafExpiries, Timestamp};
pub use tokens::{Reach, RootsError, WebClient, WebError, reviewed};
