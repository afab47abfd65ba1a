//! Gateways are deployed, and their statuses say when traffic reaches them, in a cluster with controllers.

use crate::fixture::Fixture;
use crate::replica::Replica;
use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const WAYPOINT: &str = "wp";

/// The objects of one namespace.
struct Objects {
    deployments: Api<Deployment>,
    services: Api<Service>,
    accounts: Api<ServiceAccount>,
    autoscalers: Api<HorizontalPodAutoscaler>,
    budgets: Api<PodDisruptionBudget>,
    pods: Api<Pod>,
}

impl Objects {
    fn of(client: &Client, ns: &str) -> Self {
        Self {
            deployments: Api::namespaced(client.clone(), ns),
            services: Api::namespaced(client.clone(), ns),
            accounts: Api::namespaced(client.clone(), ns),
            autoscalers: Api::namespaced(client.clone(), ns),
            budgets: Api::namespaced(client.clone(), ns),
            pods: Api::namespaced(client.clone(), ns),
        }
    }

    /// Which of the objects of a name are there, by their plurals.
    async fn there(&self, name: &str) -> anyhow::Result<Vec<&'static str>> {
        let all = [
            ("deployments", self.deployments.get_opt(name).await?.is_some()),
            ("services", self.services.get_opt(name).await?.is_some()),
            ("serviceaccounts", self.accounts.get_opt(name).await?.is_some()),
            ("horizontalpodautoscalers", self.autoscalers.get_opt(name).await?.is_some()),
            ("poddisruptionbudgets", self.budgets.get_opt(name).await?.is_some()),
        ];
        Ok(all.into_iter().filter(|(_, is_there)| *is_there).map(|(plural, _)| plural).collect())
    }

    /// Waits until exactly these objects of a name are there.
    async fn until_there(&self, name: &str, expected: &[&str]) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let are_there = async || {
            last = self.there(name).await?;
            Ok((last == expected).then_some(()))
        };
        until(LIMIT, are_there).await.with_context(|| format!("{name} has {last:?} instead of {expected:?}"))
    }

    async fn pods_of(&self, gateway: &str) -> anyhow::Result<Vec<Pod>> {
        let label = format!("gateway.networking.k8s.io/gateway-name={gateway}");
        Ok(self.pods.list(&ListParams::default().labels(&label)).await?.items)
    }
}

const DEPLOYED: [&str; 3] = ["deployments", "services", "serviceaccounts"];

fn waypoint(ns: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": WAYPOINT, "namespace": ns, "annotations": annotations},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

/// Waits until the condition `Programmed` of a Gateway has this status for its latest generation; returns the
/// Gateway.
async fn until_programmed(
    fixture: &Fixture,
    ns: &str,
    (status, reason): (&str, &str),
) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let is_written = async || {
        last = fixture.get(Kind::Gateway, ns, WAYPOINT).await?;
        let conditions = last.pointer("/status/conditions").and_then(Value::as_array);
        let programmed = conditions.into_iter().flatten().find(|c| c["type"] == "Programmed");
        let is_so = programmed.is_some_and(|c| {
            c["status"] == status
                && c["reason"] == reason
                && c["observedGeneration"] == last["metadata"]["generation"]
        });
        Ok(is_so.then(|| last.clone()))
    };
    let waited = until(LIMIT, is_written).await;
    waited.with_context(|| format!("not Programmed={status} {reason}: {:#}", last["status"]))
}

/// Waits until a replica has counted so many objects as written, and checks that it has counted no more.
async fn has_written(replica: &Replica, expected: u64) -> anyhow::Result<()> {
    let written = || replica.stats().deployments.written.load(Ordering::Relaxed);
    let enough = async || Ok((written() >= expected).then_some(()));
    until(LIMIT, enough).await.with_context(|| format!("{} written instead of {expected}", written()))?;
    ensure!(written() == expected, "{} written instead of {expected}", written());
    Ok(())
}

