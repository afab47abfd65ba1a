//! The cluster that the node is one of: which pods there are, and what they get.

mod api_server;
mod folder;
mod services;

pub use api_server::{ApiServerCluster, Kubelet};
pub use folder::FolderCluster;

use crate::load_balancer::Frontend;
use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

/// Where pods come from.
pub enum Cluster {
    /// A folder of manifests, whose controllers the control plane plays.
    Folder(Box<FolderCluster>),
    /// An API server.
    ApiServer(ApiServerCluster),
}

impl Cluster {
    /// The pods that there are now, with addresses.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        match self {
            Self::Folder(folder) => folder.pods(),
            Self::ApiServer(server) => Ok(server.pods()),
        }
    }

    /// A token of a pod for an audience.
    ///
    /// # Errors
    /// When there is none.
    pub async fn token(&self, pod: &Pod, audience: &str) -> anyhow::Result<String> {
        match self {
            Self::Folder(folder) => folder.token(pod, audience).await,
            Self::ApiServer(server) => server.token(pod, audience).await,
        }
    }

    /// A token of the proxy of a node.
    ///
    /// # Errors
    /// When there is none.
    pub async fn proxy_token(&self, node: &str) -> anyhow::Result<String> {
        match self {
            Self::Folder(folder) => folder.proxy_token(node).await,
            Self::ApiServer(server) => server.proxy_token(node).await,
        }
    }

    /// The ports of load balancers that there are now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn frontends(&self) -> anyhow::Result<Vec<Frontend>> {
        match self {
            Self::Folder(folder) => folder.frontends(),
            Self::ApiServer(server) => Ok(server.frontends()),
        }
    }

    /// What a Secret holds.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn secret(&self, namespace: &str, name: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        match self {
            Self::Folder(_) => bail!("the Secret {namespace}/{name} is not read from a folder"),
            Self::ApiServer(server) => server.secret(namespace, name).await,
        }
    }

    /// What a ConfigMap holds.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn config_map(&self, namespace: &str, name: &str) -> anyhow::Result<BTreeMap<String, String>> {
        match self {
            Self::Folder(folder) => folder.config_map(namespace, name),
            Self::ApiServer(server) => server.config_map(namespace, name).await,
        }
    }
}
