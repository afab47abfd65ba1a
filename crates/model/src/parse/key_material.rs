//! Key pairs and roots, as Secrets and ConfigMaps hold them. What is said of a text that is not valid holds
//! nothing of that text.

use crate::facts::{Digest, KeyPair, Roots};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaKeyPair};
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Most certificates that one text may hold.
const MAX_CERTIFICATES: usize = 1000;

/// The lengths of moduli that Envoys accept and that are verified in reasonable time, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What is to be known of a certificate.
struct Certificate {
    /// As it stands in the bit string.
    public_key: Vec<u8>,
    not_after: i64,
}

/// Returns a key pair that is valid: the key is that of the first certificate.
///
/// # Errors
/// What is wrong with it.
pub(super) fn key_pair(chain: &[u8], key: &[u8]) -> Result<KeyPair, String> {
    let certificates = certificates(chain)?;
    let public_key = public_key(key)?;
    if certificates.first().is_none_or(|leaf| leaf.public_key != public_key) {
        return Err("the key is not that of the certificate".to_owned());
    }
    Ok(KeyPair {
        chain: Arc::from(chain),
        key: Arc::from(key),
        not_after: ends(&certificates),
        digest: digest([chain, key]),
    })
}

/// Returns roots that are valid: certificates, of which there is one at least.
///
/// # Errors
/// What is wrong with them.
pub(super) fn roots(pem: &[u8]) -> Result<Roots, String> {
    let certificates = certificates(pem)?;
    Ok(Roots { pem: Arc::from(pem), not_after: ends(&certificates), digest: digest([pem, b""]) })
}

fn ends(certificates: &[Certificate]) -> i64 {
    certificates.iter().map(|certificate| certificate.not_after).min().unwrap_or(0)
}

/// The digest of two texts, each with its length, so that nothing moves from one to the other unseen.
fn digest(texts: [&[u8]; 2]) -> Digest {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text);
    }
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Digest(bytes)
}

/// Reads all certificates of a text; blocks of other types are passed over.
fn certificates(text: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let number = found.len() + 1;
        let Ok((kind, der)) = block else { return Err(format!("certificate {number} is not valid PEM")) };
        if kind != SectionKind::Certificate {
            continue;
        }
        if number > MAX_CERTIFICATES {
            return Err(format!("it has more than {MAX_CERTIFICATES} certificates"));
        }
        let Ok(([], parsed)) = X509Certificate::from_der(&der) else {
            return Err(format!("certificate {number} is not valid DER of X.509"));
        };
        found.push(Certificate {
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            not_after: parsed.validity().not_after.timestamp(),
        });
    }
    if found.is_empty() { Err("no PEM block of type CERTIFICATE is in it".to_owned()) } else { Ok(found) }
}

/// Returns the public key of the one private key in a text; other blocks, such as `EC PARAMETERS` before a
/// key, are passed over.
fn public_key(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut found = None;
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let Ok((kind, der)) = block else { return Err("the key is not valid PEM".to_owned()) };
        let public = match kind {
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(&der).ok().and_then(|pair| rsa(&pair)),
            SectionKind::EcPrivateKey => ecdsa(&der),
            SectionKind::PrivateKey => {
                ecdsa(&der).or_else(|| RsaKeyPair::from_pkcs8(&der).ok().and_then(|pair| rsa(&pair)))
            }
            _ => continue,
        };
        if found.is_some() {
            return Err("there is more than one private key".to_owned());
        }
        found = Some(public.ok_or_else(|| {
            "the key is malformed or of a kind that proxies do not take; use RSA (2048 to 8192 bits) or \
             ECDSA (P-256, P-384, P-521)"
                .to_owned()
        })?);
    }
    found.ok_or_else(|| "no PEM block of a private key is in it".to_owned())
}

fn rsa(pair: &RsaKeyPair) -> Option<Vec<u8>> {
    RSA_BYTES.contains(&pair.public_modulus_len()).then(|| pair.public_key().as_ref().to_vec())
}

fn ecdsa(der: &[u8]) -> Option<Vec<u8>> {
    let curves: [&'static EcdsaSigningAlgorithm; 3] = [
        &lc::ECDSA_P256_SHA256_ASN1_SIGNING,
        &lc::ECDSA_P384_SHA384_ASN1_SIGNING,
        &lc::ECDSA_P521_SHA512_ASN1_SIGNING,
    ];
    let pair = curves.into_iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok())?;
    Some(pair.public_key().as_ref().to_vec())
}
