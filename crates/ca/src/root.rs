//! Self-signed roots: a certificate and its key.

use crate::certificate::{Certificate, CertificateError};
use crate::der::{LAST_SECOND, Writer, oid};
use crate::entropy::{Entropy, NoEntropy};
use crate::key::{KeyError, SigningKey};
use crate::pair::{PairError, check_pair};
use crate::profile::{self, Parts};
use crate::serial::Serial;
use crate::ttl::{BACKDATE, Validity, at};
use rustls_pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// Why a root cannot be made or loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RootError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The text holds more than one certificate.
    #[error("{0} certificates found where one signing certificate is expected")]
    Several(usize),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Certificate and key do not form an authority.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// No serial number could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The life asked for is empty.
    #[error("life of a root must be at least one second")]
    Life,
}

/// A self-signed certificate authority.
#[derive(Clone, Debug)]
pub struct Root {
    certificate: Certificate,
    key: Arc<SigningKey>,
}

impl PartialEq for Root {
    /// Roots are equal when their certificates are, byte for byte: the certificate names the key.
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl Eq for Root {}

impl Root {
    /// Creates a root with a new P-256 key, valid for `life`; its subject is `O=<trust_domain>`.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn create(
        trust_domain: &str,
        life: Duration,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Self, RootError> {
        let key = Arc::new(SigningKey::generate_p256()?);
        let mut subject = Writer::default();
        profile::name(&mut subject, oid::ORGANIZATION, trust_domain);
        let key_id = profile::key_id(key.public_key());
        Self::sign(key, &subject.finish(), &key_id, life, now, entropy)
    }

    /// Returns a root with the same key, subject and key id, valid for `life` from `now` on. Peers
    /// that trust only the old one verify what the new one signs, and the other way round.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn renew(&self, life: Duration, now: UnixTime, entropy: &dyn Entropy) -> Result<Self, RootError> {
        let own = profile::key_id(self.key.public_key());
        let key_id = self.certificate.key_id.as_deref().unwrap_or(&own);
        Self::sign(Arc::clone(&self.key), &self.certificate.subject, key_id, life, now, entropy)
    }

    fn sign(
        key: Arc<SigningKey>,
        subject: &[u8],
        key_id: &[u8],
        life: Duration,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Self, RootError> {
        if life.as_secs() == 0 {
            return Err(RootError::Life);
        }
        let serial = Serial::draw(entropy)?;
        let body = profile::to_be_signed(
            &Parts {
                serial: serial.as_bytes(),
                algorithm: &key.signature_algorithm(),
                issuer: subject,
                not_before: at(now.as_secs().saturating_sub(BACKDATE.as_secs())),
                not_after: at(now.as_secs().saturating_add(life.as_secs()).min(LAST_SECOND)),
                subject,
                public_key: &key.public_key_info(),
            },
            |w| w.raw(&profile::root_extensions(key_id)),
        );
        let certificate = Certificate::from_der(&key.sign_structure(&body)?)?;
        Ok(Self { certificate, key })
    }

    /// Loads a root from the PEM texts of its certificate and its key, which may be RSA or ECDSA.
    /// Whether it is valid now is not checked: an expired root is renewed, not lost.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn from_pem(certificate: &[u8], key: &str) -> Result<Self, RootError> {
        let mut all = Certificate::all_from_pem(certificate)?;
        let count = all.len();
        let certificate = all.pop().filter(|_| count == 1).ok_or(RootError::Several(count))?;
        let key = SigningKey::from_pem(key)?;
        check_pair(&certificate, &key)?;
        Ok(Self { certificate, key: Arc::new(key) })
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the private key.
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// Tells whether `other` has the same key.
    pub fn same_key(&self, other: &Self) -> bool {
        self.certificate.public_key == other.certificate.public_key
    }

    /// Returns when less than `percent` of the life is left; more than half counts as half, so that
    /// a root just made is never due.
    pub(crate) fn renewal_due(&self, percent: u8) -> UnixTime {
        let Validity { not_before, not_after } = self.certificate.validity();
        let life = not_after.as_secs().saturating_sub(not_before.as_secs() + BACKDATE.as_secs());
        let grace = u128::from(life) * u128::from(percent.min(50)) / 100;
        at(not_after.as_secs().saturating_sub(u64::try_from(grace).unwrap_or(0)))
    }
}
