//! Private keys that certificates are signed with.

use crate::der::{SEQUENCE, SET, Writer, explicit, oid};
use crate::pem::pem;
use crate::profile;
use crate::request::{KIND_P256, KIND_P384, KIND_P521, KIND_RSA, PublicKeyKind, SubjectKey, public_key_info};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair};
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::fmt;

/// Why a private key cannot be used. No variant carries any part of the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text holds no private key in PEM.
    #[error("no private key found; a PEM block RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY is expected")]
    Missing,
    /// The text holds more than one private key.
    #[error("more than one private key found; keep the one that matches the certificate")]
    Several,
    /// The key is malformed or of a kind that is not accepted.
    #[error(
        "private key is malformed or of an unknown kind; RSA (2048 to 8192 bits) and ECDSA (P-256, P-384, P-521) are accepted"
    )]
    Unusable,
    /// The cryptographic library failed.
    #[error("cryptographic library failed to {0}")]
    Failed(&'static str),
}

/// A private key with its PEM text.
pub struct SigningKey {
    pair: Pair,
    /// Kept as it was loaded, so that saving it changes nothing for another reader of the Secret.
    pem: String,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self.pair, Pair::Rsa(_)) { "RSA" } else { "ECDSA" };
        f.debug_struct("SigningKey").field("kind", &kind).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Generates an ECDSA key on P-256.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn generate_p256() -> Result<Self, KeyError> {
        let failed = |_| KeyError::Failed("generate a key");
        let pair = EcdsaKeyPair::generate(&lc::ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
        let pem = pem("PRIVATE KEY", pair.to_pkcs8v1().map_err(failed)?.as_ref());
        Ok(Self { pair: Pair::Ecdsa(pair), pem })
    }

    /// Loads the one private key in `text`: PKCS#1, SEC 1 or PKCS#8, in PEM. Other blocks, such as
    /// `EC PARAMETERS` before a key, are passed over.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut found = None;
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = block.map_err(|_| KeyError::Unusable)?;
            let pair = match kind {
                SectionKind::RsaPrivateKey => RsaKeyPair::from_der(&der).ok().map(Box::new).map(Pair::Rsa),
                SectionKind::EcPrivateKey => ecdsa(&der),
                SectionKind::PrivateKey => {
                    ecdsa(&der).or_else(|| RsaKeyPair::from_pkcs8(&der).ok().map(Box::new).map(Pair::Rsa))
                }
                _ => continue,
            };
            if found.is_some() {
                return Err(KeyError::Several);
            }
            let pair = pair.ok_or(KeyError::Unusable)?;
            if matches!(&pair, Pair::Rsa(rsa) if !(256..=1024).contains(&rsa.public_modulus_len())) {
                return Err(KeyError::Unusable);
            }
            found = Some(Self { pair, pem: text.to_owned() });
        }
        found.ok_or(KeyError::Missing)
    }

    /// Returns the private key as PEM: as it was loaded, or PKCS#8 when generated. A secret.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// Tells whether it is an RSA key.
    pub(crate) fn is_rsa(&self) -> bool {
        matches!(self.pair, Pair::Rsa(_))
    }

    /// Returns the public key as it stands in a certificate's bit string.
    pub(crate) fn public_key(&self) -> &[u8] {
        match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Returns the public key as a SubjectPublicKeyInfo.
    pub(crate) fn public_key_info(&self) -> Vec<u8> {
        let algorithm = match &self.pair {
            Pair::Rsa(_) => &KIND_RSA,
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P384_SHA384_ASN1_SIGNING => &KIND_P384,
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P521_SHA512_ASN1_SIGNING => &KIND_P521,
            Pair::Ecdsa(_) => &KIND_P256,
        };
        public_key_info(algorithm, self.public_key())
    }

    /// Returns the public key as the subject of a leaf, if leaves may have such a key.
    pub(crate) fn subject_key(&self) -> Option<SubjectKey> {
        let kind = match &self.pair {
            Pair::Rsa(pair) => PublicKeyKind::Rsa(pair.public_modulus_len() * 8),
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P256_SHA256_ASN1_SIGNING => {
                PublicKeyKind::P256
            }
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P384_SHA384_ASN1_SIGNING => {
                PublicKeyKind::P384
            }
            Pair::Ecdsa(_) => return None,
        };
        Some(SubjectKey { kind, der: self.public_key_info() })
    }

    /// Returns the AlgorithmIdentifier of this key's signatures: the hash goes by the key.
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        let parts: [&[u8]; 2] = match &self.pair {
            Pair::Rsa(_) => [oid::SHA256_WITH_RSA, &[5, 0]],
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P384_SHA384_ASN1_SIGNING => {
                [oid::ECDSA_WITH_SHA384, &[]]
            }
            Pair::Ecdsa(pair) if pair.algorithm() == &lc::ECDSA_P521_SHA512_ASN1_SIGNING => {
                [oid::ECDSA_WITH_SHA512, &[]]
            }
            Pair::Ecdsa(_) => [oid::ECDSA_WITH_SHA256, &[]],
        };
        let mut w = Writer::default();
        w.nest(SEQUENCE, |w| parts.iter().for_each(|part| w.raw(part)));
        w.finish()
    }

    /// Signs `body`, a DER structure, and returns `SEQUENCE { body, algorithm, signature }`.
    pub(crate) fn sign_structure(&self, body: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Failed("sign");
        let random = SystemRandom::new();
        let algorithm = self.signature_algorithm();
        let mut w = Writer::with_capacity(body.len() + 600);
        let finish = |w: &mut Writer, signature: &[u8]| {
            w.nest(SEQUENCE, |w| {
                w.raw(body);
                w.raw(&algorithm);
                w.bits(signature);
            });
        };
        match &self.pair {
            Pair::Ecdsa(pair) => finish(&mut w, pair.sign(&random, body).map_err(failed)?.as_ref()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&lc::RSA_PKCS1_SHA256, &random, body, &mut signature).map_err(failed)?;
                finish(&mut w, &signature);
            }
        }
        Ok(w.finish())
    }

    /// Returns a certificate request for this key in PEM, with an empty `O=` as subject, as agents
    /// send it, and `names` as its alternative names: addresses, SPIFFE ids, else DNS names.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn request_pem(&self, names: &[&str]) -> Result<String, KeyError> {
        let mut w = Writer::with_capacity(512);
        w.nest(SEQUENCE, |w| {
            w.unsigned(&[]);
            profile::name(w, oid::ORGANIZATION, "");
            w.raw(&self.public_key_info());
            w.nest(explicit(0), |w| {
                w.nest(SEQUENCE, |w| {
                    w.raw(oid::EXTENSION_REQUEST);
                    w.nest(SET, |w| {
                        w.nest(SEQUENCE, |w| profile::subject_alt_name(w, names.iter().copied()));
                    });
                });
            });
        });
        Ok(pem("CERTIFICATE REQUEST", &self.sign_structure(&w.finish())?))
    }
}