async fn deployer(fixture: &Fixture, identity: &str) -> anyhow::Result<Replica> {
    Replica::start_with(&fixture.account, identity, |settings| settings.deploys_gateways = true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_is_deployed_programmed_repaired_and_goes_with_its_gateway() -> anyhow::Result<()> {
    let fixture = Fixture::start_with_controllers(&[("shop", json!({}))]).await?;
    let objects = Objects::of(&fixture.client, "shop");
    let replica = deployer(&fixture, "one").await?;
    fixture.put(waypoint("shop", json!({"note": "kept"}))).await?;
    objects.until_there(WAYPOINT, &DEPLOYED).await?;
    let gateway = until_programmed(&fixture, "shop", ("True", "Programmed")).await?;
    let service = objects.services.get(WAYPOINT).await?;
    let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).context("no address")?;
    let addresses = gateway.pointer("/status/addresses").and_then(Value::as_array).context("no addresses")?;
    assert_eq!(addresses[0], json!({"type": "IPAddress", "value": ip}));
    let hostname = json!({"type": "Hostname", "value": "wp.shop.svc.cluster.local"});
    ensure!(addresses.contains(&hostname), "{addresses:?}");
    let pods = objects.pods_of(WAYPOINT).await?;
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].annotations().get("note").map(String::as_str), Some("kept"));
    has_written(&replica, 3).await?;

    // What somebody changes is put right; what they add stays.
    let change = json!({"metadata": {"labels": {"mine": "too"}}, "spec": {"selector": {"a": "b"}}});
    objects.services.patch(WAYPOINT, &PatchParams::default(), &Patch::Merge(&change)).await?;
    let is_right = async || {
        let service = objects.services.get(WAYPOINT).await?;
        ensure!(service.labels().contains_key("mine"), "the label of another is gone");
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        Ok((selector.len() == 1).then_some(()))
    };
    until(LIMIT, is_right).await.context("the change stays")?;
    let image = json!({"containers": [{"name": "istio-proxy", "image": "other"}]});
    let image = Patch::Strategic(json!({"spec": {"template": {"spec": image}}}));
    objects.deployments.patch(WAYPOINT, &PatchParams::default(), &image).await?;
    let is_right = async || {
        let deployment = serde_json::to_value(objects.deployments.get(WAYPOINT).await?)?;
        let image = deployment.pointer("/spec/template/spec/containers/0/image").cloned();
        Ok(image.filter(|image| image != "other").map(drop))
    };
    until(LIMIT, is_right).await.context("the image stays")?;
    objects.services.delete(WAYPOINT, &DeleteParams::default()).await?;
    objects.until_there(WAYPOINT, &DEPLOYED).await?;
    until_programmed(&fixture, "shop", ("True", "Programmed")).await?;

    // What is asked for comes, and goes when it no longer is.
    let asked = json!({
        "gateway.pilothouse.io/replicas": "2", "gateway.pilothouse.io/max-replicas": "3",
        "gateway.pilothouse.io/min-available": "1",
    });
    fixture.put(waypoint("shop", asked)).await?;
    let all = [&DEPLOYED[..], &["horizontalpodautoscalers", "poddisruptionbudgets"]].concat();
    objects.until_there(WAYPOINT, &all).await?;
    fixture.put(waypoint("shop", json!({}))).await?;
    objects.until_there(WAYPOINT, &DEPLOYED).await?;

    // What cannot be is told, and what runs stays.
    let before = objects.deployments.get(WAYPOINT).await?;
    fixture.put(waypoint("shop", json!({"gateway.pilothouse.io/replicas": "many"}))).await?;
    let is_told = async || {
        let conditions = fixture.conditions(Kind::Gateway, "shop", WAYPOINT).await?;
        let accepted = conditions.into_iter().find(|(kind, ..)| kind == "Accepted");
        Ok(accepted.filter(|(_, status, reason, _)| status == "False" && reason == "InvalidParameters"))
    };
    let (.., message) = until(LIMIT, is_told).await.context("it is not told")?;
    ensure!(message.contains("gateway.pilothouse.io/replicas"), "{message}");
    let after = objects.deployments.get(WAYPOINT).await?;
    assert_eq!(after.metadata.generation, before.metadata.generation);
    ensure!(!objects.pods_of(WAYPOINT).await?.is_empty(), "the pods are gone");

    fixture.delete(Kind::Gateway, "shop", WAYPOINT).await?;
    objects.until_there(WAYPOINT, &[]).await?;
    until(LIMIT, async || Ok(objects.pods_of(WAYPOINT).await?.is_empty().then_some(()))).await?;
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_left_alone_until_it_is_gone() -> anyhow::Result<()> {
    let fixture = Fixture::start_with_controllers(&[("shop", json!({}))]).await?;
    let objects = Objects::of(&fixture.client, "shop");
    let foreign = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": WAYPOINT, "namespace": "shop"},
        "spec": {"ports": [{"port": 80}]},
    });
    fixture.put(foreign).await?;
    let before = objects.services.get(WAYPOINT).await?;
    let replica = deployer(&fixture, "one").await?;
    fixture.put(waypoint("shop", json!({}))).await?;
    objects.until_there(WAYPOINT, &DEPLOYED).await?;
    until_programmed(&fixture, "shop", ("False", "AddressNotUsable")).await?;
    // A second look is taken at it by now, or soon.
    let looked = || replica.stats().deployments.unchanged.load(Ordering::Relaxed);
    until(LIMIT, async || Ok((looked() >= 2).then_some(()))).await.context("it is not looked at again")?;
    assert_eq!(objects.services.get(WAYPOINT).await?.resource_version(), before.resource_version());

    objects.services.delete(WAYPOINT, &DeleteParams::default()).await?;
    until_programmed(&fixture, "shop", ("True", "Programmed")).await?;
    has_written(&replica, 3).await?;

    // The next leader finds everything as it is to be.
    replica.stop().await?;
    let next = deployer(&fixture, "two").await?;
    let is_leader = || next.stats().deployments.is_leader.load(Ordering::Relaxed);
    until(LIMIT, async || Ok(is_leader().then_some(()))).await.context("it does not lead")?;
    fixture.put(waypoint("shop", json!({"gateway.pilothouse.io/min-available": "1"}))).await?;
    let all = [&DEPLOYED[..], &["poddisruptionbudgets"]].concat();
    objects.until_there(WAYPOINT, &all).await?;
    has_written(&next, 1).await?;
    next.stop().await
}
