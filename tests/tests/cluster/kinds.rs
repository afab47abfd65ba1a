//! Kinds that come after the daemon.

use crate::cluster::{Cluster, pod, policy, service, settings, status_of, waypoint};
use crate::daemon::Daemon;
use crate::fresh::settled;
use pilothouse_tests::apiserver::ApiServer;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_our_kinds_is_served_and_the_kinds_are_taken_up_once_installed()
-> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.namespace("istio-system", json!({})).await?;
    cluster.namespace("shop", json!({"istio.io/use-waypoint": "way"})).await?;
    cluster.apply(&service("shop", "web")).await?;
    cluster.pod(&pod("shop", "web-1", "web", "10.1.0.1")).await?;

    let daemon = Daemon::of_cluster(&server.kubeconfig(), "istio-system").await?;
    let client = daemon.client().await?;
    settled(&client, cluster.client(), daemon.options()).await?;
    let web = "Kubernetes//Pod/shop/web-1";
    assert!(client.with(|state| state.workload(web).is_some()), "plain Kubernetes is a mesh already");
    assert_eq!(client.with(|state| state.authorizations().len()), 0);

    cluster.install_chart(&server).await?;
    let only_api = policy(
        "shop",
        "only-api",
        "web",
        "ALLOW",
        json!([{"from": [{"source": {
            "principals": ["cluster.local/ns/shop/sa/api"],
        }}]}]),
    );
    cluster.apply(&only_api).await?;
    client
        .until("the active policy", |state| {
            state.authorization("shop/only-api").is_some()
                && state.workload(web).is_some_and(|w| w.authorization_policies == ["shop/only-api"])
        })
        .await?;

    cluster.install_gateway_api(&server).await?;
    let waypoint = waypoint("shop", "way");
    cluster.apply(&waypoint).await?;
    cluster.apply_status(&status_of(&waypoint)).await?;
    let name = "shop/web.shop.svc.cluster.local";
    client.until("the waypoint", |state| state.service(name).is_some_and(|s| s.waypoint.is_some())).await?;

    cluster.apply(&settings("istio-system", "trustDomain: mesh.test")).await?;
    client
        .until("the settings", |state| state.workload(web).is_some_and(|w| w.trust_domain == "mesh.test"))
        .await?;
    settled(&client, cluster.client(), daemon.options()).await?;
    assert_eq!(client.violations(), []);
    assert_eq!(client.with(|state| state.streams()), 1);
    Ok(())
}
