//! How many nodes have acknowledged a policy, as its status tells.

use crate::fixture::Fixture;
use crate::replica::Replica;
use anyhow::Context;
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Options, State, Target, transport};
use pilothouse_tests::statuses::Statuses;
use runtime::controllers::ReportIntervals;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;

const DISTRIBUTED: &str = "pilothouse.io/Distributed";
const ACCEPTED: (&str, &str, &str) = ("ZtunnelAccepted", "True", "Accepted");
const POLICY: Kind = Kind::AuthorizationPolicy;

/// Long enough for a busy machine to acknowledge, short enough for a test.
const INTERVALS: ReportIntervals = ReportIntervals {
    awaiting: Duration::from_millis(200),
    idle: Duration::from_secs(1),
    settle: Duration::from_secs(5),
    refresh: Duration::from_secs(600),
};

fn policy(name: &str, port: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"action": "ALLOW", "rules": [{"to": [{"operation": {"ports": [port]}}]}]},
    })
}

/// Waits until the condition of a policy is this, and its message tells that `have` of `all` nodes have it and
/// then names these nodes in this order. How the message is worded is for the unit tests of its writer.
/// Returns the message.
async fn until_told(
    fixture: &Fixture,
    name: &str,
    (status, reason): (&str, &str),
    (have, all): (usize, usize),
    nodes: &[&str],
) -> anyhow::Result<String> {
    let mut last = Vec::new();
    let is_told = async || {
        last = fixture.conditions(POLICY, "shop", name).await?;
        let [(kind, s, r, _), (own, own_status, own_reason, message)] = last.as_slice() else {
            return Ok(None);
        };
        let is_accepted = (kind.as_str(), s.as_str(), r.as_str()) == ACCEPTED;
        let is_own =
            (own.as_str(), own_status.as_str(), own_reason.as_str()) == (DISTRIBUTED, status, reason);
        let words = || message.split(|c: char| !c.is_alphanumeric());
        let counts: Vec<usize> = words().filter_map(|word| word.parse().ok()).take(2).collect();
        let is_node = |word: &&str| word.strip_prefix('n').is_some_and(|n| n.parse::<u8>().is_ok());
        let is_right = is_accepted
            && is_own
            && counts == [have, all]
            && words().filter(is_node).eq(nodes.iter().copied());
        Ok(is_right.then(|| message.clone()))
    };
    let waited = until(LIMIT, is_told).await;
    waited.with_context(|| {
        format!("{name}: {last:#?} instead of {status} {reason}, {have} of {all}, {nodes:?}")
    })
}

/// The generation of the policy that its status tells of.
async fn generation(fixture: &Fixture, name: &str) -> anyhow::Result<Option<i64>> {
    let object = fixture.get(POLICY, "shop", name).await?;
    let all = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let said = all.iter().find(|condition| condition["type"] == DISTRIBUTED);
    Ok(said.and_then(|condition| condition["observedGeneration"].as_i64()))
}

/// How many statuses of policies were written, each with another content than before.
///
/// An edit costs two writes, or one if all nodes have the policy when it is looked at first.
async fn writes(statuses: &Statuses) -> anyhow::Result<u64> {
    let counts = statuses.settled().await?;
    Ok(counts.into_values().sum())
}

