//! The API server: plain requests whose answers are decoded only as far as needed.

use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args;

/// A connection to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    /// Requests that may be in flight.
    pub in_flight: usize,
}

/// The part of an answer that this program reads.
#[derive(Debug, Default, Deserialize)]
pub struct Reply {
    /// The object's metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// The object's status.
    #[serde(default)]
    pub status: Option<Status>,
}

/// The part of metadata that this program reads.
#[derive(Debug, Default, Deserialize)]
pub struct Metadata {
    /// The object's name.
    #[serde(default)]
    pub name: String,
    /// The object's identifier.
    #[serde(default)]
    pub uid: String,
}

/// The part of a pod's status that this program reads. Other kinds answer with other shapes.
#[derive(Debug, Default, Deserialize)]
pub struct Status {
    /// The pod's address.
    #[serde(default, rename = "podIP")]
    pub pod_ip: Option<String>,
}

/// A list of objects.
#[derive(Debug, Deserialize)]
pub struct List {
    /// The objects.
    pub items: Vec<Reply>,
}

/// What a write did.
pub enum Written {
    /// The object is as written.
    Done(Reply),
    /// It was there before.
    Exists,
}

/// How often a request is tried when the server is busy, and the first pause between.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// Reads the kubeconfig; connections are made as they are needed.
    ///
    /// # Errors
    /// If there is no usable kubeconfig.
    pub async fn connect(args: &args::Cluster) -> anyhow::Result<Self> {
        let options = KubeConfigOptions::default();
        let mut config = match &args.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("reading kubeconfig {}", path.display()))?;
                kube::Config::from_custom_kubeconfig(file, &options).await.context("kubeconfig")?
            }
            None => kube::Config::infer().await.context("no kubeconfig found: give --kubeconfig")?,
        };
        // what is measured is the API server, not a way to it
        config.proxy_url = None;
        Ok(Self { client: kube::Client::try_from(config)?, in_flight: args.in_flight })
    }

    /// Creates an object, or leaves the one that is there.
    ///
    /// # Errors
    /// If the server refuses it or stays away.
    pub async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Written> {
        match self.send(Method::POST, path, "application/json", Some(object)).await {
            Ok(reply) => Ok(Written::Done(reply)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Exists),
            Err(error) => Err(error).with_context(|| format!("creating under {path}")),
        }
    }

    /// Changes parts of an object.
    ///
    /// # Errors
    /// If the server refuses it or stays away.
    pub async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<Reply> {
        let sent = self.send(Method::PATCH, path, "application/merge-patch+json", Some(change)).await;
        sent.with_context(|| format!("changing {path}"))
    }

    /// Deletes an object at once, without a grace period.
    ///
    /// # Errors
    /// If there is none, or the server refuses it or stays away.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let path = format!("{path}?gracePeriodSeconds=0");
        let sent = self.send::<serde::de::IgnoredAny>(Method::DELETE, &path, "application/json", None).await;
        sent.map(drop).with_context(|| format!("deleting {path}"))
    }

    /// Lists objects.
    ///
    /// # Errors
    /// If the server refuses it or stays away.
    pub async fn list(&self, path: &str) -> anyhow::Result<List> {
        let sent = self.send(Method::GET, path, "application/json", None).await;
        sent.with_context(|| format!("listing {path}"))
    }

    /// Tells whether a condition of an object is true.
    ///
    /// # Errors
    /// If there is no such object, or the server refuses to show it or stays away.
    pub async fn is_true(&self, path: &str, condition: &str) -> anyhow::Result<bool> {
        let sent = self.send::<Value>(Method::GET, path, "application/json", None).await;
        let object = sent.with_context(|| format!("reading {path}"))?;
        let conditions = object["status"]["conditions"].as_array();
        let is_it = |one: &Value| one["type"] == condition && one["status"] == "True";
        Ok(conditions.is_some_and(|all| all.iter().any(is_it)))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> kube::Result<T> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.client.request(request(&method, path, content, body.clone())?).await {
                Err(kube::Error::Api(status)) if status.code == 429 || status.code >= 500 => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.client.request(request(&method, path, content, body)?).await
    }
}

fn request(method: &Method, path: &str, content: &str, body: Vec<u8>) -> kube::Result<Request<Vec<u8>>> {
    let builder = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
    builder.body(body).map_err(kube::Error::HttpError)
}
