//! The API server goes away and comes back; the mesh stays and catches up.

use crate::cluster::{Cluster, pod, policy, service};
use crate::daemon::Daemon;
use crate::fresh::{Resources, changed, held_by, holds, settled};
use crate::proxy::Proxy;
use anyhow::Context;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::client::Client;
use proto::workload::{TunnelProtocol, WorkloadStatus};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn uid(pod: &str) -> String {
    format!("Kubernetes//Pod/shop/{pod}")
}

/// Asserts that since `mark` a client was sent what differs between two states, was told of what is
/// gone, and heard of nothing else. On the way, what is gone in the end may change first.
fn assert_only_changes(client: &Client, mark: usize, before: &Resources, after: &Resources) {
    let responses = client.since(mark);
    let differing = changed(before, after);
    let names = |is_there: bool| -> BTreeSet<&str> {
        let of = differing.iter().filter(|key| after.contains_key(key) == is_there);
        of.map(|(_, name)| name.as_str()).collect()
    };
    let (there, gone) = (names(true), names(false));
    let sent = responses.iter().flat_map(|r| r.names());
    let sent: BTreeSet<&str> = sent.filter(|name| !gone.contains(name)).collect();
    let removed: BTreeSet<&str> = responses.iter().flat_map(|r| &r.removed).map(String::as_str).collect();
    assert_eq!((sent, removed), (there, gone));
}

