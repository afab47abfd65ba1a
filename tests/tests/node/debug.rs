//! Debug pages as istioctl and Kiali reach them: by ports that are forwarded to the pod of the control plane.

use super::site::Cluster;
use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::net::TcpStream;
use tokio::time::timeout;

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
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
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

/// Asks for a page.
async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let ask = async {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get(path).header("host", address).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let (status, body) = timeout(LIMIT, ask).await.with_context(|| format!("no answer to {path}"))??;
    let body = String::from_utf8(body.to_vec())?;
    ensure!(status.is_success(), "{path}: {status} {body}");
    Ok(body)
}

async fn json(address: &str, path: &str) -> anyhow::Result<Value> {
    let body = get(address, path).await?;
    serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
}

/// The names of the resources of members of a dump: by the type of the member, the list in it, what is in that, and the
/// field of the name.
fn names(dump: &Value, of: [&str; 4]) -> BTreeSet<String> {
    let [member, list, within, name] = of;
    let members = dump["configs"].as_array().into_iter().flatten();
    let mut members = members.filter(|at| at["@type"].as_str().is_some_and(|url| url.ends_with(member)));
    let list = members.next().and_then(|at| at[list].as_array()).into_iter().flatten();
    let resource = |of: &Value| of.pointer(within).and_then(|of| of[name].as_str()).map(str::to_owned);
    list.filter_map(resource).collect()
}

#[tokio::test]
async fn forwarded_ports_reach_pages_and_a_waypoint_has_what_its_dump_says() -> anyhow::Result<()> {
    let cluster = Cluster::start(&[]).await?;
    cluster.apply(SHOP).await?;
    let labels = ["get", "pods", "--all-namespaces", "--selector=app=istiod", "--output=name"];
    assert_eq!(cluster.run(&labels).await?.trim(), "pod/istiod");
    let (_forward, pages) = cluster.forward("istio-system", "istiod", 15014).await?;
    // With the slash that istioctl has too many.
    ensure!(get(&pages, "//version").await?.starts_with(env!("CARGO_PKG_VERSION")));

    let waypoint = until(LIMIT, async || {
        let all = json(&pages, "/debug/syncz").await?;
        let mut all = all.as_array().cloned().unwrap_or_default().into_iter();
        let is_synced =
            |of: &Value| of["cluster_sent"].is_string() && of["cluster_sent"] == of["cluster_acked"];
        Ok(all.find(|of| of["proxy_type"] == "waypoint" && is_synced(of)))
    });
    let waypoint = waypoint.await?;
    let name = waypoint["proxy"].as_str().context("its name")?.to_owned();
    assert_eq!(waypoint["cluster_id"], "Kubernetes", "{waypoint}");
    ensure!(name.starts_with("waypoint-") && name.ends_with(".shop"), "{waypoint}");
    assert_eq!(json(&pages, "/debug/syncz?namespace=shop").await?.as_array().map(Vec::len), Some(1));

    // What Envoy says that it has, and what the control plane says that it has sent: what istioctl compares.
    let pod = name.trim_end_matches(".shop");
    let (_forward, admin) = cluster.forward("shop", pod, 15000).await?;
    let dump = format!("/debug/config_dump?include_eds&proxyID={name}");
    let compared = until(LIMIT, async || {
        let (own, sent) = (json(&admin, "/config_dump").await?, json(&pages, &dump).await?);
        let clusters = names(&sent, ["ClustersConfigDump", "dynamicActiveClusters", "/cluster", "name"]);
        let same =
            clusters == names(&own, ["ClustersConfigDump", "dynamic_active_clusters", "/cluster", "name"]);
        Ok((same && !clusters.is_empty()).then_some((own, sent)))
    });
    let (own, sent) = compared.await?;
    let listeners = names(&sent, ["ListenersConfigDump", "dynamicListeners", "", "name"]);
    assert_eq!(listeners, names(&own, ["ListenersConfigDump", "dynamic_listeners", "", "name"]));
    let members: Vec<&str> =
        sent["configs"].as_array().context("members")?.iter().filter_map(|of| of["@type"].as_str()).collect();
    let members: Vec<&str> = members.iter().filter_map(|url| url.rsplit('.').next()).collect();
    let expected = [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "EndpointsConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
        "EcdsConfigDump",
    ];
    assert_eq!(members, expected);
    let endpoints = json(&pages, &format!("/debug/edsz?proxyID={name}")).await?;
    ensure!(endpoints.to_string().contains("web.shop.svc.cluster.local"), "{endpoints}");

    // Objects are read from the API server, in the versions that it has.
    let objects = json(&pages, "/debug/configz").await?;
    let mut objects = objects.as_array().cloned().unwrap_or_default().into_iter();
    let route = objects.find(|of| of["kind"] == "HTTPRoute").context("the route is there")?;
    assert_eq!(
        (&route["apiVersion"], &route["metadata"]["name"]),
        (&"gateway.networking.k8s.io/v1".into(), &"web".into())
    );
    ensure!(route["spec"]["rules"].is_array() && route["metadata"].get("managedFields").is_none(), "{route}");
    Ok(())
}
