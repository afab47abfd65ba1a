//! The same mesh from a folder and from the API server.

use crate::cluster::{Cluster, settings, status_of};
use crate::daemon::Daemon;
use crate::fresh::{held_by, holds, versions};
use anyhow::Context;
use folder::Folder;
use pilothouse_tests::apiserver::ApiServer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SYSTEM: &str = "mesh-of-bookinfo";

/// Leaves out what only a real cluster has, as the service `kubernetes`.
const MESH: &str = "
discoverySelectors:
- matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: In, values: [bookinfo, outside]}
";

/// The addresses that a folder gives to services are those of a range: the API server gets it too.
const SERVICE_ADDRESSES: &str = "
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: folder}
spec: {cidrs: [10.96.0.0/12]}
";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bookinfo")
}

/// Returns every object that the cluster of these folders would hold, namespaces first.
fn objects(folders: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut folder = Folder::new(SYSTEM);
    for path in folders {
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|e| e == "yaml") {
                folder.set(&file.display().to_string(), &std::fs::read_to_string(&file)?);
            }
        }
    }
    let resolved = folder.resolve();
    anyhow::ensure!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    let mut all: Vec<Value> = resolved.objects.values().map(|object| object.value.clone()).collect();
    let order = ["Namespace", "ServiceAccount", "Node", "Pod"];
    all.sort_by_key(|value| order.iter().position(|kind| value["kind"] == *kind).unwrap_or(order.len()));
    Ok(all)
}

/// Applies the objects; what names a pod by its uid is given the uid that the API server chose.
async fn apply(server: &ApiServer, cluster: &Cluster, objects: Vec<Value>) -> anyhow::Result<()> {
    let mut uids: BTreeMap<String, String> = BTreeMap::new();
    for mut object in objects {
        let metadata = object["metadata"].as_object_mut().context("no metadata")?;
        let written = metadata.remove("uid");
        if object["kind"] == "Pod" {
            let stored = cluster.apply(&object).await?;
            cluster.apply_status(&status_of(&object)).await?;
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            let (written, stored) = (text(written.as_ref()), text(stored.pointer("/metadata/uid")));
            uids.insert(written.context("no uid written")?, stored.context("no uid stored")?);
        } else {
            let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
            for endpoint in endpoints.into_iter().flatten() {
                let uid = &mut endpoint["targetRef"]["uid"];
                let stored = uids.get(uid.as_str().unwrap_or_default()).context("an unknown pod")?;
                *uid = Value::from(stored.as_str());
            }
            server.apply(&object.to_string()).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_an_api_server_with_the_same_objects_make_the_same_resources() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let cluster = Cluster::of(server).await?;
    cluster.install_chart(server).await?;
    cluster.install_gateway_api(server).await?;
    server.apply(SERVICE_ADDRESSES).await?;

    let extra = tempfile::tempdir()?;
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {SYSTEM}}}}}\n---\n");
    let settings = namespace + &serde_yaml::to_string(&settings(SYSTEM, MESH))?;
    std::fs::write(extra.path().join("settings.yaml"), settings)?;
    let folders = vec![example(), extra.path().to_owned()];

    // The daemon of the cluster is there before the objects: each comes as a change.
    let of_cluster = Daemon::of_cluster(&server.kubeconfig(), SYSTEM).await?;
    let follower = of_cluster.client().await?;
    apply(server, &cluster, objects(&folders)?).await?;

    let of_folder = Daemon::of_folders(folders, SYSTEM).await?;
    let reader = of_folder.client().await?;
    let resources = reader.with(held_by);
    let named = |part: &str| resources.keys().filter(|(_, name)| name.contains(part)).count();
    assert_eq!((named("//Pod/bookinfo/"), named("//Pod/outside/")), (7, 1), "{:?}", resources.keys());
    assert_eq!((named(".svc.cluster.local"), named("-callers")), (7, 4), "{:?}", resources.keys());

    holds(&follower, &resources).await?;
    // And as a first answer.
    let fresh = of_cluster.client().await?;
    holds(&fresh, &resources).await?;
    for client in [&follower, &fresh] {
        assert_eq!(client.with(versions), reader.with(versions));
    }
    for client in [follower, fresh, reader] {
        assert_eq!(client.violations(), []);
    }
    Ok(())
}
