//! Service-account tokens, verified without asking the API server.
//!
//! ```text
//!  text ─▶ size ─▶ shape ─▶ header: alg on the list, kid ─▶ key of that kid and kind
//!       ─▶ signature ─▶ claims: iss, aud, exp, nbf, sub ─▶ bound pod ─▶ ServiceAccountToken
//! ```
//!
//! Each arrow refuses before the next one works. Nothing of the claims is read before the signature
//! is verified, but for the issuer, to find the keys that verify it ([`claimed_issuer`]), and to spare the
//! API server a question whose answer is known ([`check_unverified`]); and no address in a token is ever
//! fetched.

mod cache;
mod claims;
mod development;
mod keys;
mod review;
mod rule;

pub use cache::{TokenCache, TokenHash};
pub use claims::{BoundObject, PodBinding, ServiceAccountToken, TokenPolicy};
pub use development::{DevelopmentIssuer, DevelopmentToken};
pub use keys::{KeySet, KeySetError};
pub use review::Review;
pub use rule::{IssuerRule, IssuerRuleError, IssuerRules};

use crate::base64::decode_url;
use crate::refusal::{Code, Refusal};
use keys::Algorithm;
use rustls_pki_types::UnixTime;
use serde::Deserialize;

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// The token is longer than [`MAX_TOKEN_BYTES`].
    #[error("token has {0} bytes; at most 8192 are accepted")]
    TooLong(usize),
    /// The token is not three base64url parts with JSON inside.
    #[error("token is not a signed JWT in compact form: {0}")]
    Malformed(&'static str),
    /// The algorithm is not on the list; `none` and those with a shared secret never are.
    #[error("token has an algorithm that is not accepted; RS256, RS384, RS512, ES256, ES384 and ES512 are")]
    Algorithm,
    /// The header has no key id.
    #[error("token has no key id")]
    NoKeyId,
    /// No key has this id. Fetching the keys again may help.
    #[error("token has an unknown key id")]
    UnknownKey {
        /// The key id.
        key_id: String,
    },
    /// The key of that id is of another kind than the algorithm.
    #[error("token has an algorithm that its key is not for")]
    KeyMismatch,
    /// The signature does not verify.
    #[error("token has a wrong signature")]
    Signature,
    /// The issuer is not one of the expected ones.
    #[error("token has an unexpected issuer")]
    Issuer,
    /// None of the audiences is expected.
    #[error("token is for another audience")]
    Audience,
    /// The token has expired.
    #[error("token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("token is not valid yet")]
    NotYetValid,
    /// The subject is not a service account, or differs from the bound one.
    #[error("token has a subject that is not system:serviceaccount:<namespace>:<name>")]
    Subject,
    /// The API server was asked and rejected the token.
    #[error("token is rejected by the API server")]
    Rejected,
    /// The token is not bound to a pod.
    #[error("token is not bound to a pod; project it with a serviceAccountToken volume")]
    Unbound,
}

impl Refusal for TokenRefusal {
    fn code(&self) -> Code {
        Code::Unauthenticated
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "token_too_long",
            Self::Malformed(_) => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::NoKeyId => "token_no_key_id",
            Self::UnknownKey { .. } => "token_unknown_key",
            Self::KeyMismatch => "token_key_mismatch",
            Self::Signature => "token_signature",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Subject => "token_subject",
            Self::Rejected => "token_rejected",
            Self::Unbound => "token_unbound",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    crit: Option<serde::de::IgnoredAny>,
}

/// Returns what a token, of which nothing is verified, names as its issuer. It only says whose keys
/// may verify it; [`verify`] then compares the issuer.
pub fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    let claims = token.split('.').nth(1).filter(|_| token.len() <= MAX_TOKEN_BYTES)?;
    json::<Claimed>(claims, "claims").ok().map(|claimed| claimed.iss)
}

/// A token in its parts, of which nothing is verified.
struct Opened<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    /// What is signed: the text before the last dot.
    signed: &'t str,
    claims: &'t str,
    signature: Vec<u8>,
}

fn open(token: &str) -> Result<Opened<'_>, TokenRefusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenRefusal::TooLong(token.len()));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenRefusal::Malformed("three parts are expected"));
    };
    let header: Header = json(header, "header")?;
    if header.crit.is_some() {
        return Err(TokenRefusal::Malformed("critical header extensions are not understood"));
    }
    let algorithm = Algorithm::from_name(&header.alg).ok_or(TokenRefusal::Algorithm)?;
    let signature = decode_url(signature).ok_or(TokenRefusal::Malformed("signature is not base64url"))?;
    let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
    let key_id = header.kid.filter(|kid| !kid.is_empty());
    Ok(Opened { algorithm, key_id, signed, claims, signature })
}

/// Refuses a token that nobody could accept for us at `now`, whatever its signature: by its form, its
/// algorithm, its audiences and its times. Returns when it says that it ends. Nothing of it is verified:
/// it is to be believed only once somebody else has accepted the token.
///
/// # Errors
/// [`TokenRefusal`].
pub fn check_unverified(token: &str, policy: &TokenPolicy, now: UnixTime) -> Result<UnixTime, TokenRefusal> {
    json::<claims::Claims>(open(token)?.claims, "claims")?.check_use(policy, now)
}

/// Verifies a token at `now` with the keys of its issuer.
///
/// # Errors
/// [`TokenRefusal`].
pub fn verify(
    token: &str,
    keys: &KeySet,
    policy: &TokenPolicy,
    now: UnixTime,
) -> Result<ServiceAccountToken, TokenRefusal> {
    let Opened { algorithm, key_id, signed, claims, signature } = open(token)?;
    let key_id = key_id.ok_or(TokenRefusal::NoKeyId)?;
    let Some(key) = keys.find(&key_id) else { return Err(TokenRefusal::UnknownKey { key_id }) };
    key.verify(algorithm, signed.as_bytes(), &signature)?;
    claims::check(json(claims, "claims")?, policy, now)
}

fn json<T>(part: &str, what: &'static str) -> Result<T, TokenRefusal>
where
    T: serde::de::DeserializeOwned,
{
    let bytes = decode_url(part).ok_or(TokenRefusal::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::Malformed(what))
}

#[cfg(test)]
mod tests;
