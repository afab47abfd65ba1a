//! An older and a newer ztunnel beside each other.

use crate::cluster::{Cluster, settings};
use crate::daemon::Daemon;
use anyhow::Context;
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::client::{Client, Node, Options};
use serde_json::json;

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
    let policy = |dry_run: &str| {
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "tried", "namespace": "shop", "annotations": {"istio.io/dry-run": dry_run}},
            "spec": {"action": "DENY", "rules": [{}]},
        })
    };
    cluster.apply(&policy("true")).await?;
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
    let has = |client: &Client| {
        client.with(|state| {
            (state.authorization("shop/tried").is_some(), state.service("shop/db.test").is_some())
        })
    };
    assert_eq!(has(&oldest), (false, false), "it would enforce the one and show the other to all");
    assert_eq!(has(&older), (true, false));
    assert_eq!(has(&newer), (true, true));
    assert_eq!(has(&silent), (false, true));
    newer
        .with(|state| state.authorization("shop/tried").map(|policy| policy.dry_run))
        .filter(|dry_run| *dry_run)
        .context("it is not said to be tried only")?;

    // No longer tried but in force, and seen by all: everybody gets both.
    cluster.apply(&policy("false")).await?;
    cluster.apply(&settings(SYSTEM, "serviceEntryVisibility: {}")).await?;
    for (who, client) in [("oldest", &oldest), ("older", &older), ("newer", &newer), ("silent", &silent)] {
        client
            .until("both", |state| {
                state.authorization("shop/tried").is_some_and(|policy| !policy.dry_run)
                    && state.service("shop/db.test").is_some()
            })
            .await
            .context(who)?;
    }
    // And back: what they may not have goes from them.
    cluster.apply(&policy("true")).await?;
    cluster.apply(&settings(SYSTEM, visibility)).await?;
    oldest
        .until("neither", |state| {
            state.authorization("shop/tried").is_none() && state.service("shop/db.test").is_none()
        })
        .await?;
    assert_eq!(oldest.violations(), []);
    Ok(())
}
