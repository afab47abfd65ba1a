//! Versions: a hash of the content, equal on every replica and after every restart.

use xxhash_rust::xxh64::xxh64;

/// A version as it goes out: lower-case hexadecimal without padding, at most 16 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u64);

impl Version {
    /// The version of these bytes: xxHash64 with seed 0, as istiod computes it.
    pub fn of(body: &[u8]) -> Self {
        Self(xxh64(body, 0))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn version_is_unpadded_lower_case_xxhash64_of_the_bytes() {
        // Known value of XXH64 for the empty input with seed 0.
        assert_eq!(Version::of(b"").to_string(), "ef46db3751d8e999");
        assert_eq!(Version(0xAB).to_string(), "ab");
    }
}
