//! A cluster whose pods are processes, as a person uses it: by kubectl.

use anyhow::{Context, bail, ensure};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::kubectl::Kubectl;
use pilothouse_tests::{envoy, program};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, appProtocol: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {containers: [{name: client, image: client}]}
";

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Pod
metadata: {name: outside, namespace: default}
spec: {containers: [{name: client, image: client}]}
";

/// The cluster, from outside.
struct Cluster {
    work: TempDir,
    kubectl: Kubectl,
    _node: Child,
}

impl Cluster {
    async fn start() -> anyhow::Result<Self> {
        let program =
            tokio::task::spawn_blocking(|| envoy::program().and_then(|_| program::node())).await??;
        let work = tempfile::tempdir()?;
        let (said, kubeconfig) = (work.path().join("said"), work.path().join("kubeconfig"));
        let log = File::create(&said)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--work").arg(work.path()).stdin(Stdio::null()).stdout(log.try_clone()?);
        let mut node = command.stderr(log).kill_on_drop(true).spawn()?;
        let up = until(LIMIT, async || {
            if let Some(status) = node.try_wait()? {
                bail!("the node ended: {status}");
            }
            Ok(kubeconfig.exists().then_some(()))
        });
        up.await.with_context(|| fs::read_to_string(&said).unwrap_or_default())?;
        Ok(Self { kubectl: Kubectl::of(&kubeconfig).await?, work, _node: node })
    }

    async fn apply(&self, text: &str) -> anyhow::Result<()> {
        let file = self.work.path().join("manifest.yaml");
        fs::write(&file, text)?;
        self.run(&["apply", "--filename", file.to_str().context("a path of text")?]).await.map(drop)
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl.run(arguments.iter().copied()).await
    }

    /// Calls a service from a pod, and returns what the client prints.
    async fn call(&self, namespace: &str, pod: &str, url: &str) -> anyhow::Result<String> {
        self.run(&["exec", "--namespace", namespace, pod, "--", "client", url]).await
    }

    /// The log of the proxies of all nodes.
    fn proxies(&self) -> anyhow::Result<String> {
        let logs = (0..2).map(|number| self.work.path().join(format!("pods/test-node-{number}.log")));
        logs.filter(|log| log.exists()).map(|log| Ok(fs::read_to_string(log)?)).collect()
    }
}

/// The processes below this folder that serve a port.
fn servers(of: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let (Ok(line), Ok(environment)) = (fs::read(path.join("cmdline")), fs::read(path.join("environ")))
        else {
            continue;
        };
        let is_server = String::from_utf8_lossy(&line).ends_with("echo\08080\0");
        let log = fs::read_link(path.join("fd/1")).is_ok_and(|log| log.starts_with(of));
        count += usize::from(is_server && log && !environment.is_empty());
    }
    Ok(count)
}

#[tokio::test]
async fn pods_run_are_enrolled_and_end_and_kubectl_reaches_them() -> anyhow::Result<()> {
    const WEB: &str = "http://web.shop/";
    let cluster = Cluster::start().await?;
    cluster.apply(SHOP).await?;
    let wait = ["wait", "--namespace=shop", "--timeout=60s", "--for=condition=ready", "pod", "--all"];
    until(LIMIT, async || Ok(cluster.run(&wait).await.ok())).await?;

    let plain = cluster.call("shop", "client", WEB).await?;
    ensure!(plain.contains("StatusCode=200") && plain.contains("Hostname=web-"), "{plain}");
    let log = cluster.run(&["logs", "--namespace=shop", "deployment/web"]).await?;
    ensure!(log.contains("listening at port 8080") && log.contains("GET / from"), "{log}");
    assert_eq!(servers(cluster.work.path())?, 1);

    cluster.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).await?;
    cluster.apply(STRICT).await?;
    let client = ["get", "pod", "--namespace=shop", "client", "--output=jsonpath={.status.podIP}"];
    let client = cluster.run(&client).await?;
    let tunnelled = "as spiffe://cluster.local/ns/shop/sa/default to";
    until(LIMIT, async || {
        let answer = cluster.call("shop", "client", WEB).await?;
        // The application sees who called, also through the tunnel.
        ensure!(answer.contains("StatusCode=200") && answer.contains(&format!("IP={client}\n")), "{answer}");
        Ok(cluster.proxies()?.contains(tunnelled).then_some(()))
    })
    .await?;
    let ready = ["wait", "--timeout=60s", "--for=condition=ready", "pod/outside"];
    until(LIMIT, async || Ok(cluster.run(&ready).await.ok())).await?;
    until(LIMIT, async || Ok(cluster.call("default", "outside", WEB).await.err())).await?;
    let restarts =
        ["get", "pods", "--namespace=shop", "--selector=app=web", "--output=jsonpath={..restartCount}"];
    assert_eq!(cluster.run(&restarts).await?, "0");
    assert_eq!(servers(cluster.work.path())?, 1);

    cluster.run(&["scale", "--namespace=shop", "deployment/web", "--replicas=2"]).await?;
    until(LIMIT, async || Ok((servers(cluster.work.path())? == 2).then_some(()))).await?;
    cluster.run(&["delete", "namespace", "shop"]).await?;
    until(LIMIT, async || Ok((servers(cluster.work.path())? == 0).then_some(()))).await
}
