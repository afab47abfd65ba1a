//! Tokens for development, where no API server issues any.
//!
//! They have the shape of bound service-account tokens and pass through the same verification.

use super::base64url::encode;
use super::{KeySet, KeySetError};
use crate::entropy::{Entropy, NoEntropy};
use crate::key::KeyError;
use crate::pem::pem;
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// What a development token is to say.
#[derive(Clone, Debug, Default)]
pub struct DevelopmentToken {
    /// The namespace of the service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
    /// Name and UID of the pod that the token is bound to.
    pub pod: Option<(String, String)>,
    /// Name of the node.
    pub node: Option<String>,
    /// The audiences.
    pub audiences: Vec<String>,
    /// How long the token is valid.
    pub life: Duration,
}

/// An issuer of development tokens with a P-256 key.
pub struct DevelopmentIssuer {
    issuer: String,
    pair: EcdsaKeyPair,
    key_id: String,
    pem: String,
}

impl fmt::Debug for DevelopmentIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevelopmentIssuer")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl DevelopmentIssuer {
    /// Generates a key; `issuer` is what tokens name as their issuer.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn generate(issuer: &str) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Failed("generate a key");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let pem = pem("PRIVATE KEY", pair.to_pkcs8v1().map_err(failed)?.as_ref());
        Ok(Self::new(issuer, pair, pem))
    }

    /// Loads a key that [`DevelopmentIssuer::to_pem`] gave.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(issuer: &str, text: &str) -> Result<Self, KeyError> {
        let (kind, der) =
            <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::Missing)?;
        if kind != SectionKind::PrivateKey {
            return Err(KeyError::Missing);
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|_| KeyError::Unusable)?;
        Ok(Self::new(issuer, pair, text.to_owned()))
    }

    fn new(issuer: &str, pair: EcdsaKeyPair, pem: String) -> Self {
        let hash = digest::digest(&digest::SHA256, pair.public_key().as_ref());
        Self { issuer: issuer.to_owned(), key_id: encode(hash.as_ref()), pair, pem }
    }

    /// Returns the private key in PEM (PKCS#8). A secret.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// Returns what tokens name as their issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the public key as a JWKS document.
    pub fn jwks(&self) -> String {
        // An uncompressed point: one byte of form, then both coordinates.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
                         "x": encode(x), "y": encode(y)}]})
        .to_string()
    }

    /// Returns the public key, ready to verify with.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn keys(&self) -> Result<KeySet, KeySetError> {
        KeySet::from_json(self.jwks().as_bytes())
    }

    /// Issues a token at `now`.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn issue(
        &self,
        token: &DevelopmentToken,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<String, KeyError> {
        let mut id = [0; 16];
        entropy.fill(&mut id).map_err(|NoEntropy| KeyError::Failed("draw a token id"))?;
        let (namespace, account) = (&token.namespace, &token.service_account);
        let mut kubernetes = json!({"namespace": namespace, "serviceaccount": {"name": account}});
        if let Some((name, uid)) = &token.pod {
            kubernetes["pod"] = json!({"name": name, "uid": uid});
        }
        if let Some(node) = &token.node {
            kubernetes["node"] = json!({"name": node});
        }
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let claims = json!({
            "iss": self.issuer,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "aud": token.audiences,
            "iat": now.as_secs(),
            "nbf": now.as_secs(),
            "exp": now.as_secs().saturating_add(token.life.as_secs()),
            "jti": encode(&id),
            "kubernetes.io": kubernetes,
        });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// Signs any header and claims.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> Result<String, KeyError> {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature =
            self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| KeyError::Failed("sign"))?;
        Ok(format!("{signed}.{}", encode(signature.as_ref())))
    }
}
