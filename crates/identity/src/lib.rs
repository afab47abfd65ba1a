//! Identity: the certificate authority, TLS of the secure port, and who may ask for what.
//!
//! ```text
//!                 source ──events──▶ World (pods, namespaces, trust domain)
//!                                      │
//!  Secret, files, state folder          ▼
//!        └──▶ Keeper ──▶ Authority ──▶ Gate ◀── Tokens
//!                            │             (keys of the API server and of further issuers, TokenReview)
//!                            ├──▶ Serving (TLS of the secure port)
//!                            └──▶ Events (what is wrong with key material)
//! ```
//!
//! [`Identity`] puts the parts together. It tells when the secure port may be opened: once there is a mesh
//! to serve and a root to sign with. Servers and the publishing of roots are other crates' matter.

mod assembly;
mod authority;
mod events;
mod external;
mod gate;
mod keeper;
mod key_source;
mod new_tokens;
mod own_signer;
mod pods;
mod published_keys;
mod refused;
mod review;
mod root_secret;
mod serving;
mod settings;
mod signer;
mod state_dir;
mod stats;
mod tokens;
mod trouble;
mod trust_bundle;
mod web;
mod world;

pub use assembly::{
    DEVELOPMENT_TOKEN_LIFE, Home, Identity, IdentityError, IdentityView, NO_UID, development_token,
};
pub use authority::{Authority, AuthorityStatus, Changes, InForce};
pub use gate::{Admission, Authenticated, CertificateRequest, Connection, Gate, GateSettings, NodeClaim};
pub use pods::{Binding, PodTable};
pub use refused::Refused;
pub use root_secret::{ROOTS_KEY, ROTATE};
pub use serving::{ShownCertificate, client_identity};
pub use settings::Settings;
pub use signer::Signer;
pub use state_dir::{DEVELOPMENT_ISSUER, StateDir, StateError};
pub use stats::{Count, Counts, IdentityStats, LeafEnds, Moment};
pub use trouble::{Trouble, TroubleKind};
pub use trust_bundle::{TRUST_BUNDLE, TrustBundles};
pub use world::{MeshIdentity, World, WorldError, WorldWriter};
