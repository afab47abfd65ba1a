//! Objects of kinds that are known and not read say in a condition that nothing of them is active.

use crate::fixture::Fixture;
use crate::replica::Replica;
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, known_crds, until};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

const ACCEPTED: (&str, &str, &str) = ("pilothouse.io/Accepted", "False", "KindNotRead");
const OTHER: (&str, &str, &str) = ("Reconciled", "True", "Passed");

/// An API server that has two of the kinds, with objects of them.
async fn fixture() -> anyhow::Result<Fixture> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let known = tokio::task::spawn_blocking(known_crds).await??;
    for definition in known.istio {
        if ["Sidecar", "EnvoyFilter"].contains(&definition.spec.names.kind.as_str()) {
            fixture.server.apply(&serde_yaml::to_string(&definition)?).await?;
        }
    }
    Ok(fixture)
}

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "shop"});
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
}

fn path(object: &Value) -> String {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let plural = format!("{}s", text("/kind").to_ascii_lowercase());
    format!("/apis/{}/namespaces/shop/{plural}/{}", text("/apiVersion"), text("/metadata/name"))
}

/// Merges a part of an object into it.
async fn patch(fixture: &Fixture, object: &Value, part: &str, patch: Value) -> anyhow::Result<()> {
    let request = http::Request::patch(format!("{}{part}", path(object)))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())?;
    fixture.client.request::<Value>(request).await?;
    Ok(())
}

/// Waits until an object has these conditions, each of its own of this generation.
async fn until_conditions(
    fixture: &Fixture,
    object: &Value,
    expected: &[(&str, &str, &str)],
    generation: i64,
) -> anyhow::Result<()> {
    let mut found = Value::Null;
    let are_there = async || {
        found = fixture.client.request::<Value>(http::Request::get(path(object)).body(Vec::new())?).await?;
        let all = found.pointer("/status/conditions").and_then(Value::as_array);
        let summaries: Vec<_> = all
            .into_iter()
            .flatten()
            .map(|of| {
                let text = |field: &str| of[field].as_str().unwrap_or_default();
                (text("type"), text("status"), text("reason"))
            })
            .collect();
        let own = all.into_iter().flatten().find(|of| of["type"] == ACCEPTED.0);
        let is_of_generation = own.is_none_or(|of| of["observedGeneration"] == generation);
        Ok((summaries == expected && is_of_generation).then_some(()))
    };
    let waited = until(LIMIT, are_there).await;
    waited.with_context(|| format!("{found:#} instead of {expected:?} of generation {generation}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_kind_that_is_not_read_says_so_until_it_is_of_another_revision() -> anyhow::Result<()>
{
    let fixture = fixture().await?;
    let sidecar = object("networking.istio.io/v1", "Sidecar", "default", json!({}));
    let filter = object("networking.istio.io/v1alpha3", "EnvoyFilter", "lua", json!({}));
    let mut green = object("networking.istio.io/v1", "Sidecar", "green", json!({}));
    green["metadata"]["labels"] = json!({"istio.io/rev": "green"});
    for object in [&sidecar, &filter, &green] {
        fixture.server.apply(&object.to_string()).await?;
    }
    let other = json!({"type": OTHER.0, "status": OTHER.1, "reason": OTHER.2});
    patch(&fixture, &sidecar, "/status", json!({"status": {"conditions": [other]}})).await?;

    let replica = Replica::start_with(&fixture.account, "one", |settings| {
        settings.revision = "blue".to_owned();
        settings.relist_interval = Duration::from_millis(300);
    })
    .await?;
    until_conditions(&fixture, &sidecar, &[OTHER, ACCEPTED], 1).await?;
    until_conditions(&fixture, &filter, &[ACCEPTED], 1).await?;

    // Of another content it is said again; an object that goes to another revision loses the condition.
    patch(&fixture, &filter, "", json!({"spec": {"priority": 1}})).await?;
    until_conditions(&fixture, &filter, &[ACCEPTED], 2).await?;
    patch(&fixture, &sidecar, "", json!({"metadata": {"labels": {"istio.io/rev": "green"}}})).await?;
    until_conditions(&fixture, &sidecar, &[OTHER], 1).await?;
    until_conditions(&fixture, &green, &[], 1).await?;

    // Each change was one write. What was written is looked at once more, and then left alone.
    let stats = replica.stats();
    let looked = async || Ok((stats.unread.unchanged.load(Ordering::Relaxed) >= 2).then_some(()));
    until(LIMIT, looked).await?;
    let counters = || [&stats.unread.written, &stats.unread.failed].map(|of| of.load(Ordering::Relaxed));
    assert_eq!(counters(), [4, 0]);
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_kind_that_has_come_to_be_read_has_its_own_condition_in_place_of_the_former()
-> anyhow::Result<()> {
    let fixture = fixture().await?;
    let route = object("networking.istio.io/v1", "VirtualService", "reviews", json!({"hosts": ["reviews"]}));
    fixture.server.apply(&route.to_string()).await?;
    let condition = |(kind, status, reason): (&str, &str, &str)| json!({"type": kind, "status": status, "reason": reason, "observedGeneration": 1});
    let former = json!([condition(ACCEPTED), condition(OTHER)]);
    patch(&fixture, &route, "/status", json!({"status": {"conditions": former}})).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let own = ("pilothouse.io/Accepted", "False", "NoMatchingHost");
    until_conditions(&fixture, &route, &[own, OTHER], 1).await?;
    replica.stop().await
}
