//! Public keys of whoever issues tokens (JSON Web Key Set, RFC 7517).

use crate::Str;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Longest document that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Most keys that are kept of a document.
const MAX_KEYS: usize = 64;
/// Longest part of a key, in characters.
const MAX_PART: usize = 2_048;

/// Where a key set is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySetSource {
    /// An author wrote it.
    Written,
    /// It is published, so a key that also signs would be known to everybody.
    Published,
}

/// Keys in one form, whatever document they came in: equal keys are equal texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySet(Str);

impl KeySet {
    /// Reads a document. What is no key for signatures of tokens is left out; a set may be empty, which withdraws
    /// all keys.
    ///
    /// # Errors
    /// Why it is no key set, in words.
    pub fn read(document: &[u8], from: KeySetSource) -> Result<Self, String> {
        if document.len() > MAX_BYTES {
            return Err(format!("it has {} bytes, more than the {MAX_BYTES} that are read", document.len()));
        }
        let document: Value =
            serde_json::from_slice(document).map_err(|error| format!("it is no JSON: {error}"))?;
        let Some(keys) = document["keys"].as_array() else {
            return Err("it has no list of `keys`".to_owned());
        };
        let mut kept: Vec<String> = keys.iter().filter_map(|key| read(key, from)).take(MAX_KEYS).collect();
        kept.sort();
        kept.dedup();
        if kept.is_empty() && !keys.is_empty() {
            return Err(
                "it has no key for signatures of tokens: RSA, EC (P-256, P-384, P-521) or Ed25519".to_owned()
            );
        }
        Ok(Self(format!("[{}]", kept.join(",")).into()))
    }

    /// Returns the keys as a list in JSON.
    pub fn keys(&self) -> &str {
        &self.0
    }

    /// Tells whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.0 == "[]"
    }
}

/// Returns what of a key matters, in JSON.
fn read(key: &Value, from: KeySetSource) -> Option<String> {
    let key = key.as_object()?;
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|of| of != "sig") {
        return None;
    }
    let needs: &[&str] = match (text("kty")?, text("crv")) {
        ("RSA", _) => &["n", "e"],
        ("EC", Some("P-256" | "P-384" | "P-521")) => &["crv", "x", "y"],
        ("OKP", Some("Ed25519")) => &["crv", "x"],
        ("oct", _) if from == KeySetSource::Written => &["k"],
        _ => return None,
    };
    let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
    for name in needs.iter().chain(&["kty"]) {
        kept.insert(name, text(name)?);
    }
    let is_number = |text: &str| {
        !text.is_empty()
            && text.len() <= MAX_PART
            && URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).is_ok_and(|of| !of.is_empty())
    };
    if !["n", "e", "x", "y", "k"].iter().all(|part| kept.get(part).is_none_or(|of| is_number(of))) {
        return None;
    }
    for name in ["kid", "alg"] {
        if let Some(value) = key.get(name) {
            kept.insert(name, value.as_str().filter(|value| value.len() <= MAX_PART)?);
        }
    }
    let ordered: Map<String, Value> =
        kept.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Some(Value::Object(ordered).to_string())
}

/// Where a key set is published.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum KeySource {
    /// At this URL.
    Uri(Str),
    /// Where the discovery document of this issuer says (OpenID Connect Discovery 1.0).
    Issuer(Str),
}

impl KeySource {
    /// How long whoever says nothing of it waits for one.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(f, "{uri}"),
            Self::Issuer(issuer) => write!(f, "the discovery document of {issuer}"),
        }
    }
}

/// What is known of a key set that is published somewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchedKeys {
    /// The last one that could be fetched; `None` if there was none yet.
    pub keys: Option<KeySet>,
    /// Why there is none, or no newer one; empty if the last fetch was good.
    pub problem: Str,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RSA: &str = r#"{"kty":"RSA","kid":"a","n":"sXch","e":"AQAB","use":"sig","x5c":["x"]}"#;
    const EC: &str = r#"{"kid":"b","kty":"EC","crv":"P-256","x":"AAAB","y":"AAAC","alg":"ES256"}"#;

    fn keys(of: &[&str], from: KeySetSource) -> Result<String, String> {
        let document = format!("{{\"keys\":[{}]}}", of.join(","));
        KeySet::read(document.as_bytes(), from).map(|set| set.keys().to_owned())
    }

    #[test]
    fn equal_keys_are_equal_texts_in_whatever_order_they_come() {
        let published = KeySetSource::Published;
        let one = keys(&[RSA, EC], published).unwrap();
        assert_eq!(keys(&[EC, RSA, EC], published).unwrap(), one);
        assert!(!one.contains("x5c") && one.contains("\"kid\":\"b\""), "{one}");
        assert!(serde_json::from_str::<Vec<Value>>(&one).is_ok_and(|of| of.len() == 2));
    }

    #[test]
    fn what_signs_nothing_or_everybody_knows_is_left_out() {
        let secret = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
        let others = [
            r#"{"kty":"RSA","n":"sXch","e":"AQAB","use":"enc"}"#,
            r#"{"kty":"RSA","n":"not base64!","e":"AQAB"}"#,
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
            r#"{"kty":"RSA","e":"AQAB"}"#,
            "7",
        ];
        for other in others {
            assert!(keys(&[other], KeySetSource::Published).is_err(), "{other}");
            assert_eq!(keys(&[other, EC], KeySetSource::Published), keys(&[EC], KeySetSource::Published));
        }
        assert!(keys(&[secret], KeySetSource::Published).is_err());
        assert!(keys(&[secret], KeySetSource::Written).is_ok());
        assert_eq!(keys(&[], KeySetSource::Published).unwrap(), "[]");
        for wrong in ["", "{}", "[]", "{\"keys\": {}}"] {
            assert!(KeySet::read(wrong.as_bytes(), KeySetSource::Written).is_err(), "{wrong}");
        }
    }
}
