//! Secrets and ConfigMaps that something refers to.

use super::key_material::{key_pair, roots};
use super::metadata::Metadata;
use super::text::Text;
use super::{code, read, wrong::Wrong};
use crate::facts::{Answer, ConfigMap, Meta, Referent, Roots, Secret};
use crate::{Diagnostic, Kind, Name, ObjectRef, Str, shared};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A kind of which objects are read by reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ReferentKind {
    /// Core `Secret`.
    Secret,
    /// Core `ConfigMap`.
    ConfigMap,
}

impl ReferentKind {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::Secret, Self::ConfigMap];

    /// Returns the name of the kind as written in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// Returns the plural resource name used in API paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }

    /// Returns what refers to the object of this name.
    pub fn referent(self, name: Name) -> Referent {
        match self {
            Self::Secret => Referent::Secret(name),
            Self::ConfigMap => Referent::ConfigMap(name),
        }
    }

    /// Returns the kind of a manifest's `apiVersion` and `kind`; `None` for one that is not read by reference.
    pub fn from_manifest(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| !api_version.contains('/') && of.name() == kind)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretManifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    data: Option<SecretData<'a>>,
    /// What is written in manifests and never returned: it goes before `data`.
    #[serde(borrow)]
    string_data: Option<SecretData<'a>>,
}

#[derive(Deserialize, Default)]
struct SecretData<'a> {
    #[serde(borrow, rename = "tls.crt")]
    tls_crt: Option<Text<'a>>,
    #[serde(borrow, rename = "tls.key")]
    tls_key: Option<Text<'a>>,
    #[serde(borrow)]
    cert: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow, rename = "ca.crt")]
    ca_crt: Option<Text<'a>>,
    #[serde(borrow)]
    cacert: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MapManifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    data: Option<BTreeMap<Text<'a>, Option<Text<'a>>>>,
}

/// Returns the facts of one object that is read by reference, whose manifest is the JSON document `json`, and
/// what names it.
///
/// # Errors
/// When the document is not JSON, does not name an object, or has a field of a type that it cannot have. Of a
/// Secret the diagnostic holds nothing but its name.
#[allow(clippy::result_large_err)] // a diagnostic is made once for a bad object
pub fn referent(kind: ReferentKind, json: &[u8]) -> Result<(Referent, Answer), Diagnostic> {
    match kind {
        ReferentKind::Secret => {
            let secret = secret(json).map_err(|wrong| wrong.into_diagnostic(None))?;
            Ok((Referent::Secret(secret.name.clone()), Answer::Secret(Arc::new(secret))))
        }
        ReferentKind::ConfigMap => {
            let map = config_map(json).map_err(|wrong| {
                let name = super::metadata::reference(Kind::ConfigMap, json).map(|of| of.name);
                wrong.into_diagnostic(name.map(|name| ObjectRef { kind: Kind::ConfigMap, name }))
            })?;
            Ok((Referent::ConfigMap(map.name.clone()), Answer::ConfigMap(Arc::new(map))))
        }
    }
}

fn secret(json: &[u8]) -> Result<Secret, Wrong> {
    // An error of the reader would quote the value.
    let SecretManifest { metadata, data, string_data } = serde_json::from_slice(json).map_err(|_| {
        let name = super::metadata::reference(Kind::ConfigMap, json).map(|of| of.name);
        let name = name.map_or_else(|| "a Secret".to_owned(), |name| format!("Secret {name}"));
        Wrong::new(
            code::FIELD,
            "",
            format!("{name} cannot be read: it is no JSON, or a field has a type that it cannot have"),
        )
        .help("write `data` as texts in base64 by their keys, or `stringData` as they are")
    })?;
    // What names a Secret is what names any object of a namespace.
    let name = metadata.object_name(Kind::ConfigMap)?;
    let (data, strings) = (data.unwrap_or_default(), string_data.unwrap_or_default());
    let (chain, key) = if data.tls_crt.is_some() || strings.tls_crt.is_some() {
        (value("tls.crt", &data.tls_crt, &strings.tls_crt), value("tls.key", &data.tls_key, &strings.tls_key))
    } else if data.cert.is_some() || strings.cert.is_some() {
        (value("cert", &data.cert, &strings.cert), value("key", &data.key, &strings.key))
    } else {
        (Err("it has no tls.crt".to_owned()), Ok(Vec::new()))
    };
    let has = |a: &Option<Text<'_>>, b: &Option<Text<'_>>| a.is_some() || b.is_some();
    let is_generic = !has(&data.ca_crt, &strings.ca_crt) && has(&data.cacert, &strings.cacert);
    let ca = match is_generic {
        true => value("cacert", &data.cacert, &strings.cacert),
        false => value("ca.crt", &data.ca_crt, &strings.ca_crt),
    };
    let key_pair = chain.and_then(|chain| key_pair(&chain, &key?));
    Ok(Secret { name, key_pair, roots: ca.and_then(|ca| roots(&ca)) })
}

/// Returns the bytes under a key of a Secret.
fn value(key: &str, data: &Option<Text<'_>>, string: &Option<Text<'_>>) -> Result<Vec<u8>, String> {
    match (string, data) {
        (Some(string), _) => Ok(string.as_str().as_bytes().to_vec()),
        (None, Some(data)) => {
            STANDARD.decode(data.as_str()).map_err(|_| format!("{key} is not valid base64"))
        }
        (None, None) => Err(format!("it has no {key}")),
    }
}

fn config_map(json: &[u8]) -> Result<ConfigMap, Wrong> {
    let MapManifest { metadata, data } = read::manifest(json)?;
    let Meta { name, created, labels, .. } = metadata.meta(Kind::ConfigMap)?;
    let data: BTreeMap<Str, Str> = data
        .unwrap_or_default()
        .iter()
        .map(|(key, value)| (shared(key.as_str()), Str::from(value.as_ref().map_or("", Text::as_str))))
        .collect();
    let roots: Result<Roots, String> = match data.get("ca.crt") {
        Some(pem) => roots(pem.as_bytes()),
        None => Err("it has no ca.crt".to_owned()),
    };
    Ok(ConfigMap { name, created, labels, data, roots })
}

#[cfg(test)]
mod tests;
