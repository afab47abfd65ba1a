//! An HTTP proxy before the API server that writes down what is asked of it.

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

/// The way to the API server.
type Server = BoxCloneSyncService<Request<Incoming>, Response<Incoming>, Error>;

/// One request and the status of its answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
}

/// Forwards requests with the credentials that they carry, and keeps what was asked.
pub struct Recorder {
    kubeconfig: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What is behind a path that no API server serves.
fn absent() -> Response<Either<Incoming, Full<Bytes>>> {
    let mut answer = Response::new(Either::Right(Full::from("404 page not found\n")));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

impl Recorder {
    /// Stands before the API server that a kubeconfig with a token leads to. What has `absent` in its path is
    /// not there, as with an API server that does not serve it.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read, or no port is free.
    pub async fn before(kubeconfig: &Path, absent: Option<&'static str>) -> anyhow::Result<Self> {
        let mut file = Kubeconfig::read_from(kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(file.clone(), &KubeConfigOptions::default()).await?;
        // Its own requests have no credentials: what comes in is passed on as it is.
        config.auth_info = AuthInfo::default();
        let client = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
        let server = Server::new(ServiceBuilder::new().layer(config.base_uri_layer()).service(client));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let cluster = file.clusters.first_mut().and_then(|named| named.cluster.as_mut());
        let cluster = cluster.context("no cluster in the kubeconfig")?;
        cluster.server = Some(url);
        (cluster.certificate_authority, cluster.certificate_authority_data) = (None, None);
        let own = kubeconfig.with_extension(format!("recorded-{}", listener.local_addr()?.port()));
        std::fs::write(&own, json!(file).to_string())?;

        let asked = Arc::default();
        tokio::spawn(serve(listener, server, absent, Arc::clone(&asked)));
        Ok(Self { kubeconfig: own, asked })
    }

    /// Returns the path of a kubeconfig that leads through here.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns what was asked so far and has an answer.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    listener: TcpListener,
    server: Server,
    absent: Option<&'static str>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (server, asked) = (server.clone(), Arc::clone(&asked));
        let service = service_fn(move |request| forward(request, server.clone(), absent, Arc::clone(&asked)));
        tokio::spawn(async move {
            // A connection that breaks is the business of who made it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(
    request: Request<Incoming>,
    server: Server,
    not_there: Option<&'static str>,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Either<Incoming, Full<Bytes>>>, Error> {
    let (mut head, body) = request.into_parts();
    let method = head.method.to_string();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    // What belongs to a connection stays with it.
    head.headers.remove(header::HOST);
    head.headers.remove(header::CONNECTION);
    let answer = if not_there.is_some_and(|part| path.contains(part)) {
        absent()
    } else {
        server.oneshot(Request::from_parts(head, body)).await?.map(Either::Left)
    };
    let status = answer.status().as_u16();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { method, path, status });
    Ok(answer)
}
