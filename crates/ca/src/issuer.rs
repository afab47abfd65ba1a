//! The issuer: one immutable snapshot of what certificates are signed with.

use crate::bundle::{BundleError, TrustBundle};
use crate::certificate::Certificate;
use crate::der::{SEQUENCE, Writer, oid};
use crate::entropy::{Entropy, NoEntropy};
use crate::identity::Identity;
use crate::key::{KeyError, SigningKey};
use crate::pair::{PairError, check_pair};
use crate::pem::pem;
use crate::profile::{self, Parts};
use crate::refusal::{Code, Refusal};
use crate::request::{SigningRequest, SubjectKey};
use crate::root::Root;
use crate::serial::Serial;
use crate::server_name::is_server_name;
use crate::ttl::{TtlError, TtlPolicy, Validity};
use rustls_pki_types::UnixTime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Longest common name, in characters (RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;

/// Why an issuer cannot be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssuerError {
    /// The roots are refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Certificate and key do not form an authority.
    #[error(transparent)]
    Pair(#[from] PairError),
}

/// Why a certificate is not issued.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssueError {
    /// The life asked for is refused, or the signer has expired.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// No serial number could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// Signing failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A serving certificate was asked for without valid names, or for a key that leaves cannot have.
    #[error(
        "serving certificate needs valid DNS names, addresses or SPIFFE ids, and an RSA, P-256 or P-384 key"
    )]
    Serving,
}

impl Refusal for IssueError {
    fn code(&self) -> Code {
        match self {
            Self::Ttl(e) => e.code(),
            Self::Entropy(_) | Self::Key(_) | Self::Serving => Code::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ttl(e) => e.reason(),
            Self::Entropy(_) => "no_entropy",
            Self::Key(_) => "signing_failed",
            Self::Serving => "serving_names",
        }
    }
}

/// A certificate just issued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// PEM texts in the order of `IstioCertificateResponse.cert_chain`: the leaf, the intermediates
    /// one by one, and last the whole bundle of roots. At least two.
    pub chain: Vec<String>,
    /// The leaf in DER.
    pub leaf: Vec<u8>,
    /// Its serial number in lower-case hexadecimal, for the audit.
    pub serial: String,
    /// Its validity.
    pub validity: Validity,
}

impl Issued {
    /// Returns the intermediates, PEM one by one: what stands between the leaf and the roots.
    pub fn between(&self) -> &[String] {
        self.chain.get(1..self.chain.len().saturating_sub(1)).unwrap_or_default()
    }
}

/// Signing certificate, key, chain and roots of one generation.
///
/// Everything of a leaf that does not change from one to the next is encoded here beforehand.
pub struct Issuer {
    certificate: Certificate,
    key: Arc<SigningKey>,
    ttl: TtlPolicy,
    trust: TrustBundle,
    /// The elements of an answer after the leaf.
    tail: Vec<String>,
    intermediates: Vec<Certificate>,
    algorithm: Vec<u8>,
    extensions: Vec<u8>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("certificate", &self.certificate)
            .field("intermediates", &self.intermediates)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// Builds an issuer from a signing certificate, its key, the certificates between a leaf and
    /// the roots (leaf's side first), and the roots. That they form a chain is checked where they
    /// are loaded.
    ///
    /// # Errors
    /// [`IssuerError`] when the key is another one or the certificate may not sign.
    pub fn new(
        certificate: Certificate,
        key: Arc<SigningKey>,
        intermediates: Vec<Certificate>,
        trust: TrustBundle,
        ttl: TtlPolicy,
    ) -> Result<Self, IssuerError> {
        check_pair(&certificate, &key)?;
        let mut tail: Vec<String> = intermediates.iter().map(Certificate::to_pem).collect();
        tail.push(trust.to_pem());
        let algorithm = key.signature_algorithm();
        let extensions = profile::leaf_extensions(certificate.key_id.as_deref());
        Ok(Self { certificate, key, ttl, trust, tail, intermediates, algorithm, extensions })
    }

    /// Builds an issuer that signs with a root which is also all there is to trust.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn self_signed(root: &Root, ttl: TtlPolicy) -> Result<Self, IssuerError> {
        let trust = TrustBundle::new([root.certificate().clone()])?;
        Self::new(root.certificate().clone(), Arc::clone(root.key()), Vec::new(), trust, ttl)
    }

    /// Issues the certificate of a workload.
    ///
    /// `requested` is the life asked for in seconds; zero and less stand for the default.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(
        &self,
        request: &SigningRequest,
        identity: &Identity,
        requested: i64,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Issued, IssueError> {
        let validity =
            Validity::of_leaf(now, self.ttl.resolve(requested)?, self.certificate.validity().not_after)?;
        let name = identity.to_string();
        let common_name = (request.has_common_name && name.len() <= MAX_COMMON_NAME).then_some(name.as_str());
        self.sign(&request.key, &[&name], common_name, validity, entropy)
    }

    /// Issues a certificate for a server of the control plane itself, valid for `life` but not
    /// longer than the signer. `names` are DNS names, addresses or SPIFFE ids.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_serving(
        &self,
        key: &SigningKey,
        names: &[&str],
        life: Duration,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Issued, IssueError> {
        let named = !names.is_empty() && names.iter().all(|name| is_server_name(name));
        let subject = key.subject_key().filter(|_| named).ok_or(IssueError::Serving)?;
        let validity = Validity::of_leaf(now, life, self.certificate.validity().not_after)?;
        self.sign(&subject, names, None, validity, entropy)
    }

    fn sign(
        &self,
        subject_key: &SubjectKey,
        names: &[&str],
        common_name: Option<&str>,
        validity: Validity,
        entropy: &dyn Entropy,
    ) -> Result<Issued, IssueError> {
        let serial = Serial::draw(entropy)?;
        let mut subject = Writer::default();
        match common_name {
            Some(text) => profile::name(&mut subject, oid::COMMON_NAME, text),
            None => subject.nest(SEQUENCE, |_| {}),
        }
        let parts = Parts {
            serial: serial.as_bytes(),
            algorithm: &self.algorithm,
            issuer: &self.certificate.subject,
            not_before: validity.not_before,
            not_after: validity.not_after,
            subject: &subject.finish(),
            public_key: &subject_key.der,
        };
        let body = profile::to_be_signed(&parts, |w| {
            w.raw(&self.extensions);
            profile::subject_alt_name(w, names.iter().copied());
        });
        let leaf = self.key.sign_structure(&body)?;
        let mut chain = Vec::with_capacity(self.tail.len() + 1);
        chain.push(pem("CERTIFICATE", &leaf));
        chain.extend(self.tail.iter().cloned());
        Ok(Issued { chain, leaf, serial: serial.to_string(), validity })
    }

    /// Returns the signing certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the key of the signing certificate.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Returns the certificates between a leaf and the roots, in the order of an answer.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// Returns the roots that peers are told to trust.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// Tells whether a signature takes milliseconds, as by RSA, and not some microseconds.
    pub fn is_slow(&self) -> bool {
        self.key.is_rsa()
    }

    /// Returns the rules for the life of a leaf.
    pub fn ttl(&self) -> TtlPolicy {
        self.ttl
    }
}

#[cfg(test)]
mod tests;
