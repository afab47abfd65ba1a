//! The well-known definitions of kinds, out of the Go modules that publish them.
//!
//! `tests/apiserver/crds/go.mod` pins the modules; the Go command fetches them. Nothing of theirs is
//! kept in the repository.

use super::documents;
use crate::go::Module;
use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use std::fs;
use std::path::{Path, PathBuf};

/// Definitions of kinds as their projects publish them, in the order of their files.
pub struct KnownCrds {
    /// Those of the Go module `istio.io/api`.
    pub istio: Vec<CustomResourceDefinition>,
    /// Those of the Go module `sigs.k8s.io/gateway-api`, standard channel.
    pub gateway_standard: Vec<CustomResourceDefinition>,
    /// Those of the Go module `sigs.k8s.io/gateway-api`, experimental channel.
    pub gateway_experimental: Vec<CustomResourceDefinition>,
}

/// Reads the definitions, fetching the modules when they are not on this machine yet.
///
/// # Errors
/// When Go is absent or a module cannot be fetched.
pub fn known_crds() -> anyhow::Result<KnownCrds> {
    let (published, istio) = (published(), istio_api()?);
    let gateway = published.pinned("sigs.k8s.io/gateway-api")?.join("config/crd");
    Ok(KnownCrds {
        istio: read(&[istio.join("kubernetes/customresourcedefinitions.gen.yaml")])?,
        gateway_standard: read(&yaml_files(&gateway.join("standard"))?)?,
        gateway_experimental: read(&yaml_files(&gateway.join("experimental"))?)?,
    })
}

/// Returns the folder of the Go module `istio.io/api`, fetched when it is not on this machine yet.
///
/// # Errors
/// When Go is absent or the module cannot be fetched.
pub fn istio_api() -> anyhow::Result<PathBuf> {
    published().pinned("istio.io/api")
}

fn published() -> Module {
    Module::of("tests/apiserver/crds")
}

/// Reads what Kubernetes publishes of its own kinds: the OpenAPI (v3) documents of the Go module
/// `k8s.io/kubernetes` that the API server of these tests is built from, in the order of their files.
///
/// # Errors
/// When Go is absent or the module cannot be fetched.
pub fn kubernetes_openapi() -> anyhow::Result<Vec<serde_json::Value>> {
    let kubernetes = Module::of("tests/apiserver").pinned("k8s.io/kubernetes")?;
    let folder = kubernetes.join("api/openapi-spec/v3");
    let mut documents = Vec::new();
    for path in files_by(&folder, "json")? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        documents.push(serde_json::from_str(&text).with_context(|| path.display().to_string())?);
    }
    Ok(documents)
}

pub(crate) fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files_by(folder, "yaml")
}

fn files_by(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads the definitions of some files and leaves out what is something else.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for document in documents(&text)? {
            if document.get("kind").and_then(|k| k.as_str()) == Some("CustomResourceDefinition") {
                all.push(serde_json::from_value(document).with_context(|| path.display().to_string())?);
            }
        }
    }
    Ok(all)
}