fn ecdsa(der: &[u8]) -> Option<Pair> {
    let curves: [&'static EcdsaSigningAlgorithm; 3] = [
        &lc::ECDSA_P256_SHA256_ASN1_SIGNING,
        &lc::ECDSA_P384_SHA384_ASN1_SIGNING,
        &lc::ECDSA_P521_SHA512_ASN1_SIGNING,
    ];
    curves.into_iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok()).map(Pair::Ecdsa)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn generated_key_survives_its_pem() {
        let key = SigningKey::generate_p256().unwrap();
        let again = SigningKey::from_pem(key.to_pem()).unwrap();
        assert_eq!(key.public_key(), again.public_key());
    }

    #[test]
    fn debug_output_hides_the_key() {
        let key = SigningKey::generate_p256().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { kind: \"ECDSA\", .. }");
    }

    #[test]
    fn unusable_texts_are_refused() {
        let pem = SigningKey::generate_p256().unwrap().to_pem().to_owned();
        assert_eq!(SigningKey::from_pem("").unwrap_err(), KeyError::Missing);
        assert_eq!(SigningKey::from_pem(&format!("{pem}{pem}")).unwrap_err(), KeyError::Several);
        let garbage = super::pem("EC PRIVATE KEY", &[1, 2, 3]);
        assert_eq!(SigningKey::from_pem(&garbage).unwrap_err(), KeyError::Unusable);
    }
}
