//! A workload that moves to another network and back.

use crate::cluster::{Cluster, global_service, remote_entry, remote_gateway, settings, status_of};
use crate::daemon::Daemon;
use crate::fresh::settled;
use pilothouse_tests::apiserver::ApiServer;
use serde_json::json;
use std::collections::BTreeSet;

const SYSTEM: &str = "istio-system";
const WEB: &str = "shop/web.shop.svc.cluster.local";
const ENTRY: &str = "Kubernetes/networking.istio.io/WorkloadEntry/shop/web";
const SUMMARY: &str = "far/SplitHorizonWorkload/istio-system/east/192.0.2.7/shop/web.shop.svc.cluster.local";

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_to_another_network_stands_behind_its_gateway_from_the_same_answer_on()
-> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.install_chart(&server).await?;
    cluster.install_gateway_api(&server).await?;
    cluster.namespace(SYSTEM, json!({"topology.istio.io/network": "near"})).await?;
    cluster.namespace("shop", json!({})).await?;
    let scopes = "serviceScopeConfigs: [{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]";
    cluster.apply(&settings(SYSTEM, scopes)).await?;
    let gateway = remote_gateway("far", SYSTEM, "east", "192.0.2.7");
    cluster.apply(&gateway).await?;
    cluster.apply_status(&status_of(&gateway)).await?;
    cluster.apply(&global_service("shop", "web")).await?;
    let entry = |network: &str| remote_entry(network, "shop", "web");
    cluster.apply(&entry("near")).await?;

    let daemon =
        Daemon::of_cluster_with(&server.kubeconfig(), SYSTEM, |args| args.mesh.multi_network = true).await?;
    let client = daemon.client().await?;
    settled(&client, cluster.client(), daemon.options()).await?;
    let sans = || client.with(|state| state.service(WEB).map(|s| s.subject_alt_names.clone()));
    assert!(client.with(|state| state.workload(ENTRY).is_some() && state.workload(SUMMARY).is_none()));
    assert_eq!(sans(), Some(Vec::new()));

    for (network, came, went) in [("far", SUMMARY, ENTRY), ("near", ENTRY, SUMMARY)] {
        let mark = client.mark();
        cluster.apply(&entry(network)).await?;
        settled(&client, cluster.client(), daemon.options()).await?;
        let moved: Vec<_> = client.since(mark).into_iter().filter(|r| !r.removed.is_empty()).collect();
        let [answer] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!(answer.removed, [went]);
        let sent: BTreeSet<&str> = answer.resources.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(sent, BTreeSet::from([came, WEB]), "in one answer, nothing else");
        let is_far = network == "far";
        let account = is_far.then(|| "spiffe://cluster.local/ns/shop/sa/vm".to_owned());
        assert_eq!(sans(), Some(account.into_iter().collect()));
        let capacity = client.with(|state| state.workload(came).and_then(|w| w.capacity));
        assert_eq!(capacity, Some(3), "its own weight, alone behind the gateway or not");
    }
    assert_eq!(client.violations(), []);
    Ok(())
}
