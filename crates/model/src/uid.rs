use std::fmt;

/// A UID: 128 bits, written as Kubernetes writes it.
///
/// ```
/// use pilothouse_model::Uid;
///
/// let uid = Uid::from(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
/// assert_eq!(uid.to_string(), "01234567-89ab-cdef-0011-223344556677");
/// ```
// Bytes, so that it may stand next to smaller things without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Uid([u8; 16]);

impl From<u128> for Uid {
    fn from(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
