//! An older and a newer ztunnel beside each other.

use crate::cluster::{
    Cluster, global_service, pod, policy, remote_entry, remote_gateway, settings, status_of, waypoint,
};
use crate::daemon::Daemon;
use anyhow::{Context, bail};
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::client::{Client, Node, Options, State, Violation};
use proto::workload::gateway_address::Destination;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};

const SYSTEM: &str = "istio-system";

async fn client(daemon: &Daemon, version: &str) -> anyhow::Result<Client> {
    let metadata = [("ISTIO_VERSION".to_owned(), version.to_owned())].into();
    let node = Node { metadata, ..Node::ztunnel("n1") };
    let client = Client::connect(Options { node, ..daemon.client_options() }).await?;
    client.until("an answer of each type", |state| state.is_ready()).await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_sent_what_it_understands() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.install_chart(&server).await?;
    cluster.namespace(SYSTEM, json!({})).await?;
    cluster.namespace("shop", json!({"team": "red"})).await?;
    let visibility = "serviceEntryVisibility: {policies: [{visibility: NAMESPACE, matchingRules: \
                      [{namespaceSelector: {matchLabels: {team: red}}}]}]}";
    cluster.apply(&settings(SYSTEM, visibility)).await?;
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "hosts": ["db.test"], "addresses": ["10.9.0.1"], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "10.2.0.1"}],
        },
    });
    cluster.apply(&entry).await?;
    cluster.pod(&pod("shop", "web-1", "web", "10.1.0.1")).await?;
    // One of the namespace, for port 80, and one of the pod, for port 81.
    let try_policies = async |dry_run: &str| {
        let denied = |port: &str| json!([{"to": [{"operation": {"ports": [port]}}]}]);
        let mut tried = policy("shop", "tried", "web", "DENY", denied("80"));
        tried["spec"].as_object_mut().context("no spec")?.remove("selector");
        for mut policy in [tried, policy("shop", "tried-on-web", "web", "DENY", denied("81"))] {
            policy["metadata"]["annotations"] = json!({"istio.io/dry-run": dry_run});
            cluster.apply(&policy).await?;
        }
        anyhow::Ok(())
    };
    try_policies("true").await?;
    let daemon =
        Daemon::of_cluster_with(&server.kubeconfig(), SYSTEM, |args| args.mesh.dry_run_policies = true)
            .await?;
    daemon.ready().await?;
    let (oldest, older, newer, silent) = (
        client(&daemon, "1.28.3").await?,
        client(&daemon, "1.30.0").await?,
        client(&daemon, "1.31.1").await?,
        client(&daemon, "").await?,
    );
    let has = |client: &Client| client.with(|state| (tried(state), state.service("shop/db.test").is_some()));
    let (nothing, dry) = ([None; 2], [Some(true); 2]);
    assert_eq!(has(&oldest), (nothing, false), "it would enforce the ones and show the other to all");
    assert_eq!(has(&older), (dry, false));
    assert_eq!(has(&newer), (dry, true));
    assert_eq!(has(&silent), (nothing, true));
    let all = [("oldest", &oldest), ("older", &older), ("newer", &newer), ("silent", &silent)];
    for (who, client) in all {
        assert_eq!(client.with(reached), [true, true], "{who} enforces what is only tried");
    }

    // No longer in dry run, and seen by all: everybody gets both.
    try_policies("false").await?;
    cluster.apply(&settings(SYSTEM, "serviceEntryVisibility: {}")).await?;
    for (who, client) in all {
        client
            .until("both", |state| {
                tried(state) == [Some(false); 2]
                    && reached(state) == [false, false]
                    && state.service("shop/db.test").is_some()
            })
            .await
            .context(who)?;
    }
    // And back: what they may not have goes from them.
    try_policies("true").await?;
    cluster.apply(&settings(SYSTEM, visibility)).await?;
    oldest
        .until("neither", |state| {
            tried(state) == nothing
                && reached(state) == [true, true]
                && state.service("shop/db.test").is_none()
        })
        .await?;
    // A name of a policy that is not there does nothing; all else must be right.
    let in_vain = |violation: &Violation| matches!(violation, Violation::AbsentPolicy { policy, .. } if policy == "shop/tried-on-web");
    for (who, client) in all {
        let knows_all = ["older", "newer"].contains(&who);
        let left: Vec<_> = client.violations().into_iter().filter(|v| knows_all || !in_vain(v)).collect();
        assert_eq!(left, [], "{who}");
    }
    Ok(())
}

