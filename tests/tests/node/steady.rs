//! Steady load through a waypoint while that and what it depends on is replaced: no request may fail.

use super::site::Cluster;
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Command;

/// Pods of the waypoint serve for six seconds when they are to go: the slowest request takes less.
const MESH: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
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
kind: ConfigMap
metadata: {name: waypoint, namespace: shop}
data:
  deployment: |
    spec: {template: {spec: {containers: [{name: istio-proxy, lifecycle: {preStop: {sleep: {seconds: 6}}}}]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: waypoint}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {containers: [{name: client, image: client}]}
";

/// It is in the mesh before its first request.
const LOAD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: load, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {containers: [{name: load, image: load, args: ['http://web.shop']}]}
";

const AGAIN: &str = "
apiVersion: v1
kind: Service
metadata: {name: again, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, appProtocol: http}]}
";

/// How requests are sent: one that stops is a failure, too.
const CLIENTS: [&str; 4] = ["http2", "kept", "new", "slow"];

/// The answers of the load, as they come.
struct Load {
    log: BufReader<File>,
    line: String,
    /// Who asked, and the address of the waypoint's pod that it went through.
    answers: Vec<(String, String)>,
}

impl Load {
    fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let log = BufReader::new(File::open(cluster.work.path().join("pods/shop/load/load.log"))?);
        Ok(Self { log, line: String::new(), answers: Vec::new() })
    }

    /// Reads on; fails with the first request that failed.
    fn read(&mut self) -> anyhow::Result<()> {
        while self.log.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            let answer: Value = serde_json::from_str(&self.line)?;
            ensure!(answer["error"].is_null(), "after {} requests: {answer}", self.answers.len());
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            self.answers.push((text("client"), text("peer")));
            self.line.clear();
        }
        Ok(())
    }

    /// Waits for so many more answers.
    async fn further(&mut self, count: usize) -> anyhow::Result<()> {
        let all = self.answers.len() + count;
        until(LIMIT, async || {
            self.read()?;
            Ok((self.answers.len() >= all).then_some(()))
        })
        .await
    }

    /// Waits until all of these instances, and no others, answer, and each client has its answers from them.
    async fn until_from(&mut self, instances: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let wanted: BTreeSet<&str> = instances.values().map(String::as_str).collect();
        let mut begin = self.answers.len();
        let from = until(LIMIT, async || {
            self.read()?;
            let is_other = |(_, peer): &(String, String)| !wanted.contains(peer.as_str());
            if let Some(other) = self.answers[begin..].iter().rposition(is_other) {
                begin += other + 1;
            }
            let (clients, peers): (BTreeSet<_>, BTreeSet<_>) =
                self.answers[begin..].iter().map(|(client, peer)| (client.as_str(), peer.as_str())).unzip();
            Ok((clients.into_iter().eq(CLIENTS) && peers == wanted).then_some(()))
        });
        from.await.with_context(|| format!("answers from {instances:?}"))
    }
}

/// The pods of the waypoint, also those that end, with their addresses.
async fn instances(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, String>> {
    let label = "--selector=gateway.networking.k8s.io/gateway-name=waypoint";
    let format = "--output=jsonpath={range .items[*]}{.metadata.name}={.status.podIP} {end}";
    let all = cluster.run(&["get", "pods", "--namespace=shop", label, format]).await?;
    let pods = all.split_whitespace().filter_map(|pod| pod.split_once('='));
    Ok(pods.map(|(name, ip)| (name.to_owned(), ip.to_owned())).collect())
}

/// Waits until the waypoint has so many pods, and none of those that are to be gone. Meanwhile no request may fail.
async fn until_instances(
    cluster: &Cluster,
    load: &mut Load,
    count: usize,
    gone: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    until(LIMIT, async || {
        load.read()?;
        let now = instances(cluster).await?;
        let is_so = now.len() == count && now.keys().all(|name| !gone.contains_key(name));
        // One that is not there yet has no address.
        Ok((is_so && now.values().all(|address| !address.is_empty())).then_some(now))
    })
    .await
    .with_context(|| format!("{count} instances without {gone:?}"))
}

/// The roots of the mesh, as pods of the shop have them.
async fn roots(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let map = ["get", "configmap", "istio-ca-root-cert", "--namespace=shop"];
    let all = cluster.run(&[&map[..], &["--output=jsonpath={.data.root-cert\\.pem}"]].concat()).await?;
    let each = all.split_inclusive("-----END CERTIFICATE-----").map(|root| root.trim().to_owned());
    Ok(each.filter(|root| !root.is_empty()).collect())
}

/// Serial numbers of the certificate that an instance of the waypoint shows, and of the first root that it trusts.
async fn certificates(cluster: &Cluster, pod: &str) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
    let ask = ["client", "--json", "http://127.0.0.1:15000/certs"];
    let answer = cluster.run(&[&["exec", "--namespace=shop", pod, "--"][..], &ask].concat()).await?;
    let answer: Value = serde_json::from_str(&answer)?;
    let all = answer["body"]["certificates"].as_array().context("certificates")?;
    let serials = |of: &str| {
        let listed = all.iter().flat_map(|of_context| of_context[of].as_array().into_iter().flatten());
        let own = listed.filter(|of| of["path"].as_str().is_some_and(|path| path.contains("inline")));
        own.filter_map(|of| Some(of["serial_number"].as_str()?.to_owned())).collect()
    };
    Ok((serials("cert_chain"), serials("ca_cert")))
}