async fn version(fixture: &Fixture, name: &str) -> anyhow::Result<String> {
    let object = fixture.get(POLICY, "shop", name).await?;
    Ok(object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_all_nodes_have_says_so_once_and_nodes_that_come_and_go_write_nothing()
-> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let statuses = Statuses::watch(&fixture.client).await?;
    let replica = Replica::start_at(&fixture.account, "one", INTERVALS).await?;
    replica.leading().await?;
    let mut clients = Vec::new();
    for node in ["n1", "n2", "n3"] {
        clients.push(replica.client(node).await?);
    }
    replica.until_nodes(&["n1", "n2", "n3"]).await?;
    fixture.put(policy("allow", "80")).await?;
    until_told(&fixture, "allow", ("True", "Acknowledged"), (3, 3), &[]).await?;
    let written = writes(&statuses).await?;
    assert!((1..=2).contains(&written), "{written}");
    let before = version(&fixture, "allow").await?;

    clients.push(replica.client("n4").await?);
    clients.push(replica.client("n5").await?);
    // A ztunnel that comes again, and one whose node has it no more.
    clients[0].reconnect().await?;
    clients.remove(1);
    replica.until_nodes(&["n1", "n3", "n4", "n5"]).await?;
    fixture.put(policy("later", "81")).await?;
    until_told(&fixture, "later", ("True", "Acknowledged"), (4, 4), &[]).await?;
    assert_eq!(version(&fixture, "allow").await?, before);
    let written = writes(&statuses).await? - written;
    assert!((1..=2).contains(&written), "{written}");

    // An edit: accepted, and acknowledged, as of the new generation.
    fixture.put(policy("allow", "82")).await?;
    let is_new = async || Ok(generation(&fixture, "allow").await?.filter(|generation| *generation == 2));
    until(LIMIT, is_new).await?;
    until_told(&fixture, "allow", ("True", "Acknowledged"), (4, 4), &[]).await?;
    let written = writes(&statuses).await?;
    replica.has_written((written, 0)).await?;

    // For waypoints: what was said of ztunnels goes with the other condition.
    let mut targeted = policy("later", "81");
    targeted["spec"]["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "absent"}]);
    fixture.put(targeted).await?;
    let waypoint = ("WaypointAccepted", "False", "TargetNotFound");
    fixture.until_conditions(replica.engine(), (POLICY, "shop", "later"), &[waypoint]).await?;
    Ok(())
}

/// A ztunnel that refuses the first version of a policy that it is sent, and takes all else.
async fn refusing(options: Options, name: &'static str) -> anyhow::Result<JoinHandle<()>> {
    let mut state = State::new(false);
    let target = Target { address: options.address, ..Target::default() };
    let mut wire = transport::open(&target, state.initial_requests(&options.node)).await?;
    let run = async move {
        let mut has_refused = false;
        while let Ok(Some(response)) = wire.responses.message().await {
            let mut reply = state.apply(&response);
            if !has_refused && state.received().last().is_some_and(|r| r.names().contains(&name)) {
                has_refused = true;
                let message = format!("{name}: \"odd\"\n\tfield");
                reply.error_detail = Some(proto::rpc::Status { message, ..Default::default() });
            }
            let _ = wire.requests.send(reply);
        }
    };
    Ok(tokio::spawn(run))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_a_policy_is_named_at_once_with_its_reason() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let statuses = Statuses::watch(&fixture.client).await?;
    // A refusal is told at once, and put right when it is refreshed.
    let intervals = ReportIntervals { refresh: Duration::from_secs(1), ..INTERVALS };
    let replica = Replica::start_at(&fixture.account, "one", intervals).await?;
    replica.leading().await?;
    let good = replica.client("n1").await?;
    let bad = refusing(replica.ztunnel("n2"), "shop/odd").await?;
    replica.until_nodes(&["n1", "n2"]).await?;
    fixture.put(policy("fine", "80")).await?;
    until_told(&fixture, "fine", ("True", "Acknowledged"), (2, 2), &[]).await?;
    good.pause().await?;
    fixture.put(policy("odd", "81")).await?;
    // Control characters of the node's own text are written out.
    let refusal = "shop/odd: \"odd\"\\n\\tfield";
    let rejected = ("False", "Rejected");
    let told = until_told(&fixture, "odd", rejected, (0, 2), &["n1", "n2"]).await?;
    assert!(told.ends_with(refusal), "{told}");
    good.resume().await?;
    let told = until_told(&fixture, "odd", rejected, (1, 2), &["n2"]).await?;
    assert!(told.ends_with(refusal), "{told}");
    // What it did not name, it has taken.
    fixture.put(policy("other", "82")).await?;
    until_told(&fixture, "other", ("True", "Acknowledged"), (2, 2), &[]).await?;
    fixture.put(policy("odd", "83")).await?;
    until_told(&fixture, "odd", ("True", "Acknowledged"), (2, 2), &[]).await?;
    // One or two for a policy, and one that says later who else has what was refused.
    let written = writes(&statuses).await?;
    assert!((5..=9).contains(&written), "{written}");
    assert_eq!(good.violations(), []);
    bad.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_keeps_a_policy_pending_and_is_named() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let statuses = Statuses::watch(&fixture.client).await?;
    let replica = Replica::start_at(&fixture.account, "one", INTERVALS).await?;
    replica.leading().await?;
    let (_swift, silent) = (replica.client("n1").await?, replica.client("n2").await?);
    silent.pause().await?;
    fixture.put(policy("allow", "80")).await?;
    until_told(&fixture, "allow", ("False", "Pending"), (1, 2), &["n2"]).await?;
    // Pending is said later than that it is accepted, and acknowledged after that.
    assert_eq!(writes(&statuses).await?, 2);
    silent.resume().await?;
    until_told(&fixture, "allow", ("True", "Acknowledged"), (2, 2), &[]).await?;
    assert_eq!(writes(&statuses).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_leaves_what_all_nodes_of_the_other_had() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let statuses = Statuses::watch(&fixture.client).await?;
    let kubeconfig = &fixture.account;
    let first = Replica::start_at(kubeconfig, "one", INTERVALS).await?;
    first.leading().await?;
    let second = Replica::start_at(kubeconfig, "two", INTERVALS).await?;
    let clients = [first.client("n1").await?, first.client("n2").await?, second.client("n3").await?];
    fixture.put(policy("allow", "80")).await?;
    // Those of the replica that writes count, and no others.
    until_told(&fixture, "allow", ("True", "Acknowledged"), (2, 2), &[]).await?;
    let (written, before) = (writes(&statuses).await?, version(&fixture, "allow").await?);
    clients[0].disconnect().await?;
    clients[1].disconnect().await?;
    drop(first);
    second.leading().await?;
    fixture.put(policy("later", "81")).await?;
    until_told(&fixture, "later", ("True", "Acknowledged"), (1, 1), &[]).await.context("by the second")?;
    assert_eq!(version(&fixture, "allow").await?, before);
    let written = writes(&statuses).await? - written;
    second.has_written((written, 0)).await
}