/// Whether each of the policies is only tried, where it is there.
fn tried(state: &State) -> [Option<bool>; 2] {
    ["shop/tried", "shop/tried-on-web"].map(|name| state.authorization(name).map(|policy| policy.dry_run))
}

/// Which of the ports of the pod is reached that a policy denies.
fn reached(state: &State) -> [bool; 2] {
    let from = IpAddr::from(Ipv4Addr::new(10, 1, 9, 9));
    [80, 81].map(|port| {
        let decision = state.allowed(None, from, "Kubernetes//Pod/shop/web-1", port);
        decision.is_some_and(|decision| decision.is_allowed())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_goes_to_whom_it_leads_somewhere_and_a_canary_to_all() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.install_chart(&server).await?;
    cluster.install_gateway_api(&server).await?;
    cluster.namespace(SYSTEM, json!({"topology.istio.io/network": "near"})).await?;
    cluster.namespace("shop", json!({})).await?;
    let scopes = "serviceScopeConfigs: [{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]";
    cluster.apply(&settings(SYSTEM, scopes)).await?;
    let mut web = global_service("shop", "web");
    web["metadata"]["labels"]["istio.io/use-waypoint"] = json!("way");
    web["metadata"]["labels"]["istio.io/use-waypoint-canary"] = json!("next");
    web["metadata"]["annotations"] = json!({"istio.io/use-waypoint-canary-weight": "10"});
    for gateway in [
        remote_gateway("far", SYSTEM, "east", "192.0.2.7"),
        waypoint("shop", "way"),
        waypoint("shop", "next"),
    ] {
        cluster.apply(&gateway).await?;
        cluster.apply_status(&status_of(&gateway)).await?;
    }
    cluster.apply(&web).await?;
    cluster.apply(&remote_entry("far", "shop", "web")).await?;
    let daemon =
        Daemon::of_cluster_with(&server.kubeconfig(), SYSTEM, |args| args.mesh.multi_network = true).await?;
    daemon.ready().await?;
    let versions = ["1.25.5", "1.26.0", "1.30.4", "1.31.0", ""];
    let mut clients = Vec::new();
    for version in versions {
        clients.push(client(&daemon, version).await?);
    }
    let name = "shop/web.shop.svc.cluster.local";
    let summary = format!("far/SplitHorizonWorkload/istio-system/east/192.0.2.7/{name}");
    let entry = "Kubernetes/networking.istio.io/WorkloadEntry/shop/web";
    for (version, client) in versions.iter().zip(&clients) {
        let has = client.with(|state| [entry, &summary].map(|name| state.workload(name).is_some()));
        assert_eq!(has, [false, *version != "1.25.5"], "{version:?}");
    }

    // Who does not know shares sends all to the primary, which is in its place.
    let bytes =
        |client: &Client| client.with(|state| state.addresses().get(name).map(|held| held.bytes.clone()));
    let first = bytes(&clients[0]).context("no service")?;
    assert!(clients.iter().all(|client| bytes(client).as_ref() == Some(&first)));
    let service = clients[0].with(|state| state.service(name).cloned()).context("no service")?;
    let shares: Vec<_> = service.weighted_waypoints.iter().map(|share| share.weight).collect();
    assert_eq!(shares, [90, 10]);
    let destination = service.waypoint.and_then(|waypoint| waypoint.destination);
    assert_eq!(service.weighted_waypoints[0].destination.clone().and_then(|d| d.destination), destination);
    let Some(Destination::Hostname(primary)) = destination else { bail!("{destination:?}") };
    assert_eq!(
        (primary.namespace.as_str(), primary.hostname.as_str()),
        ("shop", "way.shop.svc.cluster.local")
    );

    // What moves here has an address, so everybody gets it, and nobody the summary any more.
    cluster.apply(&remote_entry("near", "shop", "web")).await?;
    for (version, client) in versions.iter().zip(&clients) {
        let moved = client.until("the entry", |state| {
            state.workload(entry).is_some() && state.workload(&summary).is_none()
        });
        moved.await.context(*version)?;
    }
    cluster.apply(&remote_entry("far", "shop", "web")).await?;
    for (version, client) in versions.iter().zip(&clients) {
        let moved = client.until("the entry is gone", |state| state.workload(entry).is_none());
        moved.await.context(*version)?;
        let has = client.with(|state| state.workload(&summary).is_some());
        assert_eq!(has, *version != "1.25.5", "{version:?}");
        assert_eq!(client.violations(), [], "{version:?}");
    }
    Ok(())
}
