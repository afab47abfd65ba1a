//! A certificate and its key, which together may sign.

use crate::certificate::Certificate;
use crate::key::SigningKey;

/// Why a certificate and a key do not form an authority.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PairError {
    /// The key is not the one of the certificate.
    #[error("private key does not match signing certificate {subject}")]
    KeyMismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// The certificate cannot sign.
    #[error("signing certificate {subject} is not a certificate authority; it needs CA=true and keyCertSign")]
    NotAuthority {
        /// The subject of the certificate.
        subject: String,
    },
}

/// Checks that `certificate` may sign and `key` is its key.
pub(crate) fn check_pair(certificate: &Certificate, key: &SigningKey) -> Result<(), PairError> {
    let subject = || certificate.subject().to_owned();
    if certificate.public_key != key.public_key() {
        return Err(PairError::KeyMismatch { subject: subject() });
    }
    if !certificate.is_ca() {
        return Err(PairError::NotAuthority { subject: subject() });
    }
    Ok(())
}
