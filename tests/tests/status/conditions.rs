//! Conditions: what is written, how often, and what is left alone.

use crate::replica::Replica;
use crate::world::{World, entry, service, waypoint};
use model::Kind;
use serde_json::{Value, json};

const BOUND: &str = "istio.io/WaypointBound";
const WAY: (&str, &str, &str, &str) =
    (BOUND, "True", "WaypointAccepted", "Successfully attached to waypoint shop/way");

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changes_is_written_and_what_others_wrote_stays() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    let way = json!({"istio.io/use-waypoint": "way"});
    let (web, external) = ((Kind::Service, "shop", "web"), (Kind::ServiceEntry, "shop", "ext"));
    let mut ext = entry("shop", "ext", &["ext.test"]);
    ext["metadata"]["labels"] = way.clone();
    ext["spec"]["addresses"] = json!(["192.0.2.9"]);
    world.put(service("shop", "web", way.clone())).await?;
    world.put(ext.clone()).await?;
    let other = json!({
        "type": "Reconciled", "status": "True", "reason": "Fine", "message": "by another",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    });
    for (api, kind, name) in [("v1", "Service", "web"), ("networking.istio.io/v1", "ServiceEntry", "ext")] {
        let status = json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"},
            "status": {"conditions": [other]},
        });
        world.put_status(&status, "another").await?;
    }
    let before = 2;
    world.has_written(before).await?;
    let replica = Replica::start(&world.account, "one").await?;
    let foreign = ("Reconciled", "True", "Fine", "by another");
    let missing = (BOUND, "False", "WaypointIsNotReady", "waypoint \"shop/way\" is not ready");
    for object in [web, external] {
        world.until_conditions(object, &[foreign, missing]).await?;
    }
    world.has_written(before + 2).await?;

    world.put_all(&waypoint("shop", "way", "Same")).await?;
    for object in [web, external] {
        world.until_conditions(object, &[foreign, WAY]).await?;
    }
    world.has_written(before + 4).await?;

    // Edits that change no condition, and then one that does.
    let mut edited = service("shop", "web", way.clone());
    edited["metadata"]["annotations"] = json!({"note": "edited"});
    edited["spec"]["ports"][0]["port"] = json!(81);
    world.put(edited).await?;
    let mut labels = way.clone();
    labels["note"] = json!("edited");
    ext["metadata"]["labels"] = labels;
    world.put(ext.clone()).await?;
    world.put(service("shop", "later", way.clone())).await?;
    world.until_conditions((Kind::Service, "shop", "later"), &[WAY]).await?;
    world.has_written(before + 5).await?;

    // Without a waypoint there is nothing to say.
    world.put(service("shop", "web", json!({}))).await?;
    ext["metadata"]["labels"] = json!({});
    world.put(ext).await?;
    for object in [web, external] {
        world.until_conditions(object, &[foreign]).await?;
    }
    world.has_written(before + 7).await?;
    replica.has_written((7, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_again_under_its_name_gets_its_conditions_again() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    world.put_all(&waypoint("shop", "way", "Same")).await?;
    let web = service("shop", "web", json!({"istio.io/use-waypoint": "way"}));
    world.put(web.clone()).await?;
    let _replica = Replica::start(&world.account, "one").await?;
    for _ in 0..3 {
        world.until_conditions((Kind::Service, "shop", "web"), &[WAY]).await?;
        world.delete(Kind::Service, "shop", "web").await?;
        world.put(web.clone()).await?;
    }
    world.until_conditions((Kind::Service, "shop", "web"), &[WAY]).await
}

const REQUIRED: &str = "pilothouse.io/WaypointRequired";

#[tokio::test(flavor = "multi_thread")]
async fn a_required_waypoint_shows_and_goes_with_the_annotation() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    world.put_all(&waypoint("shop", "way", "Same")).await?;
    let annotated = |mut object: Value, value: Value| {
        object["metadata"]["annotations"] = value;
        object
    };
    let yes = json!({"ambient.pilothouse.io/require-waypoint": "true"});
    let way = json!({"istio.io/use-waypoint": "way"});
    world.put(annotated(service("shop", "web", way.clone()), yes.clone())).await?;
    let mut outside = annotated(entry("shop", "out", &["out.test"]), yes);
    outside["metadata"]["labels"] = way.clone();
    world.put(outside).await?;
    let replica = Replica::start(&world.account, "one").await?;
    let missing = "all connections are refused until waypoint shop/way is attached and has pods";
    let web = (Kind::Service, "shop", "web");
    world.until_conditions(web, &[WAY, (REQUIRED, "True", "WaypointMissing", missing)]).await?;
    let exposed = format!(
        "{missing}; not so at workloads before which no ztunnel of this network stands, or which are a gateway's own"
    );
    let out = (Kind::ServiceEntry, "shop", "out");
    world.until_conditions(out, &[WAY, (REQUIRED, "False", "NotEnforced", &exposed)]).await?;

    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: way, namespace: shop}}";
    world.server.apply(account).await?;
    world
        .put_all(
            "apiVersion: v1
kind: Pod
metadata: {name: way-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: way}}
spec: {serviceAccountName: way, containers: [{name: proxy, image: proxy}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
",
        )
        .await?;
    let guarded = "connections are refused unless they come from waypoint shop/way";
    world.until_conditions(web, &[WAY, (REQUIRED, "True", "Guarded", guarded)]).await?;

    world.put(service("shop", "web", way)).await?;
    world.until_conditions(web, &[WAY]).await?;
    replica.stop().await
}
