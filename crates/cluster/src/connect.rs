//! The way to the API server: a kubeconfig, or the service account of the pod.

use crate::error::root_cause;
use ::kube::client::ConfigExt;
use ::kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use ::kube::{Client, Error};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::path::PathBuf;
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A peer that is silent this long is probed, and given up after three probes without an answer.
const PROBE_AFTER: Duration = Duration::from_secs(30);

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
    #[error("cannot use the kubeconfig {path}: {cause}; name a readable kubeconfig by --kubeconfig", path = path.display(), cause = root_cause(source))]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The context that was named cannot be used.
    #[error("cannot use the context {context} of the kubeconfig: {cause}; `kubectl config get-contexts` lists the contexts", cause = root_cause(source))]
    Context {
        /// The context.
        context: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// Nothing was named, and there is neither a service account nor a kubeconfig.
    #[error("there is no Kubernetes cluster to read: no service account of a pod ({in_cluster}) and no kubeconfig ({cause}); name one by --kubeconfig", cause = root_cause(source))]
    Nowhere {
        /// Why not as a pod.
        in_cluster: InClusterError,
        /// Why not by a kubeconfig.
        source: KubeconfigError,
    },
    /// The credentials cannot be used.
    #[error("cannot use the credentials for the API server at {url}: {cause}; check the user in the kubeconfig", cause = root_cause(source))]
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
    if config.accept_invalid_certs {
        tracing::warn!(
            url,
            "the certificate of the API server is not verified, since the kubeconfig says \
             insecure-skip-tls-verify: whoever is in between can read and change everything; name its \
             certificate-authority instead"
        );
    }
    let client = client(config).map_err(|source| ConnectError::Client { url: url.clone(), source })?;
    Ok(Connection { client, url })
}

/// Builds the client from its layers.
///
/// The client that `kube` builds would log every failed request as an error, retry some on its own,
/// and learn of a peer that went away without a word only minutes later.
fn client(config: Config) -> Result<Client, Error> {
    // An error means that there is a default already, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_AFTER / 3));
    tcp.set_keepalive_retries(Some(3));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(tls));
    Ok(Client::new(service, config.default_namespace))
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
