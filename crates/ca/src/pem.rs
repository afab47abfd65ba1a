//! How DER is written as text. PEM is read by `rustls_pki_types`.

use ::pem::{EncodeConfig, LineEnding, Pem, encode_config};

/// Returns `der` as one PEM block with lines of 64 characters, ending in a newline (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::pem;
    use proptest::prelude::*;
    use rustls_pki_types::pem::{PemObject, SectionKind};

    #[test]
    fn a_block_has_lines_of_64_characters() {
        let text = pem("CERTIFICATE", &[0; 50]);
        let lines: Vec<_> = text.split('\n').collect();
        let full = "A".repeat(64);
        let expected = ["-----BEGIN CERTIFICATE-----", &full, "AAA=", "-----END CERTIFICATE-----", ""];
        assert_eq!(lines, expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let read = <(SectionKind, Vec<u8>)>::from_pem_slice(pem("CERTIFICATE", &der).as_bytes());
            prop_assert_eq!(read.unwrap(), (SectionKind::Certificate, der));
        }
    }
}
