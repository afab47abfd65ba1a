//! What certificates are signed by: the gate and the secure port ask, and know no difference.

use super::external::External;
use super::own_signer::OwnSigner;
use super::refused::Refused;
use ca::{Certificate, Identity, Issued, Issuer, SigningKey, SystemEntropy, TrustBundle};
use rustls::pki_types::UnixTime;
use std::time::Duration;

/// One generation of what signs, with the roots that its certificates lead to.
#[derive(Debug)]
pub enum Signer {
    /// A key of this control plane.
    Own(Box<OwnSigner>),
    /// Somebody else, asked through the API server.
    External(Box<External>),
}

/// What a workload asks to be signed. Whether it may is decided already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    /// Who asks, by a name that tells it from others. Without meaning to our own key.
    pub client: &'a str,
    /// One PEM block `CERTIFICATE REQUEST`.
    pub csr: &'a str,
    /// Whom the certificate is for.
    pub identity: &'a Identity,
    /// The external signer that the caller chooses; empty for none. Without meaning to our own key.
    pub signer: &'a str,
    /// The life asked for in seconds; zero and less stand for the default.
    pub life_seconds: i64,
}

impl From<Issuer> for Signer {
    fn from(issuer: Issuer) -> Self {
        Self::Own(Box::new(OwnSigner::new(issuer)))
    }
}

impl From<External> for Signer {
    fn from(external: External) -> Self {
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

    /// Returns the certificate that signs, where it is known beforehand.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Own(own) => Some(own.issuer().certificate()),
            Self::External(_) => None,
        }
    }

    /// Returns the certificates between every leaf and the roots, where they are known beforehand.
    pub fn intermediates(&self) -> &[Certificate] {
        match self {
            Self::Own(own) => own.issuer().intermediates(),
            Self::External(_) => &[],
        }
    }

    /// Tells whether `other` signs in the same way, under the same roots.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(one), Self::Own(other)) => {
                let (one, other) = (one.issuer(), other.issuer());
                one.certificate() == other.certificate()
                    && one.trust() == other.trust()
                    && one.intermediates() == other.intermediates()
            }
            (Self::External(one), Self::External(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Issues the certificate of a workload.
    pub(super) async fn issue(&self, order: Order<'_>) -> Result<Issued, Refused> {
        match self {
            Self::Own(own) => own.issue(order).await,
            Self::External(external) => external.issue(order).await,
        }
    }

    /// Issues a certificate for a server of the control plane itself, valid for `life` at most.
    /// `names` are DNS names or addresses.
    pub(super) async fn issue_serving(
        &self,
        key: &SigningKey,
        names: &[&str],
        life: Duration,
    ) -> Result<Issued, Refused> {
        match self {
            Self::Own(own) => {
                Ok(own.issuer().issue_serving(key, names, life, UnixTime::now(), &SystemEntropy)?)
            }
            Self::External(external) => external.issue_serving(key, names, life).await,
        }
    }
}
