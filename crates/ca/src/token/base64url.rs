//! The encoding of the three parts of a token (RFC 7515, section 2).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Returns `bytes` in the URL-safe alphabet without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the bytes that `text` encodes in the URL-safe alphabet, or nothing when it is not the
/// one canonical encoding: padding, other characters and set trailing bits are refused, so that one
/// token has one spelling.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_vectors_encode() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["Zg==", "Zh", "Z", "Zm9v\n", "Zm+v", "Zm9vY", "Zm9"] {
            let canonical = decode(text).map(|bytes| encode(&bytes));
            assert!(canonical.is_none() || canonical.as_deref() == Some(text), "{text}");
        }
        assert_eq!(decode("Zh"), None);
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn one_value_has_one_spelling(text in "[A-Za-z0-9_-]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
