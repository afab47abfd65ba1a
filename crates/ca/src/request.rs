//! Certificate requests (PKCS#10): parsed, bounded, their self-signature verified.
//!
//! Of a request only the public key is used, and whether its subject has a common name. Names and
//! extensions that it asks for are ignored: who the certificate is for follows from who asks.

use crate::der::{SEQUENCE, Writer, oid};
use crate::refusal::{Code, Refusal};
use crate::signature::{self, SignatureError};
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest request that is read, in bytes of PEM.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Sizes of RSA moduli that are accepted, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Longest public exponent, in bits: a longer one only makes each verification slow.
const RSA_EXPONENT_BITS: usize = 33;

/// Why a certificate request is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The request is longer than [`MAX_REQUEST_BYTES`].
    #[error("certificate request has {0} bytes; at most 16384 are accepted")]
    TooLong(usize),
    /// The PEM text is broken.
    #[error("certificate request is not valid PEM: {0}")]
    Pem(String),
    /// There is not exactly one PEM block, of type `CERTIFICATE REQUEST`.
    #[error("certificate request must be exactly one PEM block of type CERTIFICATE REQUEST")]
    Blocks,
    /// The DER inside is not a PKCS#10 request.
    #[error("certificate request is not valid DER of PKCS#10")]
    Der,
    /// The key is of a kind that is not accepted.
    #[error("certificate request has a key of kind {0}; use ECDSA P-256, P-384 or RSA")]
    KeyKind(String),
    /// An RSA modulus is out of bounds.
    #[error("certificate request has an RSA key of {0} bits; 2048 to 8192 are accepted")]
    RsaBits(usize),
    /// An RSA exponent is out of bounds.
    #[error("certificate request has an RSA key with an unusual public exponent; use 65537")]
    RsaExponent,
    /// The key itself is malformed.
    #[error("certificate request has a malformed public key")]
    Key,
    /// The self-signature is not accepted.
    #[error("certificate request: {0}")]
    Signature(#[from] SignatureError),
}

impl Refusal for RequestError {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "csr_too_long",
            Self::Pem(_) | Self::Blocks => "csr_pem",
            Self::Der => "csr_der",
            Self::KeyKind(_) | Self::RsaBits(_) | Self::RsaExponent | Self::Key => "csr_key",
            Self::Signature(_) => "csr_signature",
        }
    }
}

/// The kinds of key that a certificate is issued for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicKeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with a modulus of so many bits.
    Rsa(usize),
}

/// A request whose sender has proven to hold the private key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningRequest {
    pub(crate) key: SubjectKey,
    pub(crate) has_common_name: bool,
}

impl SigningRequest {
    /// Reads and verifies a request in PEM.
    ///
    /// # Errors
    /// [`RequestError`]; the cheap checks come first.
    pub fn from_pem(text: &str) -> Result<Self, RequestError> {
        let der = one_block(text)?;
        Self::from_der(&der)
    }

    /// Reads and verifies a request in DER.
    ///
    /// # Errors
    /// As [`SigningRequest::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        Self::verified(&parse(der)?)
    }

    pub(crate) fn verified(request: &X509CertificationRequest<'_>) -> Result<Self, RequestError> {
        let info = &request.certification_request_info;
        let key = SubjectKey::from_info(&info.subject_pki)?;
        signature::verify(
            &info.subject_pki,
            &request.signature_algorithm,
            info.raw,
            &request.signature_value.data,
        )?;
        let has_common_name = info.subject.iter_common_name().any(|cn| !cn.as_slice().is_empty());
        Ok(Self { key, has_common_name })
    }

    /// Returns the kind of the key.
    pub fn key_kind(&self) -> PublicKeyKind {
        self.key.kind
    }
}

/// Returns the DER of the one request in `text`.
pub(crate) fn one_block(text: &str) -> Result<Vec<u8>, RequestError> {
    if text.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong(text.len()));
    }
    let mut blocks = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    let broken = |e: pem::Error| RequestError::Pem(e.to_string());
    let first = blocks.next().ok_or(RequestError::Blocks)?.map_err(broken)?;
    match (first, blocks.next()) {
        ((SectionKind::Csr, der), None) => Ok(der),
        (_, Some(Err(e))) => Err(broken(e)),
        _ => Err(RequestError::Blocks),
    }
}

