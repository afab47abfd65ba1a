//! An external signer, and the roots that its certificates must chain to.

use super::csr_client::{CsrClient, Requester};
use crate::clock::Clock;
use crate::issue_request::IssueRequest;
use crate::refused::Refused;
use ca::{ExternalRequest, Issued, SignerNames, SignerRoots, SigningKey, TrustBundle, TtlPolicy};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An external signer, and the roots that its certificates must chain to.
pub struct ExternalSigner {
    csr_client: Arc<CsrClient>,
    names: SignerNames,
    ttl: TtlPolicy,
    roots: SignerRoots,
}

impl fmt::Debug for ExternalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalSigner")
            .field("names", &self.names)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl ExternalSigner {
    /// Requests certificates of these signers through `csr_client`.
    pub(crate) fn new(
        csr_client: Arc<CsrClient>,
        names: SignerNames,
        ttl: TtlPolicy,
        roots: SignerRoots,
    ) -> Self {
        Self { csr_client, names, ttl, roots }
    }

    /// Returns the roots of all signers that clients may choose from.
    pub(crate) fn trust(&self) -> &TrustBundle {
        self.roots.trust()
    }

    /// Returns the name of the default signer.
    pub fn name(&self) -> &str {
        self.names.default_signer()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.names == other.names && self.roots == other.roots
    }

    /// Requests the certificate of a workload. The CSR is validated before the signer is asked.
    pub(crate) async fn issue(
        &self,
        request: IssueRequest<'_>,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        let IssueRequest { client, csr, identity, signer, ttl_seconds, charge } = request;
        let request = ExternalRequest::of_workload(csr, identity, ttl_seconds, &self.ttl)?;
        let signer = self.names.choose(signer)?;
        charge()?;
        self.sign(Requester::Client(client), &request, &signer, clock).await
    }

    /// Requests a serving certificate of the control plane.
    pub(crate) async fn issue_serving(
        &self,
        key: &SigningKey,
        names: &[&str],
        ttl: Duration,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        let request = ExternalRequest::of_server(key, names, ttl.min(self.ttl.max_life()))?;
        self.sign(Requester::ControlPlane, &request, self.name(), clock).await
    }

    async fn sign(
        &self,
        requester: Requester<'_>,
        request: &ExternalRequest,
        signer: &str,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        let roots = self.roots.of(signer).ok_or_else(|| Refused {
            code: ca::Code::InvalidArgument,
            reason: "signer_roots",
            detail: format!(
                "the roots of the signer {signer} are not configured; add them to caCertificates in the mesh settings"
            ),
        })?;
        let answer = self.csr_client.request(requester, request, signer).await?;
        Ok(request.accept(&answer, roots, self.trust(), clock.now())?)
    }
}
