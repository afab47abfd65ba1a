//! Certificate revocation lists: checked here, passed on to peers that read them.

use crate::certificate::{self, Certificate};
use crate::signature;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// Longest text of revocation lists that is read, in bytes.
const MAX_CRL_BYTES: usize = 1024 * 1024;

/// Why revocation lists are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CrlError {
    /// The text is over the bound.
    #[error("revocation lists are longer than 1 MiB")]
    TooLong,
    /// The text is broken.
    #[error("revocation list {number} is not valid PEM of type X509 CRL")]
    Malformed {
        /// Which block, counted from 1.
        number: usize,
    },
    /// A certificate of the chain has no list that it signed.
    #[error("no revocation list is signed by {subject}; every certificate of the chain needs one")]
    Uncovered {
        /// The subject of that certificate.
        subject: String,
    },
}

/// Checks that each certificate of `chain` has signed one of the lists in `text`.
///
/// Lists are matched by issuer name and signature, so that two authorities of one name do not hide
/// each other.
///
/// # Errors
/// [`CrlError`].
pub(crate) fn check(text: &[u8], chain: &[Certificate]) -> Result<(), CrlError> {
    if text.len() > MAX_CRL_BYTES {
        return Err(CrlError::TooLong);
    }
    let mut lists = Vec::new();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let number = lists.len() + 1;
        match block {
            Ok((SectionKind::Crl, der)) => lists.push(der),
            Ok(_) => {}
            Err(_) => return Err(CrlError::Malformed { number }),
        }
    }
    let mut parsed = Vec::new();
    for (i, der) in lists.iter().enumerate() {
        match CertificateRevocationList::from_der(der) {
            Ok(([], list)) => parsed.push(list),
            _ => return Err(CrlError::Malformed { number: i + 1 }),
        }
    }
    if parsed.is_empty() {
        return Err(CrlError::Malformed { number: 1 });
    }
    for signer in chain {
        let Some(x509) = certificate::parse(signer.der()) else {
            return Err(CrlError::Uncovered { subject: signer.subject().to_owned() });
        };
        let covered = parsed.iter().any(|list| {
            list.issuer().as_raw() == signer.subject
                && signature::verify(
                    x509.public_key(),
                    &list.signature_algorithm,
                    list.tbs_cert_list.as_ref(),
                    &list.signature_value.data,
                )
                .is_ok()
        });
        if !covered {
            return Err(CrlError::Uncovered { subject: signer.subject().to_owned() });
        }
    }
    Ok(())
}
