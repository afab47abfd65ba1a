//! The source of random bytes for serial numbers and token ids.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// The source of random bytes failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the source of random bytes failed")]
pub struct NoEntropy;

/// A source of random bytes, passed in so that tests can fix them.
///
/// Key generation and ECDSA nonces do not pass through here: they come from the cryptographic
/// library's own generator.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    ///
    /// # Errors
    /// [`NoEntropy`] when the source fails; `bytes` must not be used then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The generator of the cryptographic library, seeded by the operating system.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        SystemRandom::new().fill(bytes).map_err(|_| NoEntropy)
    }
}
