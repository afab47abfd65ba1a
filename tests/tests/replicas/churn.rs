//! An API server with a namespace of workloads, and what changes there.

use anyhow::Context;
use http::Request;
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::client::{Client, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::interval;

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
";

/// How many workloads come and go.
const WORKLOADS: u64 = 200;

/// Starts an API server with our definitions.
pub async fn start() -> anyhow::Result<ApiServer> {
    let server = ApiServer::start().await?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/base/crds");
    for entry in std::fs::read_dir(&crds)? {
        server.apply(&std::fs::read_to_string(entry?.path())?).await?;
    }
    server.apply(NAMESPACES).await?;
    Ok(server)
}

fn path(name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/shop/workloadentries/{name}")
}

/// Makes the `n`th change: of each seven the last takes a workload away, the others put one or change it.
async fn change(client: &kube::Client, n: u64) -> anyhow::Result<()> {
    let workload = n % WORKLOADS;
    let name = format!("vm-{workload}");
    if n % 7 == 6 {
        let request = Request::delete(path(&name)).body(Vec::new())?;
        return match client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => Ok(done.map(drop)?),
        };
    }
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "address": format!("10.20.{}.{}", workload / 200, workload % 200 + 1),
            "serviceAccount": format!("account-{n}"),
        },
    });
    let request = Request::patch(format!("{}?fieldManager=tests&force=true", path(&name)))
        .header("content-type", "application/apply-patch+yaml")
        .body(object.to_string().into_bytes())?;
    client.request::<Value>(request).await?;
    Ok(())
}

/// Makes these changes, up to a hundred a second. Those of one workload are seconds apart, so that their order is that of
/// their numbers.
pub async fn churn(client: kube::Client, changes: std::ops::Range<u64>) -> anyhow::Result<()> {
    let (mut ticks, mut running) = (interval(Duration::from_millis(10)), JoinSet::new());
    for n in changes {
        ticks.tick().await;
        if running.len() >= 16 {
            running.join_next().await.context("nothing runs")???;
        }
        let client = client.clone();
        running.spawn(async move { change(&client, n).await.with_context(|| format!("change {n}")) });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Returns which resources were sent to a client that held just that version of them.
pub fn sent_again(client: &Client) -> Vec<String> {
    let mut held = BTreeMap::new();
    let mut again = Vec::new();
    for response in client.state().received() {
        for removed in &response.removed {
            held.remove(removed);
        }
        for resource in &response.resources {
            if held.insert(resource.name.clone(), resource.version.clone()).as_ref()
                == Some(&resource.version)
            {
                again.push(format!("{} on stream {}", resource.name, response.stream));
            }
        }
    }
    again
}

/// Waits until a client holds the same as another that has just begun.
pub async fn agrees(client: &Client, fresh: &Client) -> anyhow::Result<()> {
    let expected = fresh.with(State::digest);
    client.until("the state of who has just begun", |state| state.digest() == expected).await
}
