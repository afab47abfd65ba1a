//! Verification of a chain of certificates up to a root.

use crate::certificate::{Certificate, MAX_CERTIFICATES};
use rustls_pki_types::UnixTime;

/// Longest way from a certificate to its root, in certificates between them.
const MAX_DEPTH: usize = 8;

/// Most signatures verified in one search, so that crafted material cannot make it long.
const MAX_SIGNATURES: usize = 2 * MAX_CERTIFICATES;

/// Why a certificate does not lead to a root.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    /// A certificate is outside its validity.
    #[error("certificate {subject} is not valid now; it is expired or not yet valid")]
    NotValidNow {
        /// The subject of that certificate.
        subject: String,
    },
    /// No way leads from the certificate to a root.
    #[error(
        "certificate {subject} does not lead to any root through the chain; add the missing intermediates, or the root that signed it"
    )]
    NoWay {
        /// The subject of the certificate that the search began with.
        subject: String,
    },
}

/// Verifies that `certificate` is one of `roots` or leads to one through `intermediates`, in any
/// order, each valid at `now` and allowed to sign.
///
/// # Errors
/// [`ChainError`].
pub fn verify_chain(
    certificate: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    now: UnixTime,
) -> Result<(), ChainError> {
    let subject = || certificate.subject().to_owned();
    if !certificate.validity().contains(now) {
        return Err(ChainError::NotValidNow { subject: subject() });
    }
    let mut search = Search { intermediates, roots, now, signatures: 0, expired: None };
    if search.leads_to_root(certificate, MAX_DEPTH) {
        return Ok(());
    }
    Err(match search.expired {
        Some(subject) => ChainError::NotValidNow { subject },
        None => ChainError::NoWay { subject: subject() },
    })
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    roots: &'a [Certificate],
    now: UnixTime,
    signatures: usize,
    /// A signer that would have done, were it valid now.
    expired: Option<String>,
}

impl Search<'_> {
    fn leads_to_root(&mut self, from: &Certificate, depth: usize) -> bool {
        if self.roots.iter().any(|root| root.der() == from.der()) {
            return true;
        }
        let roots = self.roots;
        if roots.iter().any(|root| self.signed(from, root)) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        let intermediates = self.intermediates;
        intermediates.iter().any(|next| {
            next.der() != from.der() && self.signed(from, next) && self.leads_to_root(next, depth - 1)
        })
    }

    fn signed(&mut self, from: &Certificate, signer: &Certificate) -> bool {
        if from.issuer != signer.subject || !signer.is_ca() || self.signatures >= MAX_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        if from.verify_signed_by(signer).is_err() {
            return false;
        }
        let valid = signer.validity().contains(self.now);
        if !valid {
            self.expired = Some(signer.subject().to_owned());
        }
        valid
    }
}
