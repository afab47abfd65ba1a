use crate::{Str, shared};
use std::fmt;

/// Longest trust domain, in bytes (SPIFFE-ID, section 2.1).
const MAX_BYTES: usize = 255;

/// A text that cannot be a trust domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidTrustDomain;

impl fmt::Display for InvalidTrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trust domain has 1 to 255 lower-case letters, digits, '.', '-' and '_'")
    }
}

impl std::error::Error for InvalidTrustDomain {}

/// A trust domain: the name of one root of trust, the first part of identities.
///
/// ```
/// use pilothouse_model::TrustDomain;
///
/// assert_eq!(TrustDomain::from_mesh_setting("corp@test").map(|d| d.to_string()), Ok("corp.test".to_owned()));
/// assert!(TrustDomain::parse("Corp.Test").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrustDomain(Str);

impl TrustDomain {
    /// Reads a trust domain as it stands in a SPIFFE id (SPIFFE-ID, section 2.1).
    ///
    /// # Errors
    /// [`InvalidTrustDomain`] for other characters, an empty text or more than 255 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidTrustDomain> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(valid) {
            return Err(InvalidTrustDomain);
        }
        Ok(Self(shared(text)))
    }

    /// Reads the mesh setting `trustDomain`, in which `@` may stand for `.`.
    ///
    /// # Errors
    /// As [`TrustDomain::parse`].
    pub fn from_mesh_setting(text: &str) -> Result<Self, InvalidTrustDomain> {
        Self::parse(&text.replace('@', "."))
    }

    /// Returns the trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    /// The trust domain of a mesh that sets none: `cluster.local`.
    fn default() -> Self {
        Self(shared("cluster.local"))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
