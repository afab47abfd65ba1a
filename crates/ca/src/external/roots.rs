//! Which roots the certificates of which signer must lead to.

use crate::bundle::{BundleError, TrustBundle};
use std::collections::BTreeMap;

/// Roots by signer, and together those that peers are told to trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignerRoots {
    trust: TrustBundle,
    /// By the name of the signer; those that are not here have all of `trust`, if `is_open`.
    each: BTreeMap<String, TrustBundle>,
    is_open: bool,
}

impl SignerRoots {
    /// Gives every signer the same roots.
    pub fn shared(trust: TrustBundle) -> Self {
        Self { trust, each: BTreeMap::new(), is_open: true }
    }

    /// Gives `signer` these roots, and each of `others` its own. Any other signer has none.
    ///
    /// # Errors
    /// [`BundleError`] when they are too many.
    pub fn each(
        signer: &str,
        roots: &TrustBundle,
        mut others: BTreeMap<String, TrustBundle>,
    ) -> Result<Self, BundleError> {
        others.remove(signer);
        let trust = roots.merged_with(others.values())?;
        others.insert(signer.to_owned(), roots.clone());
        Ok(Self { trust, each: others, is_open: false })
    }

    /// Returns all roots: those that peers are told to trust.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// Returns the roots of one signer; none for a signer that nobody vouches for.
    pub fn of(&self, signer: &str) -> Option<&TrustBundle> {
        if self.is_open { Some(&self.trust) } else { self.each.get(signer) }
    }
}
