//! The cluster of an API server, whose kubelet says which pods run here.
//!
//! The kubelet of the test cluster (`tests/apiserver/processes.go`) gives pods their addresses and writes their
//! statuses; over a socket it says what is to run, and is told what is ready.

use super::services::Services;
use crate::load_balancer::Frontend;
use anyhow::Context;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use pilothouse_tests::apiserver::client_of;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The namespace of the proxies of nodes.
const SYSTEM: &str = "istio-system";
/// For whom tokens of proxies are.
const AUDIENCE: &str = "istio-ca";

/// The pods that are to run, by uid.
type Wanted = BTreeMap<String, Pod>;

/// A line of the kubelet.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Message {
    Run(Box<Pod>),
    End(String),
}

/// The other end of the socket.
pub struct Kubelet {
    writer: OwnedWriteHalf,
    wanted: watch::Receiver<Wanted>,
    _reader: JoinSet<()>,
}

impl Kubelet {
    /// Waits until the kubelet has come to a socket.
    ///
    /// # Errors
    /// When it does not.
    pub async fn accept(listener: UnixListener) -> anyhow::Result<Self> {
        let (stream, _) = listener.accept().await?;
        let (reader, writer) = stream.into_split();
        let (tell, wanted) = watch::channel(Wanted::new());
        let mut lines = BufReader::new(reader).lines();
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Message::Run(pod)) => {
                        let uid = pod.metadata.uid.clone().unwrap_or_default();
                        tell.send_modify(|wanted| drop(wanted.insert(uid, *pod)));
                    }
                    Ok(Message::End(uid)) => tell.send_modify(|wanted| drop(wanted.remove(&uid))),
                    Err(error) => eprintln!("the kubelet says what is not understood: {error}"),
                }
            }
        });
        Ok(Self { writer, wanted, _reader: reading })
    }

    /// The pods that are to run.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.clone()
    }

    /// Says what has become of a pod.
    ///
    /// # Errors
    /// When the kubelet is gone.
    pub async fn report(&mut self, state: &Value) -> anyhow::Result<()> {
        self.writer.write_all(format!("{state}\n").as_bytes()).await.context("the kubelet is gone")
    }
}

/// An API server.
pub struct ApiServerCluster {
    client: kube::Client,
    wanted: watch::Receiver<Wanted>,
    services: Services,
}

impl ApiServerCluster {
    /// Asks the API server of a kubeconfig for what the pods of a kubelet need.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn new(kubeconfig: &Path, wanted: watch::Receiver<Wanted>) -> anyhow::Result<Self> {
        let client = client_of(kubeconfig).await?;
        Ok(Self { services: Services::follow(client.clone()), client, wanted })
    }

    pub(super) fn pods(&self) -> Vec<Pod> {
        self.wanted.borrow().values().cloned().collect()
    }

    pub(super) fn frontends(&self) -> Vec<Frontend> {
        self.services.frontends()
    }

    pub(super) async fn token(&self, pod: &Pod, audience: &str) -> anyhow::Result<String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let (account, post) = (account.unwrap_or("default"), PostParams::default());
        let answer = accounts.create_token_request(account, &post, &request);
        answer.await?.status.and_then(|status| status.token).context("no token in the answer")
    }

    /// The proxy of a node is the pod `ztunnel-NODE`.
    pub(super) async fn proxy_token(&self, node: &str) -> anyhow::Result<String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), SYSTEM);
        self.token(&pods.get(&format!("ztunnel-{node}")).await?, AUDIENCE).await
    }

    pub(super) async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let secret = secrets.get_opt(name).await?;
        let secret = secret.with_context(|| format!("there is no Secret {namespace}/{name}"))?;
        Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    pub(super) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        Ok(maps.get(name).await?.data.unwrap_or_default())
    }
}
