//! Loads, creates, rotates and watches roots, and activates them in the authority.
//!
//! ```text
//!  RootManager ── plugged_in    files of --ca-dir, or the Secret cacerts
//!              ├─ root_secret   self-signed root in the Secret istio-ca-secret
//!              └─ state_dir     self-signed root in a folder, without a cluster
//!  ExternalSignerSource         roots of external signers
//! ```

mod external_source;
mod material_files;
mod plugged_in;
mod root_manager;
mod root_secret;
mod state_dir;
mod trust_bundle;

pub(crate) use external_source::ExternalSignerSource;
pub(crate) use root_manager::{KeyLocation, RootManager, RootSettings};
pub use root_secret::{ROOTS_KEY, ROTATE};
pub use state_dir::{DEVELOPMENT_ISSUER, StateDir, StateError};
pub use trust_bundle::{TRUST_BUNDLE, TrustBundles};
