//! Public keys of token issuers (JWKS, RFC 7517).

use super::TokenRefusal;
use super::base64url::decode;
use crate::der::{SEQUENCE, Writer};
use aws_lc_rs::signature::{self as lc, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest key set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Most keys that are kept of one set.
const MAX_KEYS: usize = 100;

/// Why a key set is refused as a whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeySetError {
    /// The set is longer than is read.
    #[error("key set has {0} bytes; at most 262144 are read")]
    TooLong(usize),
    /// The set is not JSON of the shape `{"keys": [...]}`.
    #[error("key set is not a JWKS document: {0}")]
    Malformed(String),
    /// No key in it can be used.
    #[error(
        "key set has no usable key; RSA (2048 to 8192 bits) and EC keys (P-256, P-384, P-521) with a kid are"
    )]
    Empty,
}

/// The signature algorithms of tokens that are accepted (RFC 7518, section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            _ => return None,
        })
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &lc::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 => &lc::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &lc::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &lc::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// One public key and the algorithms that it is for.
#[derive(Debug)]
pub(super) struct PublicKey {
    /// The algorithms, the parsed key ready for the first of them.
    algorithms: Vec<Algorithm>,
    parsed: ParsedPublicKey,
    bytes: Vec<u8>,
}

impl PublicKey {
    fn new(algorithms: Vec<Algorithm>, bytes: Vec<u8>) -> Option<Self> {
        let first = algorithms.first()?;
        let parsed = ParsedPublicKey::new(first.verification(), &bytes).ok()?;
        Some(Self { algorithms, parsed, bytes })
    }

    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenRefusal> {
        if !self.algorithms.contains(&algorithm) {
            return Err(TokenRefusal::KeyMismatch);
        }
        let verified = if self.algorithms.first() == Some(&algorithm) {
            self.parsed.verify_sig(message, signature)
        } else {
            UnparsedPublicKey::new(algorithm.verification(), &self.bytes).verify(message, signature)
        };
        verified.map_err(|_| TokenRefusal::Signature)
    }
}

/// The public keys of one issuer, by key id.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<String, PublicKey>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWKS document. Keys that cannot be used (another kind, too small, for encryption,
    /// without an id) are passed over; private parts are ignored.
    ///
    /// # Errors
    /// [`KeySetError`], also when no key is left: an empty set would refuse every token.
    pub fn from_json(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_BYTES {
            return Err(KeySetError::TooLong(bytes.len()));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| KeySetError::Malformed(e.to_string()))?;
        let mut keys = BTreeMap::new();
        for value in document.keys.into_iter().take(MAX_KEYS) {
            if let Some((id, key)) = serde_json::from_value(value).ok().and_then(read) {
                // The first key of an id wins, so that a later one cannot replace it.
                keys.entry(id).or_insert(key);
            }
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self { keys }) }
    }

    pub(super) fn find(&self, id: &str) -> Option<&PublicKey> {
        self.keys.get(id)
    }

    /// Tells whether a key of this id is known.
    pub fn contains(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Returns how many keys are usable.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Tells whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn read(jwk: Jwk) -> Option<(String, PublicKey)> {
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let id = jwk.kid.filter(|kid| !kid.is_empty())?;
    let decoded = |text: Option<String>| text.and_then(|text| decode(&text));
    let (mut algorithms, bytes) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (decoded(jwk.n)?, decoded(jwk.e)?);
            let modulus: &[u8] = n.iter().position(|b| *b != 0).map_or(&[], |start| &n[start..]);
            if !(256..=1024).contains(&modulus.len()) || e.len() > 5 {
                return None;
            }
            let mut w = Writer::default();
            w.nest(SEQUENCE, |w| {
                w.unsigned(modulus);
                w.unsigned(&e);
            });
            (vec![Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512], w.finish())
        }
        ("EC", Some(curve)) => {
            let (algorithm, length) = match curve {
                "P-256" => (Algorithm::Es256, 32),
                "P-384" => (Algorithm::Es384, 48),
                "P-521" => (Algorithm::Es512, 66),
                _ => return None,
            };
            let (x, y) = (decoded(jwk.x)?, decoded(jwk.y)?);
            if x.len() != length || y.len() != length {
                return None;
            }
            (vec![algorithm], [&[4], x.as_slice(), y.as_slice()].concat())
        }
        _ => return None,
    };
    if let Some(name) = jwk.alg {
        let only = Algorithm::from_name(&name)?;
        algorithms.retain(|a| *a == only);
    }
    PublicKey::new(algorithms, bytes).map(|key| (id, key))
}
