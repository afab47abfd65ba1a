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
    /// A certificate has ended.
    #[error("certificate {subject} has expired; replace it")]
    Expired {
        /// The subject of that certificate.
        subject: String,
    },
    /// A certificate has not begun.
    #[error("certificate {subject} is not valid yet; wait, or set the clocks right")]
    NotYetValid {
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
    /// An authority permits fewer authorities below it than there are (RFC 5280, section 4.2.1.9).
    #[error(
        "certificate {subject} permits {permitted} authorities below it (pathLenConstraint), and there are {below}; sign with an authority nearer to the root, or have {subject} issued without that limit"
    )]
    PathLength {
        /// The subject of that authority.
        subject: String,
        /// How many it permits.
        permitted: u32,
        /// How many there are.
        below: u32,
    },
}

/// Verifies that `certificate` is one of `roots` or leads to one through `intermediates`, in any
/// order, each valid at `now` and allowed to sign at its place. A limit of the root on the length of
/// the chain counts too: not all peers heed it, but some do.
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
    if let Some(untimely) = untimely(certificate, now) {
        return Err(untimely);
    }
    let mut search = Search { intermediates, roots, now, signatures: 0, obstacle: None };
    if search.leads_to_root(certificate, 0, MAX_DEPTH) {
        return Ok(());
    }
    Err(search.obstacle.unwrap_or_else(|| ChainError::NoWay { subject: subject() }))
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    roots: &'a [Certificate],
    now: UnixTime,
    signatures: usize,
    /// What is wrong with a signer that would have done otherwise.
    obstacle: Option<ChainError>,
}

impl Search<'_> {
    /// `below` counts the authorities on the way to `from`, without it.
    fn leads_to_root(&mut self, from: &Certificate, below: u32, depth: usize) -> bool {
        if self.roots.iter().any(|root| root.der() == from.der()) {
            return true;
        }
        // One that is signed under its own name does not count: it only changes a key.
        let below = below + u32::from(from.is_ca() && from.issuer != from.subject);
        let roots = self.roots;
        if roots.iter().any(|root| self.signed(from, root, below)) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        let intermediates = self.intermediates;
        intermediates.iter().any(|next| {
            next.der() != from.der()
                && self.signed(from, next, below)
                && self.leads_to_root(next, below, depth - 1)
        })
    }

    fn signed(&mut self, from: &Certificate, signer: &Certificate, below: u32) -> bool {
        if from.issuer != signer.subject || !signer.is_ca() || self.signatures >= MAX_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        if from.verify_signed_by(signer).is_err() {
            return false;
        }
        let too_long = || {
            let permitted = signer.path_length().filter(|permitted| below > *permitted)?;
            Some(ChainError::PathLength { subject: signer.subject().to_owned(), permitted, below })
        };
        let Some(obstacle) = untimely(signer, self.now).or_else(too_long) else { return true };
        self.obstacle = Some(obstacle);
        false
    }
}

fn untimely(certificate: &Certificate, now: UnixTime) -> Option<ChainError> {
    let subject = || certificate.subject().to_owned();
    let validity = certificate.validity();
    if now < validity.not_before {
        Some(ChainError::NotYetValid { subject: subject() })
    } else if now > validity.not_after {
        Some(ChainError::Expired { subject: subject() })
    } else {
        None
    }
}
