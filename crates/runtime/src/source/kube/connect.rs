//! The way to the API server: a kubeconfig, or the service account of the pod.

use ::kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use ::kube::{Client, Error};
use std::path::PathBuf;

/// Where the address and the credentials come from.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A kubeconfig file. Without one: the pod's service account in a cluster, else the kubeconfig that
    /// `kubectl` would take.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without one its current context.
    pub context: Option<String>,
}

/// A client and the address it leads to; nothing has been asked yet.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The address of the API server, for messages.
    pub url: String,
}

/// Why there is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig that was named cannot be used.
    #[error("cannot use the kubeconfig {path}: {cause}; name a readable kubeconfig by --kubeconfig", path = path.display(), cause = deepest(source))]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The context that was named cannot be used.
    #[error("cannot use the context {context} of the kubeconfig: {cause}; `kubectl config get-contexts` lists the contexts", cause = deepest(source))]
    Context {
        /// The context.
        context: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// Nothing was named, and there is neither a service account nor a kubeconfig.
    #[error("there is no Kubernetes cluster to read: no service account of a pod ({in_cluster}) and no kubeconfig ({cause}); name one by --kubeconfig", cause = deepest(source))]
    Nowhere {
        /// Why not as a pod.
        in_cluster: InClusterError,
        /// Why not by a kubeconfig.
        source: KubeconfigError,
    },
    /// The credentials cannot be used.
    #[error("cannot use the credentials for the API server at {url}: {cause}; check the user in the kubeconfig", cause = deepest(source))]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        source: Error,
    },
}

/// Finds the API server and the credentials, and makes a client; no request is sent.
///
/// # Errors
/// When neither is found or they cannot be used. An API server that does not answer is no error here.
pub async fn connect(access: &Access) -> Result<Connection, ConnectError> {
    let config = configuration(access).await?;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client =
        Client::try_from(config).map_err(|source| ConnectError::Client { url: url.clone(), source })?;
    Ok(Connection { client, url })
}

async fn configuration(access: &Access) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &access.kubeconfig {
        let failed = |source| ConnectError::Kubeconfig { path: path.clone(), source };
        let file = Kubeconfig::read_from(path).map_err(failed)?;
        return match (Config::from_custom_kubeconfig(file, &options).await, &access.context) {
            (Ok(config), _) => Ok(config),
            (Err(source), Some(context)) => Err(ConnectError::Context { context: context.clone(), source }),
            (Err(source), None) => Err(failed(source)),
        };
    }
    if let Some(context) = &access.context {
        let config = Config::from_kubeconfig(&options).await;
        return config.map_err(|source| ConnectError::Context { context: context.clone(), source });
    }
    match Config::incluster() {
        Ok(config) => Ok(config),
        Err(in_cluster) => Config::from_kubeconfig(&options)
            .await
            .map_err(|source| ConnectError::Nowhere { in_cluster, source }),
    }
}

/// Returns the innermost cause of an error, which is the one that tells something.
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_end_matches('.').to_owned()
}