pub(crate) fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, RequestError> {
    if der.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong(der.len()));
    }
    match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => Ok(request),
        _ => Err(RequestError::Der),
    }
}

/// A public key that may stand in a leaf, as a SubjectPublicKeyInfo of our own encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SubjectKey {
    pub(crate) kind: PublicKeyKind,
    pub(crate) der: Vec<u8>,
}

impl SubjectKey {
    /// Checks a key and encodes it anew. Whether an elliptic point is on its curve shows when the
    /// self-signature is verified.
    pub(crate) fn from_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, RequestError> {
        let name = info.algorithm.algorithm.as_bytes();
        let bytes = &info.subject_public_key.data;
        if info.subject_public_key.unused_bits != 0 {
            return Err(RequestError::Key);
        }
        let kind = if oid::is(name, oid::EC_PUBLIC_KEY) {
            let curve = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            match curve {
                Some(c) if oid::is(c.as_bytes(), oid::P256) => PublicKeyKind::P256,
                Some(c) if oid::is(c.as_bytes(), oid::P384) => PublicKeyKind::P384,
                Some(c) => return Err(RequestError::KeyKind(format!("ECDSA {}", c.to_id_string()))),
                None => return Err(RequestError::Key),
            }
        } else if oid::is(name, oid::RSA) {
            let Ok(PublicKey::RSA(rsa)) = info.parsed() else { return Err(RequestError::Key) };
            let (modulus, exponent) = (bits(rsa.modulus), bits(rsa.exponent));
            if !RSA_BITS.contains(&modulus) {
                return Err(RequestError::RsaBits(modulus));
            }
            if !(2..=RSA_EXPONENT_BITS).contains(&exponent) || rsa.exponent.last().is_none_or(|b| b & 1 == 0)
            {
                return Err(RequestError::RsaExponent);
            }
            let mut again = Writer::with_capacity(bytes.len());
            again.nest(SEQUENCE, |w| {
                w.unsigned(rsa.modulus);
                w.unsigned(rsa.exponent);
            });
            return Ok(Self {
                kind: PublicKeyKind::Rsa(modulus),
                der: public_key_info(&KIND_RSA, &again.finish()),
            });
        } else {
            return Err(RequestError::KeyKind(info.algorithm.algorithm.to_id_string()));
        };
        let (length, algorithm) = match kind {
            PublicKeyKind::P384 => (97, &KIND_P384),
            _ => (65, &KIND_P256),
        };
        // Only uncompressed points: the other form saves nothing and few peers read it.
        if bytes.len() != length || bytes.first() != Some(&4) {
            return Err(RequestError::Key);
        }
        Ok(Self { kind, der: public_key_info(algorithm, bytes) })
    }
}

/// The algorithm of a key, as the parts of an AlgorithmIdentifier.
pub(crate) type KeyAlgorithm = [&'static [u8]; 2];
pub(crate) const KIND_P256: KeyAlgorithm = [oid::EC_PUBLIC_KEY, oid::P256];
pub(crate) const KIND_P384: KeyAlgorithm = [oid::EC_PUBLIC_KEY, oid::P384];
pub(crate) const KIND_P521: KeyAlgorithm = [oid::EC_PUBLIC_KEY, oid::P521];
pub(crate) const KIND_RSA: KeyAlgorithm = [oid::RSA, &[5, 0]];

/// Encodes a SubjectPublicKeyInfo (RFC 5280, section 4.1).
pub(crate) fn public_key_info(algorithm: &KeyAlgorithm, key: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(key.len() + 40);
    w.nest(SEQUENCE, |w| {
        w.nest(SEQUENCE, |w| algorithm.iter().for_each(|part| w.raw(part)));
        w.bits(key);
    });
    w.finish()
}

/// Returns the length of a big-endian number in bits.
fn bits(big_endian: &[u8]) -> usize {
    let start = big_endian.iter().position(|b| *b != 0).unwrap_or(big_endian.len());
    match big_endian.get(start) {
        Some(first) => (big_endian.len() - start) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests;
