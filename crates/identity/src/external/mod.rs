//! Certificates from external signers, requested through the API server of the cluster.
//!
//! ```text
//!  CSR ──validate──▶ CsrClient ──create, approve──▶ CertificateSigningRequest ──▶ external signer
//!                       │ ◀──one watch per process───────┘ certificate, Denied, Failed
//!                       │        (orphaned requests are deleted)
//!  certificate ◀──verify┘ always deletes the object
//! ```

mod csr_client;
mod signer;
mod watch;

pub(crate) use csr_client::{CsrClient, CsrSettings, Requester};
pub use signer::ExternalSigner;
