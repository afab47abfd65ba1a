//! The example in a cluster, as a person tries it: kubectl, and a control plane beside it.

use super::gateways::{listed, rules};
use super::{Server, bookinfo, text};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::{ApiServer, known_crds};
use pilothouse_tests::helm;
use pilothouse_tests::kubectl::Kubectl;
use serde_json::Value;
use std::path::Path;

/// How long kubectl waits for something.
const TIMEOUT: &str = "--timeout=120s";
const NAMESPACE: [&str; 2] = ["--namespace", "bookinfo"];

/// A cluster with the kinds of the charts and of the Gateway API, and a kubeconfig of the chart's account.
async fn cluster() -> anyhow::Result<(ApiServer, std::path::PathBuf)> {
    let server = ApiServer::with_controllers().await?;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/base/crds"))? {
        server.apply(&std::fs::read_to_string(entry?.path())?).await?;
    }
    let known = tokio::task::spawn_blocking(known_crds).await??;
    for definition in known.gateway_standard {
        server.apply(&serde_yaml::to_string(&definition)?).await?;
    }
    server.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}").await?;
    let account = helm::account(&server, "istio-system").await?;
    Ok((server, account))
}

/// The cells of a table of kubectl, without its heads.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_applied_and_its_gateways_take_traffic() -> anyhow::Result<()> {
    let (cluster, account) = cluster().await?;
    let kubectl = Kubectl::of(&cluster.kubeconfig()).await?;
    let account = account.to_str().context("a path of text")?;
    let server = Server::start(["--kubeconfig", account, "--deploy-gateways=true"]).await?;

    let folder = bookinfo();
    let from = folder.to_str().context("a path of text")?;
    let namespaces = folder.join("namespaces.yaml");
    kubectl.run(["apply", "-f", namespaces.to_str().context("a path of text")?, "-f", from]).await?;
    let wait = |args: &'static [&'static str]| {
        kubectl.run(["wait", TIMEOUT].into_iter().chain(NAMESPACE).chain(args.iter().copied()))
    };
    let gateways = &["--for=condition=programmed", "gateway/bookinfo-gateway", "gateway/waypoint"];
    let waited = wait(gateways).await?;
    assert_eq!(waited.matches(" condition met").count(), 2, "{waited}");
    wait(&["--for=condition=available", "deployment/bookinfo-gateway-istio", "deployment/waypoint"]).await?;
    wait(&["--for=condition=ready", "pod", "-l", "gateway.networking.k8s.io/gateway-name"]).await?;

    let get = |args: &'static [&'static str]| {
        kubectl.run(["get"].into_iter().chain(NAMESPACE).chain(args.iter().copied()))
    };
    let services = get(&["service", "bookinfo-gateway-istio", "waypoint", "-o", "json"]).await?;
    let services: Value = serde_json::from_str(&services)?;
    assert_eq!(services["items"].as_array().map(Vec::len), Some(2));
    let table = get(&["gateway"]).await?;
    let rows = cells(&table);
    let of_ingress = services.pointer("/items/0/status/loadBalancer/ingress/0/ip").and_then(Value::as_str);
    let of_waypoint = services.pointer("/items/1/spec/clusterIP").and_then(Value::as_str);
    let expected = [
        ["bookinfo-gateway", "istio", of_ingress.context("no address of a load balancer")?, "True"],
        ["waypoint", "istio-waypoint", of_waypoint.context("no address of a cluster")?, "True"],
    ];
    assert_eq!(rows.iter().map(|row| &row[..row.len().min(4)]).collect::<Vec<_>>(), expected, "{table}");

    // What the authors of the routes are told.
    let routes: Value = serde_json::from_str(&get(&["httproute", "-o", "json"]).await?)?;
    for route in routes["items"].as_array().context("no routes")? {
        let conditions = route.pointer("/status/parents/0/conditions").and_then(Value::as_array);
        let conditions = conditions.with_context(|| format!("no conditions: {route}"))?;
        for kind in ["Accepted", "ResolvedRefs"] {
            let is_true = conditions.iter().any(|of| of["type"] == kind && of["status"] == "True");
            ensure!(is_true, "not {kind}: {route}");
        }
    }
    // Where requests go: the same as in a folder.
    let live = listed(&["routes", "--server", &server.monitoring]).await?;
    assert_eq!(rules(&live, "reviews").len(), 2);
    assert_eq!(live, listed(&["routes", "--from", from]).await?);
    let live = listed(&["gateways", "--server", &server.monitoring]).await?;
    let mut offline = listed(&["gateways", "--from", from]).await?;
    for (gateway, live) in offline.iter_mut().zip(&live) {
        ensure!(live["addresses"].as_array().is_some_and(|all| !all.is_empty()), "{live}");
        gateway["addresses"] = live["addresses"].clone();
    }
    assert_eq!(live, offline);
    let names: Vec<&str> = live.iter().map(|of| text(of, "name")).collect();
    assert_eq!(names, ["bookinfo-gateway", "waypoint"]);
    Ok(())
}
