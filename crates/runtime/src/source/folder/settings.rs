//! Settings of the folder source.

use std::path::PathBuf;

/// Which folders are read, and how.
#[derive(Debug, Clone)]
pub struct FolderSettings {
    /// The folders; a path to a single file is fine too.
    pub folders: Vec<PathBuf>,
    /// The namespace of the ConfigMap with the mesh settings.
    pub config_namespace: String,
    /// The name of that ConfigMap; no other ConfigMap is read.
    pub config_name: String,
    /// The domain of hostnames of services.
    pub domain: String,
    /// The ranges of the addresses that hosts of ServiceEntries get; `None` gives none.
    pub pools: Option<mesh::Pools>,
    /// The options of the mesh whose gateways are deployed; `None` deploys none.
    pub gateways: Option<mesh::Options>,
}

impl FolderSettings {
    /// Reads these folders, with the mesh settings where istiod has them: `istio-system/istio`.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            config_namespace: "istio-system".to_owned(),
            config_name: "istio".to_owned(),
            domain: mesh::Options::default().domain_suffix,
            pools: Some(mesh::Pools::default()),
            gateways: None,
        }
    }
}