fn is_hbone(client: &Client, pod: &str) -> bool {
    let tunnel = client.with(|state| state.workload(&uid(pod)).map(|w| w.tunnel_protocol));
    tunnel == Some(TunnelProtocol::Hbone.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_enrolling_labelling_and_deleting_reach_the_client_and_touch_nothing_else()
-> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    let (shop, system) = (server.namespace("steps").await?, server.namespace("steps-system").await?);
    let scope = format!(
        "discoverySelectors: [{{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: In, values: [{shop}]}}]}}]"
    );
    cluster.apply(&crate::cluster::settings(&system, &scope)).await?;
    cluster.apply(&service(&shop, "web")).await?;
    cluster.pod(&pod(&shop, "web-1", "web", "10.2.0.1")).await?;
    let daemon = Daemon::of_cluster(&server.kubeconfig(), &system).await?;
    let client = daemon.client().await?;
    let mut before = settled(&client, cluster.client(), daemon.options()).await?;
    let uid = |name: &str| format!("Kubernetes//Pod/{shop}/{name}");
    let key = format!("{shop}/web.{shop}.svc.cluster.local");

    let mut plain = pod(&shop, "web-2", "web", "10.2.0.2");
    plain["metadata"]["annotations"] = json!({});
    let mut enrolled = plain.clone();
    enrolled["metadata"]["annotations"] = json!({"ambient.istio.io/redirection": "enabled"});
    let mut unready = enrolled.clone();
    unready["status"]["conditions"][0]["status"] = json!("False");
    let mut elsewhere = enrolled.clone();
    elsewhere["metadata"]["labels"]["app"] = json!("other");

    type Holds<'t> = &'t (dyn Fn(&proto::workload::Workload) -> bool + Sync);
    let in_service = |w: &proto::workload::Workload| w.services.contains_key(&key);
    let steps: [(&str, &Value, Holds<'_>); 4] = [
        ("created", &plain, &|w| in_service(w) && w.tunnel_protocol() == TunnelProtocol::None),
        ("enrolled", &enrolled, &|w| w.tunnel_protocol() == TunnelProtocol::Hbone),
        ("unready", &unready, &|w| w.status() == WorkloadStatus::Unhealthy),
        ("labelled", &elsewhere, &|w| !in_service(w) && w.status() == WorkloadStatus::Healthy),
    ];
    for (what, object, is_so) in steps {
        let mark = client.mark();
        cluster.pod(object).await?;
        client.until(what, |state| state.workload(&uid("web-2")).is_some_and(is_so)).await?;
        let after = settled(&client, cluster.client(), daemon.options()).await?;
        assert_only_changes(&client, mark, &before, &after);
        before = after;
    }

    let mark = client.mark();
    cluster.delete(&plain).await?;
    client.until("deleted", |state| state.workload(&uid("web-2")).is_none()).await?;
    let after = settled(&client, cluster.client(), daemon.options()).await?;
    assert_only_changes(&client, mark, &before, &after);
    // A namespace goes away with all that is in it.
    server
        .delete(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shop}}).to_string())
        .await?;
    client.until("nothing", |state| held_by(state).is_empty()).await?;
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_outlives_its_api_server_and_takes_up_what_changed_meanwhile() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.install_chart(&server).await?;
    cluster.namespace("istio-system", json!({})).await?;
    cluster.namespace("shop", json!({})).await?;
    cluster.namespace("gone", json!({})).await?;
    cluster.apply(&service("shop", "web")).await?;
    let api = json!([{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/api"]}}]}]);
    let old_policy = policy("shop", "old", "web", "ALLOW", api.clone());
    cluster.apply(&old_policy).await?;
    for n in 1..=3 {
        cluster.pod(&pod("shop", &format!("web-{n}"), "web", &format!("10.1.0.{n}"))).await?;
    }
    cluster.pod(&pod("gone", "web", "web", "10.1.1.1")).await?;

    let proxy = Proxy::to(server.port()?).await?;
    let kubeconfig = proxy.kubeconfig(&server.kubeconfig(), server.url())?;
    let daemon = Daemon::of_cluster(&kubeconfig, "istio-system").await?;
    let client = daemon.client().await?;
    let before = settled(&client, cluster.client(), daemon.options()).await?;
    let seen = version_of_pods(&cluster).await?;

    // While the daemon cannot see it, things come, change and go; the server that comes back does
    // not know any more what happened since the version that the daemon saw last.
    proxy.cut();
    let mark = client.mark();
    cluster.delete(&pod("shop", "web-1", "web", "10.1.0.1")).await?;
    cluster.delete(&old_policy).await?;
    let mut plain = pod("shop", "web-2", "web", "10.1.0.2");
    plain["metadata"]["annotations"] = json!({});
    cluster.apply(&plain).await?;
    cluster.apply(&policy("shop", "new", "web", "ALLOW", api)).await?;
    cluster.pod(&pod("shop", "web-4", "web", "10.1.0.4")).await?;
    // The same name, another pod.
    cluster.delete(&pod("shop", "web-3", "web", "10.1.0.3")).await?;
    cluster.pod(&pod("shop", "web-3", "web", "10.1.0.33")).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    server.delete(&namespace.to_string()).await?;
    let cut_off = pods_of(&cluster, "gone");
    until(LIMIT, async || Ok((cut_off().await? == 0).then_some(()))).await?;
    server.restart().await?;
    assert_eq!(watch_from(&cluster, &seen).await?, 410, "the daemon has to list anew");

    let fresh = daemon.client().await?;
    holds(&fresh, &before).await?;
    assert_eq!(client.since(mark), [], "an outage changes nothing");

    proxy.restore();
    let after = settled(&client, cluster.client(), daemon.options()).await?;
    holds(&fresh, &after).await?;
    assert_only_changes(&client, mark, &before, &after);
    for (name, is_there) in [("web-1", false), ("web-2", true), ("web-3", true), ("web-4", true)] {
        assert_eq!(client.with(|state| state.workload(&uid(name)).is_some()), is_there, "{name}");
    }
    assert!(!is_hbone(&client, "web-2") && is_hbone(&client, "web-4"));
    assert!(client.with(|state| state.workload("Kubernetes//Pod/gone/web").is_none()));

    // No API server at all.
    server.stop().await?;
    let late = daemon.client().await?;
    holds(&late, &after).await?;
    server.restart().await?;
    let mark = client.mark();
    cluster.delete(&pod("shop", "web-4", "web", "10.1.0.4")).await?;
    let last = settled(&client, cluster.client(), daemon.options()).await?;
    assert_ne!(last, after);
    assert_only_changes(&client, mark, &after, &last);
    for client in [client, fresh, late] {
        holds(&client, &last).await?;
        assert_eq!(client.violations(), []);
        assert_eq!(client.with(|state| state.streams()), 1, "no stream ended for it");
    }
    Ok(())
}

async fn list_of_pods(cluster: &Cluster, path: &str) -> anyhow::Result<Value> {
    Ok(cluster.client().request(http::Request::get(path).body(Vec::new())?).await?)
}

/// Returns the version up to which a list of pods is known.
async fn version_of_pods(cluster: &Cluster) -> anyhow::Result<String> {
    let list = list_of_pods(cluster, "/api/v1/pods").await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("no version")?;
    Ok(version.to_owned())
}

/// Returns how many pods are in a namespace.
fn pods_of(cluster: &Cluster, namespace: &str) -> impl AsyncFn() -> anyhow::Result<usize> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    async move || Ok(list_of_pods(cluster, &path).await?["items"].as_array().map_or(0, Vec::len))
}

/// Returns how the API server answers a watch of pods from a version: 200, or the code of the failure.
async fn watch_from(cluster: &Cluster, version: &str) -> anyhow::Result<u64> {
    let path = format!("/api/v1/pods?watch=true&timeoutSeconds=1&resourceVersion={version}");
    let answer = match cluster.client().request_text(http::Request::get(path).body(Vec::new())?).await {
        Ok(answer) => answer,
        Err(kube::Error::Api(status)) => return Ok(status.code.into()),
        Err(error) => return Err(error.into()),
    };
    let first: Value = serde_json::from_str(answer.lines().next().unwrap_or("null"))?;
    Ok(first["object"]["code"].as_u64().unwrap_or(200))
}
