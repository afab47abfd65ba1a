//! What comes back from an external signer: taken only if it is exactly what was asked for.

use super::names::NameSet;
use super::request::{ExternalRequest, Purpose};
use crate::bundle::{BundleError, TrustBundle};
use crate::certificate::{self, Certificate, CertificateError};
use crate::chain::{ChainError, verify_chain};
use crate::issuer::Issued;
use crate::refusal::{Code, Refusal};
use crate::request::SubjectKey;
use crate::ttl::BACKDATE;
use rustls_pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;

/// Why the answer of an external signer is not passed on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerError {
    /// The text cannot be read.
    #[error("external signer returned what cannot be read: {0}")]
    Unreadable(#[from] CertificateError),
    /// The certificate is for another key.
    #[error("external signer returned a certificate for another key than that of the request")]
    Key,
    /// The certificate has other names, or more.
    #[error("external signer returned a certificate with other names than those of the request")]
    Names,
    /// The certificate is one of an authority, or may not be used as it must.
    #[error("external signer returned a certificate that {0}; it must be asked to honour usages")]
    Usage(&'static str),
    /// The certificate lives longer than it was asked to.
    #[error(
        "external signer returned a certificate that is valid for {found} s from now on where {asked} s were asked for; it must honour expirationSeconds"
    )]
    TooLong {
        /// Seconds from now until its end.
        found: u64,
        /// Seconds asked for.
        asked: u64,
    },
    /// Clients would renew it at once, again and again.
    #[error("external signer returned a certificate of which half the life is over")]
    HalfOver,
    /// The certificate leads to no root.
    #[error("external signer returned a chain that leads to no root of the mesh: {0}")]
    Chain(#[from] ChainError),
    /// What follows the certificate are no authorities.
    #[error("external signer returned a chain with a certificate that is no authority")]
    NoAuthority,
    /// The chain does not end with a root.
    #[error(
        "external signer returns no root: the last certificate of its chain is not self-signed; name its roots by --external-root, or in caCertificates of the mesh settings"
    )]
    NoRoot,
    /// The root at the end of the chain is refused.
    #[error(transparent)]
    Root(#[from] BundleError),
}

impl Refusal for AnswerError {
    fn code(&self) -> Code {
        Code::Internal
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "signer_unreadable",
            Self::Key => "signer_key",
            Self::Names => "signer_names",
            Self::Usage(_) => "signer_usage",
            Self::TooLong { .. } | Self::HalfOver => "signer_life",
            Self::Chain(_) | Self::NoAuthority | Self::NoRoot | Self::Root(_) => "signer_chain",
        }
    }
}

impl ExternalRequest {
    /// Takes the answer to this request, certificates in PEM with the leaf first, if it is the
    /// certificate that was asked for and leads to one of `roots`. Peers are told to trust `trust`.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn accept(
        &self,
        answer: &[u8],
        roots: &TrustBundle,
        trust: &TrustBundle,
        now: UnixTime,
    ) -> Result<Issued, AnswerError> {
        let mut between = Certificate::all_from_pem(answer)?;
        let leaf = between.remove(0);
        let unreadable = || CertificateError::Der { number: 1 };
        self.check_leaf(&certificate::parse(leaf.der()).ok_or_else(unreadable)?)?;
        if leaf.is_ca() {
            return Err(AnswerError::Usage("is one of an authority"));
        }
        let validity = leaf.validity();
        // The clock of the signer may be a little ahead of ours.
        let ahead = validity.not_before.as_secs().saturating_sub(now.as_secs());
        let moment = if ahead <= BACKDATE.as_secs() { now.max(validity.not_before) } else { now };
        let (found, asked) =
            (validity.not_after.as_secs().saturating_sub(now.as_secs()), self.life().as_secs());
        if found > asked.saturating_add(BACKDATE.as_secs()) {
            return Err(AnswerError::TooLong { found, asked });
        }
        if between.iter().any(|certificate| !certificate.is_ca()) {
            return Err(AnswerError::NoAuthority);
        }
        verify_chain(&leaf, &between, roots.roots(), moment)?;
        if validity.half_life() <= moment {
            return Err(AnswerError::HalfOver);
        }
        let is_root = |of: &Certificate| trust.roots().iter().any(|root| root.der() == of.der());
        let mut chain = vec![leaf.to_pem()];
        chain.extend(between.iter().filter(|c| !is_root(c)).map(Certificate::to_pem));
        chain.push(trust.to_pem());
        Ok(Issued { chain, leaf: leaf.der().to_vec(), serial: leaf.serial().to_owned(), validity })
    }

    fn check_leaf(&self, leaf: &X509Certificate<'_>) -> Result<(), AnswerError> {
        if SubjectKey::from_info(leaf.public_key()).ok().as_ref() != Some(&self.key) {
            return Err(AnswerError::Key);
        }
        let names = leaf.subject_alternative_name().ok().flatten();
        if names.map(|names| NameSet::found(&names.value.general_names)).as_ref() != Some(&self.names) {
            return Err(AnswerError::Names);
        }
        // An authority that may not sign is none to `Certificate`; here the flag alone counts.
        match leaf.basic_constraints() {
            Ok(found) if found.as_ref().is_none_or(|constraints| !constraints.value.ca) => {}
            _ => return Err(AnswerError::Usage("is one of an authority")),
        }
        match leaf.key_usage() {
            Ok(found) if found.as_ref().is_none_or(|usage| usage.value.digital_signature()) => {}
            _ => return Err(AnswerError::Usage("lacks the usage digitalSignature")),
        }
        let is_client = self.purpose() == Purpose::Workload;
        match leaf.extended_key_usage() {
            Ok(None) => Ok(()),
            Ok(Some(found)) if found.value.any => Ok(()),
            Ok(Some(found)) if found.value.server_auth && (found.value.client_auth || !is_client) => Ok(()),
            _ => Err(AnswerError::Usage("lacks the usage serverAuth or clientAuth")),
        }
    }
}

/// Returns the root at the end of the chain that a signer returns: where nobody names its roots.
///
/// # Errors
/// [`AnswerError`] unless the chain goes on after its leaf and its last certificate is self-signed.
pub fn root_of_answer(answer: &[u8]) -> Result<TrustBundle, AnswerError> {
    let mut all = Certificate::all_from_pem(answer)?;
    let last = all.pop().filter(|_| !all.is_empty()).ok_or(AnswerError::NoRoot)?;
    if last.issuer != last.subject || last.verify_signed_by(&last).is_err() {
        return Err(AnswerError::NoRoot);
    }
    Ok(TrustBundle::new([last])?)
}
