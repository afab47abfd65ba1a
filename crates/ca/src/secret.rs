//! The Secret in which a self-signed authority is kept.
//!
//! The names of its keys are the ones that an existing mesh has in `istio-ca-secret` (or in
//! `cacerts`), so that it keeps its root, in both directions. A rotation in progress adds keys of
//! our own, which other readers pass over.

use crate::bundle::BundleError;
use crate::certificate::{Certificate, CertificateError};
use crate::root::{Root, RootError};
use crate::rotation::{Incoming, Retiring, RootState};
use crate::ttl::at;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of the Secret.
pub const SECRET_TYPE: &str = "istio.io/ca-root";

/// Marks a Secret `cacerts`, or a folder of it, whose content was generated, not plugged in.
pub(crate) const GENERATED: &str = "istio-generated";

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const ROOTS: &str = "root-cert.pem";
/// Present and empty, as other readers expect.
const EMPTY: [&str; 2] = ["cert-chain.pem", "key.pem"];
const INCOMING_CERTIFICATE: &str = "incoming-ca-cert.pem";
const INCOMING_KEY: &str = "incoming-ca-key.pem";
const ROTATION: &str = "rotation.json";

/// Longest description of a rotation that is read, in bytes.
const MAX_ROTATION_BYTES: usize = 1024 * 1024;

/// Why the content of a Secret cannot be used. It must then be left as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// A key is missing or empty.
    #[error("key {0} is missing or empty")]
    Missing(&'static str),
    /// A key is not text.
    #[error("key {0} is not UTF-8 text")]
    Text(&'static str),
    /// Certificate and key cannot be used.
    #[error("keys {certificate} and {key}: {error}")]
    Root {
        /// The name of the certificate's key in the Secret.
        certificate: &'static str,
        /// The name of the private key's key in the Secret.
        key: &'static str,
        /// What is wrong.
        error: RootError,
    },
    /// The description of a rotation cannot be read.
    #[error("key rotation.json: {0}")]
    Rotation(String),
    /// The roots do not form a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    announced_at: Option<u64>,
    #[serde(default)]
    retiring: Vec<RetiringText>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetiringText {
    certificate: String,
    since: u64,
}

impl RootState {
    /// Reads the data of a Secret.
    ///
    /// # Errors
    /// [`SecretError`]. The caller must neither overwrite the Secret then nor make a new root.
    pub fn from_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, SecretError> {
        let active = read_root(data, CERTIFICATE, KEY)?;
        let rotation = match data.get(ROTATION).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) if bytes.len() > MAX_ROTATION_BYTES => {
                return Err(SecretError::Rotation("longer than 1 MiB".to_owned()));
            }
            Some(bytes) => serde_json::from_slice(bytes).map_err(|e| SecretError::Rotation(e.to_string()))?,
            None => Rotation::default(),
        };
        let incoming = match rotation.announced_at {
            Some(announced_at) => Some(Incoming {
                root: read_root(data, INCOMING_CERTIFICATE, INCOMING_KEY)?,
                announced_at: at(announced_at),
            }),
            None => None,
        };
        let mut retiring = Vec::new();
        for entry in rotation.retiring {
            let certificates = Certificate::all_from_pem(entry.certificate.as_bytes());
            for certificate in
                certificates.map_err(|e: CertificateError| SecretError::Rotation(e.to_string()))?
            {
                retiring.push(Retiring { certificate, since: at(entry.since) });
            }
        }
        let state = Self { active, incoming, retiring };
        state.trust()?;
        Ok(state)
    }

    /// Returns the data of the Secret; `generated_mark` adds the key by which a Secret `cacerts` is
    /// known to be generated. Written whole: keys of an ended rotation are not among them.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn to_secret(&self, generated_mark: bool) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
        let mut data = BTreeMap::new();
        let mut put = |name: &str, text: String| data.insert(name.to_owned(), text.into_bytes());
        put(CERTIFICATE, self.active.certificate().to_pem());
        put(KEY, self.active.key().to_pem().to_owned());
        put(ROOTS, self.trust()?.to_pem());
        for name in EMPTY {
            put(name, String::new());
        }
        if generated_mark {
            put(GENERATED, String::new());
        }
        if let Some(incoming) = &self.incoming {
            put(INCOMING_CERTIFICATE, incoming.root.certificate().to_pem());
            put(INCOMING_KEY, incoming.root.key().to_pem().to_owned());
        }
        if self.incoming.is_some() || !self.retiring.is_empty() {
            let rotation = Rotation {
                announced_at: self.incoming.as_ref().map(|i| i.announced_at.as_secs()),
                retiring: self.retiring.iter().map(RetiringText::from).collect(),
            };
            put(
                ROTATION,
                serde_json::to_string(&rotation).map_err(|e| SecretError::Rotation(e.to_string()))?,
            );
        }
        Ok(data)
    }
}

impl From<&Retiring> for RetiringText {
    fn from(retiring: &Retiring) -> Self {
        Self { certificate: retiring.certificate.to_pem(), since: retiring.since.as_secs() }
    }
}

fn read_root(
    data: &BTreeMap<String, Vec<u8>>,
    certificate: &'static str,
    key: &'static str,
) -> Result<Root, SecretError> {
    let get = |name: &'static str| data.get(name).filter(|v| !v.is_empty()).ok_or(SecretError::Missing(name));
    let key_text = std::str::from_utf8(get(key)?).map_err(|_| SecretError::Text(key))?;
    Root::from_pem(get(certificate)?, key_text).map_err(|error| SecretError::Root { certificate, key, error })
}

#[cfg(test)]
mod tests;
