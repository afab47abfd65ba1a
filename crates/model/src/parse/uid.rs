//! Object uids.

/// Returns the uid as 128 bits: those of a UUID in the form that API servers write, a hash of any
/// other text, 0 for "". Only the empty text gives 0.
pub(super) fn bits(text: &str) -> u128 {
    if text.is_empty() {
        return 0;
    }
    uuid(text).unwrap_or_else(|| fnv(text)).max(1)
}

fn uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut bits = 0u128;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            // Upper case would make two texts one uid.
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        bits = bits << 4 | u128::from(digit);
    }
    Some(bits)
}

/// FNV-1a of 128 bits: stable across runs and machines.
fn fnv(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn a_uuid_keeps_its_bits() {
        assert_eq!(bits("00112233-4455-6677-8899-aabbccddeeff"), 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    }

    #[test]
    fn other_texts_are_told_apart() {
        assert_eq!(bits(""), 0);
        assert_ne!(bits("a"), bits("b"));
        assert_ne!(
            bits("00112233-4455-6677-8899-AABBCCDDEEFF"),
            bits("00112233-4455-6677-8899-aabbccddeeff")
        );
        assert_ne!(bits("00000000-0000-0000-0000-000000000000"), 0);
    }
}
