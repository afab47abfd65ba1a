//! A cluster whose pods are processes, as a person uses it: by kubectl.

use super::site::Cluster;
use anyhow::ensure;
use pilothouse_tests::apiserver::{LIMIT, until};
use std::fs;
use std::path::Path;

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
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080, appProtocol: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {containers: [{name: client, image: client, lifecycle: {preStop: {exec: {command: [touch, WORK/before-end]}}}}]}
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
    let cluster = Cluster::start(&[]).await?;
    cluster.apply(&SHOP.replace("WORK", &cluster.work.path().display().to_string())).await?;
    let wait = ["wait", "--namespace=shop", "--timeout=60s", "--for=condition=ready", "pod", "--all"];
    until(LIMIT, async || Ok(cluster.run(&wait).await.ok())).await?;

    let plain = cluster.call("shop", "client", WEB).await?;
    ensure!(plain.contains("StatusCode=200") && plain.contains("Hostname=web-"), "{plain}");
    let log = cluster.run(&["logs", "--namespace=shop", "deployment/web"]).await?;
    ensure!(log.contains("listening at port 8080") && log.contains("GET / from"), "{log}");
    assert_eq!(servers(cluster.work.path())?, 1);

    let balancer = [
        "get",
        "service",
        "--namespace=shop",
        "web",
        "--output=jsonpath={.status.loadBalancer.ingress[0].ip}",
    ];
    let balancer = until(LIMIT, async || {
        let address = cluster.run(&balancer).await?;
        Ok((!address.is_empty()).then(|| format!("http://{address}")))
    });
    let balancer = balancer.await?;
    // From the node itself, which is no pod, and from pods.
    let within = until(LIMIT, async || {
        let answer = cluster.call_within(&balancer).await?;
        Ok(answer.contains("\"status\":200").then_some(answer))
    });
    let within = within.await?;
    ensure!(within.contains("\"pod_name\":\"web-"), "{within}");
    let answer = cluster.call("shop", "client", &balancer).await?;
    ensure!(answer.contains("StatusCode=200") && answer.contains("Hostname=web-"), "{answer}");
    let absent = cluster.call_within(&format!("{balancer}:81")).await?;
    ensure!(absent.contains("refused"), "{absent}");

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
    until(LIMIT, async || Ok((servers(cluster.work.path())? == 0).then_some(()))).await?;
    let before_end = cluster.work.path().join("before-end");
    until(LIMIT, async || Ok(before_end.exists().then_some(()))).await
}
