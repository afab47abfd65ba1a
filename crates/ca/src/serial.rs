//! Serial numbers of certificates.

use crate::entropy::{Entropy, NoEntropy};
use std::fmt;

/// A serial number: 128 random bits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Draws a serial number.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn draw(entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        // Zero is not a valid serial; drawing it means a broken source, not bad luck.
        if bytes == [0; 16] { Err(NoEntropy) } else { Ok(Self(bytes)) }
    }

    /// Returns the number, big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
