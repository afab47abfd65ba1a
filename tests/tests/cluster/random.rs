//! A thousand random edits end where a computation from scratch ends, and no status is written in vain.

use crate::cluster::{Cluster, global_service, policy, remote_entry, remote_gateway, status_of};
use crate::daemon::Daemon;
use crate::edits::{Edits, NAMESPACES, SYSTEM};
use crate::fresh::{Resources, changed, held_by, holds, settled, versions};
use anyhow::Context;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::client::Client;
use pilothouse_tests::helm;
use pilothouse_tests::statuses::Statuses;
use proto::ResourceType;
use proto::type_url;
use runtime::config::ServeArgs;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Any other seed must do as well: `PILOTHOUSE_TEST_SEED` sets one.
const SEED: u64 = 20_260_731;
const EDITS: usize = 1_000;
/// How many edits lie between two looks.
const LOOK: usize = 200;
/// The edit after which one client goes away.
const LEAVES: usize = 900;

#[tokio::test(flavor = "multi_thread")]
async fn after_random_edits_clients_hold_what_a_computation_from_scratch_makes() -> anyhow::Result<()> {
    let seed = match std::env::var("PILOTHOUSE_TEST_SEED") {
        Ok(text) => text.parse().context("PILOTHOUSE_TEST_SEED is no number")?,
        Err(_) => SEED,
    };
    run(seed).await.with_context(|| format!("the seed was {seed}"))
}

async fn run(seed: u64) -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    cluster.install_chart(&server).await?;
    cluster.install_gateway_api(&server).await?;
    let statuses = Statuses::watch(cluster.client()).await?;
    for namespace in NAMESPACES {
        cluster.namespace(namespace, json!({})).await?;
    }
    // With several networks, which is more than without. No edit takes away what is behind this gateway,
    // but settings and labels decide whether it counts.
    let gateway = remote_gateway("net-1", "n1", "east", "192.0.2.7");
    cluster.apply(&gateway).await?;
    cluster.apply_status(&status_of(&gateway)).await?;
    cluster.apply(&global_service("n1", "east")).await?;
    cluster.apply(&remote_entry("net-1", "n1", "east")).await?;
    let with_networks = |args: &mut ServeArgs| {
        args.mesh.multi_network = true;
        args.mesh.network_gateway_namespaces = vec!["*".to_owned()];
    };
    // All this with the rights that the chart gives.
    let account = helm::account(&server, SYSTEM).await?;
    let daemon = Daemon::of_cluster_with(&account, SYSTEM, with_networks).await?;
    let steady = daemon.client().await?;
    // One that reads nothing while the edits go on, and one that is away at the end.
    let slow = daemon.client().await?;
    slow.pause().await?;
    let absent = daemon.client().await?;
    let mut before = Resources::new();
    let mut summaries = 0;

    let mut edits = Edits::new(seed);
    for count in 1..=EDITS {
        edits.edit(&cluster).await.with_context(|| format!("edit {count}"))?;
        if count == LEAVES || count == EDITS {
            edits.level(&cluster).await?;
        }
        if count % LOOK == 0 {
            let fresh = settled(&steady, cluster.client(), daemon.options());
            let fresh = fresh.await.with_context(|| format!("after edit {count}"))?;
            summaries += fresh.keys().filter(|(_, name)| name.contains("/SplitHorizonWorkload/")).count();
        }
        if count == LEAVES {
            before = settled(&absent, cluster.client(), daemon.options()).await?;
            absent.disconnect().await?;
        }
    }
    assert!(summaries > 0, "nothing was ever behind a gateway");
    let after = settled(&steady, cluster.client(), daemon.options()).await?;
    slow.resume().await?;
    holds(&slow, &after).await.context("the slow client")?;

    // Another instance makes the same, in every version, of the first answer.
    let other = Daemon::of_cluster_with(&account, SYSTEM, with_networks).await?;
    let fresh = other.client().await?;
    assert_eq!(fresh.with(held_by), after);
    assert_eq!(fresh.with(versions), steady.with(versions));
    assert!(fresh.with(versions).values().all(|version| !version.is_empty()));

    reconnects_to_what_changed(&absent, &other, &before, &after).await?;
    for (who, client) in [("steady", &steady), ("slow", &slow), ("fresh", &fresh), ("absent", &absent)] {
        assert_eq!(client.violations(), [], "{who}");
        let rejects: Vec<_> = client.since(0).into_iter().flat_map(|r| r.rejects).collect();
        assert_eq!(rejects, [], "{who}");
    }
    for (who, client) in [("steady", &steady), ("slow", &slow)] {
        assert_eq!(client.with(|state| state.streams()), 1, "{who}");
        let forgotten = client.with(|state| format!("{:?}", state.forgotten()));
        assert_eq!(forgotten, "[]", "endpoints that did not come again to {who}");
    }
    drop((steady, slow, absent, fresh));
    writes_nothing_in_vain(&cluster, &statuses, daemon, &other).await
}

