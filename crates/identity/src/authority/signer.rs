//! The signer of certificates: a key of this control plane, or an external signer.

use super::own_signer::OwnSigner;
use crate::clock::Clock;
use crate::external::ExternalSigner;
use crate::issue_request::IssueRequest;
use crate::refused::Refused;
use ca::{Certificate, Issued, SigningKey, SystemEntropy, TrustBundle};
use std::time::Duration;

/// One generation of a signer, with the roots that its certificates chain to.
#[derive(Debug)]
pub enum Signer {
    /// A key of this control plane.
    Own(Box<OwnSigner>),
    /// An external signer, reached through the API server.
    External(Box<ExternalSigner>),
}

impl From<OwnSigner> for Signer {
    fn from(own: OwnSigner) -> Self {
        Self::Own(Box::new(own))
    }
}

impl From<ExternalSigner> for Signer {
    fn from(external: ExternalSigner) -> Self {
        Self::External(Box::new(external))
    }
}

impl Signer {
    /// Returns the roots that peers are told to trust.
    pub fn trust(&self) -> &TrustBundle {
        match self {
            Self::Own(own) => own.issuer().trust(),
            Self::External(external) => external.trust(),
        }
    }

    /// Returns the signing certificate; `None` for an external signer.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Own(own) => Some(own.issuer().certificate()),
            Self::External(_) => None,
        }
    }

    /// Returns the intermediate certificates between leaves and roots; empty for an external signer.
    pub fn intermediates(&self) -> &[Certificate] {
        match self {
            Self::Own(own) => own.issuer().intermediates(),
            Self::External(_) => &[],
        }
    }

    /// Returns the intermediate of this process that signs below the signing certificate, or why there is
    /// none; `None` if there need not be one, or nothing was signed yet.
    pub fn own_intermediate(&self) -> Option<Result<Certificate, String>> {
        match self {
            Self::Own(own) => own.intermediate(),
            Self::External(_) => None,
        }
    }

    /// Returns whether `other` signs with the same certificate or signer, under the same roots.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(one), Self::Own(other)) => {
                let is_alike = one.has_intermediate() == other.has_intermediate();
                let (one, other) = (one.issuer(), other.issuer());
                is_alike
                    && one.certificate() == other.certificate()
                    && one.trust() == other.trust()
                    && one.intermediates() == other.intermediates()
            }
            (Self::External(one), Self::External(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Issues the certificate of a workload.
    pub(crate) async fn issue(
        &self,
        request: IssueRequest<'_>,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        match self {
            Self::Own(own) => own.issue(request, clock).await,
            Self::External(external) => external.issue(request, clock).await,
        }
    }

    /// Issues a serving certificate of the control plane itself, valid for at most `ttl`.
    /// `names` are DNS names or IP addresses.
    pub(crate) async fn issue_serving(
        &self,
        key: &SigningKey,
        names: &[&str],
        ttl: Duration,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        match self {
            Self::Own(own) => Ok(own.issuer().issue_serving(key, names, ttl, clock.now(), &SystemEntropy)?),
            Self::External(external) => external.issue_serving(key, names, ttl, clock).await,
        }
    }
}
