//! Certificates from a signer that is not ours, asked through the API server of the cluster.
//!
//! ```text
//!  request ──check──▶ Desk ──create, approve──▶ CertificateSigningRequest ──▶ the signer
//!                      │ ◀──one watch of ours──────────┘ certificate, denied, failed
//!                      │        (what nobody waits for any more is deleted)
//!  answer ◀──check─────┘ delete, always
//!
//!  file, mesh settings, or the chain that it returns ──▶ Supply ──▶ Authority: which roots
//! ```

mod desk;
mod supply;
mod watch;

pub(super) use desk::{Desk, DeskSettings};
pub(super) use supply::Supply;

use super::refused::Refused;
use super::signer::Order;
use ca::{ExternalRequest, Identity, Issued, SignerNames, SignerRoots, SigningKey, TrustBundle, TtlPolicy};
use desk::Asker;
use rustls::pki_types::UnixTime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A signer that is not ours, and the roots that its certificates must lead to.
pub struct External {
    desk: Arc<Desk>,
    names: SignerNames,
    ttl: TtlPolicy,
    roots: SignerRoots,
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External")
            .field("names", &self.names)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl External {
    /// Returns the roots of all signers that may be asked.
    pub(super) fn trust(&self) -> &TrustBundle {
        self.roots.trust()
    }

    /// Returns the name of the signer that is asked where a caller chooses none.
    pub fn name(&self) -> &str {
        self.names.default_signer()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.names == other.names && self.roots == other.roots
    }

    /// Has the request of a workload signed. Whatever is wrong with it shows before anybody is asked.
    pub(super) async fn issue(&self, order: Order<'_>) -> Result<Issued, Refused> {
        let Order { client, csr, identity, signer, life_seconds } = order;
        let identity: &Identity = identity;
        let request = ExternalRequest::of_workload(csr, identity, life_seconds, &self.ttl)?;
        self.sign(Asker::Client(client), &request, &self.names.choose(signer)?).await
    }

    /// Has a certificate signed for a server of the control plane.
    pub(super) async fn issue_serving(
        &self,
        key: &SigningKey,
        names: &[&str],
        life: Duration,
    ) -> Result<Issued, Refused> {
        let request = ExternalRequest::of_server(key, names, life.min(self.ttl.max_life()))?;
        self.sign(Asker::Itself, &request, self.name()).await
    }

    async fn sign(&self, of: Asker<'_>, request: &ExternalRequest, signer: &str) -> Result<Issued, Refused> {
        let roots = self.roots.of(signer).ok_or_else(|| Refused {
            code: ca::Code::InvalidArgument,
            reason: "signer_roots",
            detail: format!(
                "no roots are known of the signer {signer}; name them in caCertificates of the mesh settings"
            ),
        })?;
        let answer = self.desk.ask(of, request, signer).await?;
        Ok(request.accept(&answer, roots, self.trust(), UnixTime::now())?)
    }
}