/// Each write of a status has changed it, whatever the edits; and who takes over writes nothing again.
async fn writes_nothing_in_vain(
    cluster: &Cluster,
    statuses: &Statuses,
    leader: Daemon,
    next: &Daemon,
) -> anyhow::Result<()> {
    leader.leading().await?;
    let counts = statuses.settled().await?;
    // All this says something only if each kind was written often.
    assert!(counts.len() == 4 && counts.values().all(|count| *count > 10), "{counts:?}");
    assert_eq!(next.written(), 0);
    leader.stop().await?;
    let before = statuses.settled().await?;
    next.leading().await?;
    // What is new is written after everything was compared: addresses, conditions, and a condition.
    let with_both = async || {
        let entry = cluster.apply(&entry_without_address_or_waypoint()).await?;
        let has = |part: &str| entry.pointer(&format!("/status/{part}")).is_some();
        Ok((has("addresses") && has("conditions")).then_some(()))
    };
    until(LIMIT, with_both).await.context("no address, or no condition")?;
    let probe = policy("n0", "probe", "a", "DENY", json!([{}]));
    cluster.apply(&probe).await?;
    let with_condition = async || {
        let stored = cluster.apply(&probe).await?;
        Ok(stored.pointer("/status/conditions").is_some().then_some(()))
    };
    until(LIMIT, with_condition).await.context("no condition")?;
    let mut expected = before;
    for (kind, count) in [("authorizationpolicies", 1), ("serviceentries", 2)] {
        *expected.entry(kind).or_default() += count;
    }
    assert_eq!(statuses.settled().await?, expected);
    // It counts a write when it has read the answer.
    until(LIMIT, async || Ok((next.written() >= 3).then_some(()))).await?;
    assert_eq!(next.written(), 3);
    Ok(())
}

/// A ServiceEntry that is given addresses, and told that its waypoint is not there.
fn entry_without_address_or_waypoint() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "probe", "namespace": "n0", "labels": {"istio.io/use-waypoint": "absent"}},
        "spec": {
            "hosts": ["probe.test"], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "192.0.2.1"}],
        },
    })
}

/// A client that held `before` is sent, by an instance that never saw it, only what is another now.
async fn reconnects_to_what_changed(
    client: &Client,
    daemon: &Daemon,
    before: &Resources,
    after: &Resources,
) -> anyhow::Result<()> {
    let mark = client.mark();
    client.reconnect_to(daemon.address()).await?;
    holds(client, after).await.context("the client that was away")?;
    let differing = changed(before, after);
    let names = |kind: ResourceType, is_there: bool| -> BTreeSet<String> {
        let of_kind = differing.iter().filter(|key| key.0 == kind && after.contains_key(key) == is_there);
        of_kind.map(|(_, name)| name.clone()).collect()
    };
    let of_type = |url: &'static str| client.since(mark).into_iter().filter(move |r| r.type_url == url);
    let sent = |url| -> BTreeSet<String> {
        of_type(url).flat_map(|r| r.resources).map(|resource| resource.name).collect()
    };
    let removed = |url| -> BTreeSet<String> { of_type(url).flat_map(|r| r.removed).collect() };
    assert_eq!(sent(type_url::ADDRESS), names(ResourceType::Address, true));
    assert_eq!(removed(type_url::ADDRESS), names(ResourceType::Address, false));
    // Policies have no versions on the wire: all that there are come.
    assert_eq!(removed(type_url::AUTHORIZATION), names(ResourceType::Authorization, false));
    // All this says something only if there was enough of everything.
    let kept = before.iter().filter(|((kind, _), _)| *kind == ResourceType::Address);
    let kept = kept.filter(|(key, bytes)| after.get(*key) == Some(bytes)).count();
    let (changed, vanished) = (names(ResourceType::Address, true), names(ResourceType::Address, false));
    assert!(kept > 5 && changed.len() > 5 && !vanished.is_empty(), "{kept} {changed:?} {vanished:?}");
    Ok(())
}