/// The process of the control plane.
fn control_plane(cluster: &Cluster) -> anyhow::Result<Option<String>> {
    let log = cluster.work.path().join("control-plane.log");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // One that ended meanwhile has none any more.
        let writes = fs::read_link(path.join("fd/1")).is_ok_and(|file| file == log);
        if writes {
            return Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn no_request_fails_while_the_waypoint_its_control_plane_and_roots_are_replaced() -> anyhow::Result<()>
{
    let cluster = Cluster::start(&["--default-cert-ttl=20s", "--root-overlap=20s"]).await?;
    cluster.apply(MESH).await?;
    let wait =
        |what: &'static [&'static str]| [&["wait", "--namespace=shop", "--timeout=60s"][..], what].concat();
    for what in
        [&["--for=condition=programmed", "gateway/waypoint"][..], &["--for=condition=ready", "pod", "--all"]]
    {
        until(LIMIT, async || Ok(cluster.run(&wait(what)).await.ok())).await?;
    }
    let mut now = instances(&cluster).await?;
    let address = now.values().next().context("no waypoint")?.clone();
    until(LIMIT, async || {
        let answer = cluster.call("shop", "client", "http://web.shop/").await?;
        Ok(answer.contains(&format!("IP={address}\n")).then_some(()))
    })
    .await?;
    cluster.apply(LOAD).await?;
    let mut load = until(LIMIT, async || Ok(Load::of(&cluster).ok())).await?;
    load.until_from(&now).await?;

    // The root is replaced while all that follows happens, and certificates are renewed every few seconds.
    let (first, _) = now.first_key_value().context("no waypoint")?;
    let (old, (shown, trusted)) = (roots(&cluster).await?, certificates(&cluster, first).await?);
    ensure!(old.len() == 1 && !shown.is_empty() && !trusted.is_empty(), "{old:?} {shown:?} {trusted:?}");
    let rotate = ["annotate", "--namespace=istio-system", "secret", "istio-ca-secret"];
    cluster.run(&[&rotate[..], &["pilothouse.io/rotate-root=now"]].concat()).await?;
    until(LIMIT, async || {
        load.read()?;
        let (renewed, _) = certificates(&cluster, first).await?;
        Ok((renewed.is_disjoint(&shown) && roots(&cluster).await?.len() == 2).then_some(()))
    })
    .await
    .context("there are two roots, and the waypoint has another certificate")?;

    // The control plane is killed, also each time that it comes again, until much was answered without it.
    let (mut killed, most) = (BTreeSet::new(), load.answers.len() + 200);
    until(LIMIT, async || {
        load.read()?;
        if let Some(process) = control_plane(&cluster)? {
            // It may have ended by itself.
            Command::new("kill").args(["-KILL", &process]).status()?;
            killed.insert(process);
        }
        Ok((load.answers.len() >= most).then_some(()))
    })
    .await?;
    ensure!(!killed.is_empty(), "there was no control plane");
    // Proxies of nodes stay away for a while, too. Once the one of the load is back it knows what is new.
    cluster.apply(AGAIN).await?;
    until(LIMIT, async || {
        load.read()?;
        let answer = cluster.call("shop", "load", "http://again.shop/").await;
        Ok(answer.is_ok_and(|answer| answer.contains("StatusCode=200")).then_some(()))
    })
    .await
    .context("the control plane is back")?;

    let deployment = ["--namespace=shop", "deployment/waypoint"];
    cluster.run(&[&["rollout", "restart"][..], &deployment].concat()).await?;
    now = until_instances(&cluster, &mut load, 1, &now).await?;
    load.until_from(&now).await?;

    cluster.run(&[&["scale", "--replicas=3"][..], &deployment].concat()).await?;
    now = until_instances(&cluster, &mut load, 3, &BTreeMap::new()).await?;
    load.until_from(&now).await?;
    cluster.run(&[&["scale", "--replicas=1"][..], &deployment].concat()).await?;
    now = until_instances(&cluster, &mut load, 1, &BTreeMap::new()).await?;
    load.until_from(&now).await?;

    // The only one: it serves until another does.
    let (last, _) = now.first_key_value().context("no waypoint")?;
    cluster.run(&["delete", "pod", "--namespace=shop", "--wait=false", last]).await?;
    now = until_instances(&cluster, &mut load, 1, &now).await?;
    load.until_from(&now).await?;

    let (last, _) = now.first_key_value().context("no waypoint")?;
    until(LIMIT, async || {
        load.read()?;
        let (now, (_, trusts)) = (roots(&cluster).await?, certificates(&cluster, last).await?);
        Ok((now.len() == 1 && now.is_disjoint(&old) && trusts.is_disjoint(&trusted)).then_some(()))
    })
    .await
    .context("the new root is the only one")?;
    load.further(200).await?;
    println!("{} requests, none failed", load.answers.len());
    Ok(())
}
