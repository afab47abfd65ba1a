//! Conditions: what is written, how often, and what is left alone.

use crate::fixture::{Fixture, Summary, entry, service, waypoint};
use crate::replica::Replica;
use model::Kind;
use serde_json::{Value, json};

const BOUND: &str = "istio.io/WaypointBound";
const WAY: Summary<'static> = (BOUND, "True", "WaypointAccepted");

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changes_is_written_and_what_others_wrote_stays() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let way = json!({"istio.io/use-waypoint": "way"});
    let (web, external) = ((Kind::Service, "shop", "web"), (Kind::ServiceEntry, "shop", "ext"));
    let mut ext = entry("shop", "ext", &["ext.test"]);
    ext["metadata"]["labels"] = way.clone();
    ext["spec"]["addresses"] = json!(["192.0.2.9"]);
    fixture.put(service("shop", "web", way.clone())).await?;
    fixture.put(ext.clone()).await?;
    let other = json!({
        "type": "Reconciled", "status": "True", "reason": "Fine", "message": "by another",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    });
    for (api, kind, name) in [("v1", "Service", "web"), ("networking.istio.io/v1", "ServiceEntry", "ext")] {
        let status = json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"},
            "status": {"conditions": [other]},
        });
        fixture.put_status(&status, "another").await?;
    }
    let before = 2;
    fixture.has_written(before).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let foreign = ("Reconciled", "True", "Fine", "by another");
    let missing = (BOUND, "False", "WaypointIsNotReady");
    for object in [web, external] {
        fixture.until_conditions_beside(replica.engine(), object, &[missing], &[foreign]).await?;
    }
    fixture.has_written(before + 2).await?;

    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    for object in [web, external] {
        fixture.until_conditions_beside(replica.engine(), object, &[WAY], &[foreign]).await?;
    }
    fixture.has_written(before + 4).await?;

    // Edits that change no condition, and then one that does.
    let mut edited = service("shop", "web", way.clone());
    edited["metadata"]["annotations"] = json!({"note": "edited"});
    edited["spec"]["ports"][0]["port"] = json!(81);
    fixture.put(edited).await?;
    let mut labels = way.clone();
    labels["note"] = json!("edited");
    ext["metadata"]["labels"] = labels;
    fixture.put(ext.clone()).await?;
    fixture.put(service("shop", "later", way.clone())).await?;
    fixture.until_conditions(replica.engine(), (Kind::Service, "shop", "later"), &[WAY]).await?;
    fixture.has_written(before + 5).await?;

    // Without a waypoint there is nothing to say.
    fixture.put(service("shop", "web", json!({}))).await?;
    ext["metadata"]["labels"] = json!({});
    fixture.put(ext).await?;
    for object in [web, external] {
        fixture.until_conditions_beside(replica.engine(), object, &[], &[foreign]).await?;
    }
    fixture.has_written(before + 7).await?;
    replica.has_written((7, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_again_under_its_name_gets_its_conditions_again() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    let web = service("shop", "web", json!({"istio.io/use-waypoint": "way"}));
    fixture.put(web.clone()).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    for _ in 0..3 {
        fixture.until_conditions(replica.engine(), (Kind::Service, "shop", "web"), &[WAY]).await?;
        fixture.delete(Kind::Service, "shop", "web").await?;
        fixture.put(web.clone()).await?;
    }
    fixture.until_conditions(replica.engine(), (Kind::Service, "shop", "web"), &[WAY]).await
}

const REQUIRED: &str = "pilothouse.io/WaypointRequired";

#[tokio::test(flavor = "multi_thread")]
async fn a_required_waypoint_shows_and_goes_with_the_annotation() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    let annotated = |mut object: Value, value: Value| {
        object["metadata"]["annotations"] = value;
        object
    };
    let yes = json!({"ambient.pilothouse.io/require-waypoint": "true"});
    let way = json!({"istio.io/use-waypoint": "way"});
    fixture.put(annotated(service("shop", "web", way.clone()), yes.clone())).await?;
    let mut outside = annotated(entry("shop", "out", &["out.test"]), yes);
    outside["metadata"]["labels"] = way.clone();
    fixture.put(outside).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let web = (Kind::Service, "shop", "web");
    let missing = (REQUIRED, "True", "WaypointMissing");
    fixture.until_conditions(replica.engine(), web, &[WAY, missing]).await?;
    let out = (Kind::ServiceEntry, "shop", "out");
    fixture.until_conditions(replica.engine(), out, &[WAY, (REQUIRED, "False", "NotEnforced")]).await?;

    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: way, namespace: shop}}";
    fixture.server.apply(account).await?;
    fixture
        .put_all(
            "apiVersion: v1
kind: Pod
metadata: {name: way-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: way}}
spec: {serviceAccountName: way, containers: [{name: proxy, image: proxy}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
",
        )
        .await?;
    fixture.until_conditions(replica.engine(), web, &[WAY, (REQUIRED, "True", "Guarded")]).await?;

    fixture.put(service("shop", "web", way)).await?;
    fixture.until_conditions(replica.engine(), web, &[WAY]).await?;
    replica.stop().await
}
