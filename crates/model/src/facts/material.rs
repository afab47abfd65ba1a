//! Key material, of which nothing but a digest is ever shown.

use std::fmt;
use std::sync::Arc;

/// A SHA-256 digest. As text it is its first eight bytes in hexadecimal: enough to tell one from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate with its chain, and the key of the certificate. They are valid and belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate and its chain, in PEM.
    pub chain: Arc<[u8]>,
    /// The private key, in PEM. A secret: it goes to the proxy that needs it, and nowhere else.
    pub key: Arc<[u8]>,
    /// When the first certificate of the chain ends, in seconds since 1970.
    pub not_after: i64,
    /// Of chain and key.
    pub digest: Digest,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.digest)
    }
}

/// Certificates of authorities.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots {
    /// The certificates, in PEM.
    pub pem: Arc<[u8]>,
    /// When the first of them ends, in seconds since 1970.
    pub not_after: i64,
    /// Of `pem`.
    pub digest: Digest,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.digest)
    }
}
