//! A writer of DER: the few types that certificates and requests are made of.
//!
//! Lengths are definite and minimal; the order of fields is the caller's.

use jiff::civil::DateTime;
use rustls_pki_types::UnixTime;
use std::time::Duration;

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const UTF8_STRING: u8 = 0x0c;

/// Returns the tag of a constructed, context-specific field.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// Returns the tag of a primitive, context-specific field.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// Object identifiers, complete with tag and length.
pub(crate) mod oid {
    pub(crate) const EC_PUBLIC_KEY: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub(crate) const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub(crate) const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
    pub(crate) const P521: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x23];
    pub(crate) const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
    pub(crate) const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub(crate) const SHA256_WITH_RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    pub(crate) const SHA384_WITH_RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
    pub(crate) const SHA512_WITH_RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
    pub(crate) const ECDSA_WITH_SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub(crate) const ECDSA_WITH_SHA384: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    pub(crate) const ECDSA_WITH_SHA512: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    pub(crate) const EXTENSION_REQUEST: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    pub(crate) const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
    pub(crate) const ORGANIZATION: &[u8] = &[6, 3, 0x55, 4, 10];
    pub(crate) const SUBJECT_KEY_ID: &[u8] = &[6, 3, 0x55, 0x1d, 14];
    pub(crate) const KEY_USAGE: &[u8] = &[6, 3, 0x55, 0x1d, 15];
    pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[6, 3, 0x55, 0x1d, 17];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 19];
    pub(crate) const AUTHORITY_KEY_ID: &[u8] = &[6, 3, 0x55, 0x1d, 35];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[6, 3, 0x55, 0x1d, 37];
    pub(crate) const SERVER_AUTH: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
    pub(crate) const CLIENT_AUTH: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];

    /// Tells whether `content`, an identifier without its header, is `oid`.
    pub(crate) fn is(content: &[u8], oid: &[u8]) -> bool {
        oid.get(2..) == Some(content)
    }
}

/// A buffer that DER is appended to.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends bytes that are DER already.
    pub(crate) fn raw(&mut self, der: &[u8]) {
        self.bytes.extend_from_slice(der);
    }

    /// Appends one primitive value.
    pub(crate) fn value(&mut self, tag: u8, content: &[u8]) {
        self.bytes.push(tag);
        let (bytes, used) = length(content.len());
        self.bytes.extend_from_slice(&bytes[..used]);
        self.bytes.extend_from_slice(content);
    }

    /// Appends one value whose content `write` appends.
    pub(crate) fn nest(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.bytes.push(tag);
        let at = self.bytes.len();
        write(self);
        let (bytes, used) = length(self.bytes.len() - at);
        self.bytes.splice(at..at, bytes[..used].iter().copied());
    }

    /// Appends a non-negative INTEGER, given big-endian.
    pub(crate) fn unsigned(&mut self, big_endian: &[u8]) {
        let start = big_endian.iter().position(|b| *b != 0).unwrap_or(big_endian.len());
        let digits = &big_endian[start..];
        // A set highest bit would make the number negative, and zero still has one byte.
        let pad = digits.first().is_none_or(|b| b & 0x80 != 0);
        let (bytes, used) = length(digits.len() + usize::from(pad));
        self.bytes.push(2);
        self.bytes.extend_from_slice(&bytes[..used]);
        if pad {
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(digits);
    }

    /// Appends a BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self, content: &[u8]) {
        self.nest(3, |w| {
            w.bytes.push(0);
            w.bytes.extend_from_slice(content);
        });
    }

    /// Appends one X.509 extension whose value `write` appends.
    pub(crate) fn extension(&mut self, oid: &[u8], critical: bool, write: impl FnOnce(&mut Self)) {
        self.nest(SEQUENCE, |w| {
            w.raw(oid);
            if critical {
                w.raw(&[1, 1, 0xff]);
            }
            w.nest(OCTET_STRING, write);
        });
    }

    /// Appends a time as RFC 5280, section 4.1.2.5, wants it: UTCTime until 2049, then
    /// GeneralizedTime. Times after the year 9999 become the last second of it.
    pub(crate) fn time(&mut self, time: UnixTime) {
        // A date without a zone: the moments of the library end some hours before the year 9999 does.
        let date =
            DateTime::constant(1970, 1, 1, 0, 0, 0, 0).saturating_add(Duration::from_secs(time.as_secs()));
        let (year, month, day) = (date.year(), date.month(), date.day());
        let (h, m, s) = (date.hour(), date.minute(), date.second());
        if year < 2050 {
            let text = format!("{:02}{month:02}{day:02}{h:02}{m:02}{s:02}Z", year % 100);
            self.value(0x17, text.as_bytes());
        } else {
            self.value(0x18, format!("{year:04}{month:02}{day:02}{h:02}{m:02}{s:02}Z").as_bytes());
        }
    }
}

/// 9999-12-31T23:59:59Z, the last time that a certificate can say.
pub(crate) const LAST_SECOND: u64 = 253_402_300_799;

fn length(n: usize) -> ([u8; 9], usize) {
    let mut out = [0; 9];
    if n < 0x80 {
        out[0] = n as u8;
        return (out, 1);
    }
    let be = (n as u64).to_be_bytes();
    let skip = be.iter().take_while(|b| **b == 0).count();
    let used = be.len() - skip;
    out[0] = 0x80 | used as u8;
    out[1..=used].copy_from_slice(&be[skip..]);
    (out, used + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use x509_parser::prelude::FromDer;
    use x509_parser::time::ASN1Time;

    #[test]
    fn lengths_are_minimal() {
        for (n, header) in
            [(0, vec![0]), (127, vec![127]), (128, vec![0x81, 128]), (65536, vec![0x83, 1, 0, 0])]
        {
            let mut w = Writer::default();
            w.nest(OCTET_STRING, |w| w.raw(&vec![7; n]));
            let mut direct = Writer::default();
            direct.value(OCTET_STRING, &vec![7; n]);
            let bytes = w.finish();
            assert_eq!(bytes[1..=header.len()], header);
            assert_eq!(bytes, direct.finish());
        }
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        for (input, der) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0, 0], &[2, 1, 0]),
            (&[0, 0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
        ] {
            let mut w = Writer::default();
            w.unsigned(input);
            assert_eq!(w.finish(), der);
        }
    }

    proptest! {
        #[test]
        fn times_read_back(secs in 0..=LAST_SECOND) {
            let mut w = Writer::default();
            w.time(UnixTime::since_unix_epoch(Duration::from_secs(secs)));
            let bytes = w.finish();
            let (rest, time) = ASN1Time::from_der(&bytes).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(time.timestamp(), i64::try_from(secs).unwrap());
        }
    }

    #[test]
    fn times_past_the_last_become_the_last() {
        for secs in [LAST_SECOND, LAST_SECOND + 1, u64::MAX] {
            let mut w = Writer::default();
            w.time(UnixTime::since_unix_epoch(Duration::from_secs(secs)));
            assert_eq!(&w.finish()[2..], b"99991231235959Z");
        }
    }
}
