//! Writes a mesh to an API server: many requests in flight, and what is there already is left.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use pilothouse_tests::apiserver::known_crds;
use serde_json::json;

use crate::cluster::{Cluster, Reply, Written};
use crate::kinds;
use crate::mesh::{Mesh, PodId};
use crate::report::Fill;

/// How often a new kind is looked for, and the pause between.
const ATTEMPTS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// Writes nodes, namespaces, services, pods with a running status, and endpoint slices. After an
/// interruption the same call goes on where it stopped.
///
/// # Errors
/// If the API server refuses an object or stays away.
pub async fn fill(cluster: &Cluster, mesh: &Mesh) -> anyhow::Result<Fill> {
    let begun = Instant::now();
    let nodes = each(cluster, 0..usize::from(mesh.nodes), |index| async move {
        anyhow::Ok(count(&cluster.create("/api/v1/nodes", &Mesh::node_object(index)).await?))
    });
    let mut writes = nodes.await?.into_iter().sum::<usize>();
    let spaces = each(cluster, 0..mesh.namespaces, |index| namespace(cluster, mesh, index)).await?;
    writes += spaces.iter().map(|(_, writes)| writes).sum::<usize>();
    let spaces: Vec<bool> = spaces.into_iter().map(|(existed, _)| existed).collect();
    let services = each(cluster, 0..mesh.service_count(), |index| async move {
        let (namespace, service) = (index / mesh.services, index % mesh.services);
        let path = format!("/api/v1/namespaces/{}/services", mesh.namespace(namespace));
        anyhow::Ok(count(&cluster.create(&path, &mesh.service_object(namespace, service, false)).await?))
    });
    writes += services.await?.into_iter().sum::<usize>();
    let mut others = Vec::new();
    if mesh.all_kinds {
        definitions(cluster).await?;
        others.push(kinds::class());
        others.extend((0..mesh.namespaces).flat_map(|namespace| kinds::objects(mesh, namespace)));
    }
    let other_count = others.len();
    let others = &others;
    let written = each(cluster, 0..other_count, |index| async move {
        match others.get(index) {
            Some(one) => other(cluster, one).await,
            None => Ok(0),
        }
    });
    writes += written.await?.into_iter().sum::<usize>();
    for (index, existed) in spaces.into_iter().enumerate() {
        writes += pods(cluster, mesh, index, existed).await?;
    }
    let objects = usize::from(mesh.nodes) + 2 * mesh.namespaces + 2 * mesh.service_count() + mesh.pod_count();
    let objects = objects + other_count;
    Ok(Fill { objects, writes, seconds: begun.elapsed().as_secs_f64() })
}

/// Does something for each number, as many at a time as may be in flight; in order of the numbers.
async fn each<T, F: Future<Output = anyhow::Result<T>>>(
    cluster: &Cluster,
    numbers: std::ops::Range<usize>,
    act: impl Fn(usize) -> F,
) -> anyhow::Result<Vec<T>> {
    futures::stream::iter(numbers).map(act).buffered(cluster.in_flight).try_collect().await
}

fn count(written: &Written) -> usize {
    usize::from(matches!(written, Written::Done(_)))
}

/// Defines the kinds that the API server lacks, as their projects publish them, and waits until it
/// serves them.
async fn definitions(cluster: &Cluster) -> anyhow::Result<()> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let known = known_crds()?;
    for definition in known.istio.iter().chain(&known.gateway_standard) {
        cluster.create(path, &serde_json::to_value(definition)?).await?;
    }
    for definition in known.istio.iter().chain(&known.gateway_standard) {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        let mut tries = 0..ATTEMPTS;
        while !cluster.is_true(&format!("{path}/{name}"), "Established").await? {
            tries.next().with_context(|| format!("the API server does not serve {name}"))?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Writes an object of another kind and the status that it needs; returns the number of writes.
async fn other(cluster: &Cluster, one: &kinds::Written) -> anyhow::Result<usize> {
    let mut writes = count(&cluster.create(&one.path, &one.object).await?);
    if let (Some(status), Some(name)) = (&one.status, one.object["metadata"]["name"].as_str()) {
        cluster.patch(&format!("{}/{name}/status", one.path), &json!({"status": status})).await?;
        writes += 1;
    }
    Ok(writes)
}

/// Writes a namespace with its account; says whether it was there, and the number of writes.
async fn namespace(cluster: &Cluster, mesh: &Mesh, index: usize) -> anyhow::Result<(bool, usize)> {
    let space = count(&cluster.create("/api/v1/namespaces", &mesh.namespace_object(index)).await?);
    let path = format!("/api/v1/namespaces/{}/serviceaccounts", mesh.namespace(index));
    // a controller manager may have been first: that is as good
    let account = count(&cluster.create(&path, &mesh.account_object(index)).await?);
    Ok((space == 0, space + account))
}

/// Writes the pods of a namespace, then the slices that name them; returns the number of writes.
async fn pods(cluster: &Cluster, mesh: &Mesh, namespace: usize, existed: bool) -> anyhow::Result<usize> {
    let space = mesh.namespace(namespace);
    let path = format!("/api/v1/namespaces/{space}/pods");
    let mut present: Vec<Reply> = Vec::new();
    if existed {
        present = cluster.list(&path).await?.items;
        present.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    }
    let each_pod = usize::from(mesh.pods);
    let all = each(cluster, 0..mesh.services * each_pod, |index| {
        let (path, present) = (&path, &present);
        async move {
            let id = PodId { namespace, service: index / each_pod, pod: index % each_pod };
            let name = Mesh::pod_name(id);
            let known = present
                .binary_search_by(|one| one.metadata.name.as_str().cmp(&name))
                .ok()
                .and_then(|place| present.get(place));
            let running = known.and_then(|one| one.status.as_ref()?.pod_ip.as_ref()).is_some();
            let mut writes = 0;
            let mut uid = known.map(|one| one.metadata.uid.clone());
            if known.is_none()
                && let Written::Done(reply) = cluster.create(path, &mesh.pod_object(id)).await?
            {
                uid = Some(reply.metadata.uid);
                writes += 1;
            }
            if !running {
                let status = json!({"status": Mesh::status(mesh.pod_ip(id), true)});
                let reply = cluster.patch(&format!("{path}/{name}/status"), &status).await?;
                uid.get_or_insert(reply.metadata.uid);
                writes += 1;
            }
            anyhow::Ok((uid.with_context(|| format!("pod {name} has no uid"))?, writes))
        }
    })
    .await?;
    let mut writes = all.iter().map(|(_, writes)| writes).sum::<usize>();
    let uids: Vec<String> = all.into_iter().map(|(uid, _)| uid).collect();
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices");
    let slices = each(cluster, 0..mesh.services, |service| {
        let uids = uids.get(service * each_pod..(service + 1) * each_pod).unwrap_or_default();
        let (path, object) = (&path, mesh.slice_object(namespace, service, uids));
        async move { anyhow::Ok(count(&cluster.create(path, &object).await?)) }
    });
    writes += slices.await?.into_iter().sum::<usize>();
    Ok(writes)
}
