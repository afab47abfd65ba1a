//! A set of roots that peers trust.

use crate::certificate::{Certificate, CertificateError, MAX_CERTIFICATES};

/// Why roots are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BundleError {
    /// The text cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate among the roots cannot sign others.
    #[error(
        "root {subject} is not a certificate authority; it needs CA=true and, if it has a key usage, keyCertSign"
    )]
    NotAuthority {
        /// The subject of that certificate.
        subject: String,
    },
    /// The new roots would take trust away at once.
    #[error(
        "new roots neither contain the old ones nor are contained in them; add the new root beside the old one first, and enable several roots"
    )]
    Disjoint,
    /// Several roots are not enabled.
    #[error("roots may not change while several roots are disabled; set ISTIO_MULTIROOT_MESH=true")]
    ChangeDisabled,
}

/// Roots in the order in which they were given, each once; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustBundle {
    roots: Vec<Certificate>,
}

impl TrustBundle {
    /// Builds a bundle of authorities.
    ///
    /// # Errors
    /// [`BundleError`] when there is none, or one cannot sign.
    pub fn new(roots: impl IntoIterator<Item = Certificate>) -> Result<Self, BundleError> {
        let mut unique: Vec<Certificate> = Vec::new();
        for root in roots {
            if !root.is_ca() {
                return Err(BundleError::NotAuthority { subject: root.subject().to_owned() });
            }
            if unique.len() >= MAX_CERTIFICATES {
                return Err(CertificateError::TooMany.into());
            }
            if !unique.iter().any(|known| known.der() == root.der()) {
                unique.push(root);
            }
        }
        if unique.is_empty() { Err(CertificateError::Missing.into()) } else { Ok(Self { roots: unique }) }
    }

    /// Reads a bundle from PEM.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        Self::new(Certificate::all_from_pem(text)?)
    }

    /// Returns the roots.
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// Returns all roots in PEM, one block after another: the text of `root-cert.pem`.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(Certificate::to_pem).collect()
    }

    /// Tells whether every root of `other` is in this bundle.
    pub fn contains(&self, other: &Self) -> bool {
        other.roots.iter().all(|root| self.roots.iter().any(|known| known.der() == root.der()))
    }

    /// Returns this bundle with the roots of `others` after its own, those sorted by their bytes,
    /// so that the order of the sources does not matter.
    ///
    /// # Errors
    /// [`CertificateError::TooMany`].
    pub fn merged_with<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Result<Self, BundleError> {
        let mut added: Vec<&Certificate> = others.into_iter().flat_map(|other| &other.roots).collect();
        added.sort_by(|a, b| a.der().cmp(b.der()));
        Self::new(self.roots.iter().chain(added).cloned())
    }

    /// Checks that peers with the old roots and peers with the new ones can still meet, when these
    /// roots are to follow `old`.
    ///
    /// # Errors
    /// [`BundleError::ChangeDisabled`] unless `allow_multiple_roots` (`ISTIO_MULTIROOT_MESH`), and
    /// [`BundleError::Disjoint`] unless one set contains the other.
    pub fn check_follows(&self, old: &Self, allow_multiple_roots: bool) -> Result<(), BundleError> {
        match (self.contains(old), old.contains(self)) {
            (true, true) => Ok(()),
            _ if !allow_multiple_roots => Err(BundleError::ChangeDisabled),
            (false, false) => Err(BundleError::Disjoint),
            _ => Ok(()),
        }
    }
}
