//! Base64 in its two alphabets, and PEM blocks on top of it.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes in one line of PEM: 64 characters.
const LINE_BYTES: usize = 48;

/// Returns `der` as one PEM block, ending in a newline (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = String::with_capacity(der.len() * 4 / 3 + der.len() / LINE_BYTES + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(LINE_BYTES) {
        encode(line, STANDARD, true, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Returns `bytes` in the URL-safe alphabet without padding (RFC 7515, section 2).
pub(crate) fn encode_url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    encode(bytes, URL_SAFE, false, &mut text);
    text
}

fn encode(bytes: &[u8], alphabet: &[u8; 64], padded: bool, out: &mut String) {
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(alphabet[(word >> (18 - 6 * i) & 63) as usize]));
            } else if padded {
                out.push('=');
            }
        }
    }
}

/// Returns the bytes that `text` encodes in the URL-safe alphabet, or nothing when it is not the
/// one canonical encoding: padding, other characters and set trailing bits are refused, so that one
/// token has one spelling.
pub(crate) fn decode_url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut word = 0u32;
        for c in chunk {
            word = word << 6 | value(*c)?;
        }
        word <<= 6 * (4 - chunk.len());
        let [_, a, b, c] = word.to_be_bytes();
        let all = [a, b, c];
        let (used, rest) = all.split_at(chunk.len() - 1);
        if rest.iter().any(|b| *b != 0) {
            return None;
        }
        bytes.extend_from_slice(used);
    }
    Some(bytes)
}

fn value(c: u8) -> Option<u32> {
    Some(u32::from(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_vectors_encode() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(encode_url(bytes.as_bytes()), text);
            assert_eq!(decode_url(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["Zg==", "Zh", "Z", "Zm9v\n", "Zm+v", "Zm9vY", "Zm9"] {
            let canonical = decode_url(text).map(|bytes| encode_url(&bytes));
            assert!(canonical.is_none() || canonical.as_deref() == Some(text), "{text}");
        }
        assert_eq!(decode_url("Zh"), None);
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode_url(&encode_url(&bytes)), Some(bytes));
        }

        #[test]
        fn one_value_has_one_spelling(text in "[A-Za-z0-9_-]{0,40}") {
            if let Some(bytes) = decode_url(&text) {
                prop_assert_eq!(encode_url(&bytes), text);
            }
        }
    }
}
