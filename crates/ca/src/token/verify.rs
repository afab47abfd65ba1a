//! From the text of a token to what it proves.

use super::base64url::decode;
use super::claims::{self, Claims};
use super::keys::Algorithm;
use super::{KeySet, MAX_TOKEN_BYTES, ServiceAccountToken, TokenPolicy, TokenRefusal};
use rustls_pki_types::UnixTime;
use serde::Deserialize;

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
    let signature = decode(signature).ok_or(TokenRefusal::Malformed("signature is not base64url"))?;
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
    json::<Claims>(open(token)?.claims, "claims")?.check_use(policy, now)
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
    let bytes = decode(part).ok_or(TokenRefusal::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::Malformed(what))
}
