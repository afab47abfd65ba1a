//! Statuses of the Gateway API: all that is ours of an object in one write, by the revision that owns it.

use crate::fixture::{Fixture, class};
use crate::replica::Replica;
use anyhow::{Context, ensure};
use model::{Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::statuses::{Counts, writes_of};
use runtime::engine_thread::EngineHandle;
use serde_json::{Value, json};

/// The plurals of the kinds that are written here.
const PLURALS: [&str; 3] = ["gatewayclasses", "gateways", "httproutes"];

fn gateway(ns: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "spec": {
            "gatewayClassName": "istio",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "hostname": "a.example.com"}],
        },
    })
}

fn route(ns: &str, name: &str, gateway: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": ns},
        "spec": {"parentRefs": [{"name": gateway}], "rules": [{}]},
    })
}

/// Waits until the status of an object is what the mesh computed for its latest generation; returns the object.
pub async fn until_written(
    fixture: &Fixture,
    mesh: &EngineHandle,
    (kind, ns, name): (Kind, &str, &str),
) -> anyhow::Result<Value> {
    let mut last = (None, Value::Null);
    let is_written = async || {
        let object = ObjectRef { kind, name: Name::new(ns, name) };
        let desired =
            mesh.query(move |mesh| mesh.conditions_of(&object)).await.context("the engine ended")?;
        let stored = fixture.get(kind, ns, name).await?;
        let is_written = desired.as_ref().is_some_and(|desired| {
            stored["metadata"]["generation"] == desired.generation
                && desired.merged_into(&stored["status"], &[], "").is_none()
        });
        last = (desired, stored.clone());
        Ok(is_written.then_some(stored))
    };
    let waited = until(LIMIT, is_written).await;
    waited.with_context(|| format!("{kind} {ns}/{name} is {}, not {:?}", last.1, last.0))
}

/// Checks that every condition of an object that has an observed generation has the latest.
fn is_of_latest_generation(object: &Value) -> anyhow::Result<()> {
    let generation = &object["metadata"]["generation"];
    let lists = ["/status/listeners", "/status/parents"].map(|at| object.pointer(at));
    let entries = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
    let all = entries.chain([&object["status"]]).filter_map(|of| of["conditions"].as_array()).flatten();
    for condition in all.filter(|condition| **condition != foreign()) {
        ensure!(condition["observedGeneration"] == *generation, "{condition} of generation {generation}");
    }
    Ok(())
}

fn foreign() -> Value {
    json!({
        "type": "example.com/Seen", "status": "True", "reason": "Seeded", "message": "by another",
        "lastTransitionTime": "2020-01-01T00:00:00Z", "observedGeneration": 1,
    })
}

/// Tells whether the condition of another is among those of a status or an entry, as it was.
fn has_foreign(of: &Value) -> bool {
    of["conditions"].as_array().is_some_and(|conditions| conditions.contains(&foreign()))
}

/// Waits until the API server has counted these writes of statuses, in the order of the plurals, and checks that it
/// has counted no more.
async fn has_written(fixture: &Fixture, expected: [u64; 3]) -> anyhow::Result<()> {
    let mut last = [0; 3];
    let count = async || {
        let counts: Counts = writes_of(&fixture.client, PLURALS).await?;
        last = PLURALS.map(|plural| counts.get(plural).copied().unwrap_or_default());
        Ok(last.iter().zip(expected).all(|(count, least)| *count >= least).then_some(()))
    };
    let waited = until(LIMIT, count).await;
    waited.with_context(|| format!("{last:?} writes of {PLURALS:?} instead of {expected:?}"))?;
    ensure!(last == expected, "{last:?} writes of {PLURALS:?} instead of {expected:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_merged_in_one_write_and_what_others_wrote_stays_to_the_bit() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let ours = "istio.io/gateway-controller";
    let of = |name: &str, controller: &str| {
        let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name});
        json!({"parentRef": parent, "controllerName": controller, "conditions": [foreign()]})
    };
    let mut gw = gateway("shop", "gw", json!({}));
    let seeded = json!({
        "conditions": [foreign()],
        "listeners": [{"name": "http", "attachedRoutes": 7, "supportedKinds": [], "conditions": [foreign()]}],
    });
    gw["status"] = seeded;
    let mut r = route("shop", "r", "gw");
    r["status"] = json!({"parents": [of("gw", "example.com/other"), of("gone", ours)]});
    for object in [&gw, &r] {
        fixture.put_all(&object.to_string()).await?;
    }
    let replica = Replica::start(&fixture.account, "one").await?;
    let (of_gateway, of_route) = ((Kind::Gateway, "shop", "gw"), (Kind::HTTPRoute, "shop", "r"));
    let stored = until_written(&fixture, replica.engine(), of_gateway).await?;
    is_of_latest_generation(&stored)?;
    let listener = &stored["status"]["listeners"][0];
    assert!(has_foreign(&stored["status"]) && has_foreign(listener), "{stored}");
    assert_eq!(listener["attachedRoutes"], 1);
    let stored = until_written(&fixture, replica.engine(), of_route).await?;
    is_of_latest_generation(&stored)?;
    let parents = stored["status"]["parents"].as_array().context("no parents")?;
    assert_eq!(parents.len(), 2, "{parents:#?}");
    assert_eq!(parents[0], of("gw", "example.com/other"));
    // Two classes are ours; of the others one write seeded each, and one is ours.
    has_written(&fixture, [2, 2, 2]).await?;

    // What changes nothing of it, and what does.
    let mut noted = gateway("shop", "gw", json!({"note": "edited"}));
    fixture.put(noted.clone()).await?;
    let mut edited = route("shop", "r", "gw");
    edited["spec"]["hostnames"] = json!(["b.example.com"]);
    fixture.put(edited).await?;
    let stored = until_written(&fixture, replica.engine(), of_route).await?;
    let accepted = stored.pointer("/status/parents/1/conditions/0/reason");
    assert_eq!(accepted, Some(&json!("NoMatchingListenerHostname")));
    // The listener has lost its route.
    until_written(&fixture, replica.engine(), of_gateway).await?;
    has_written(&fixture, [2, 3, 3]).await?;
    noted["spec"]["listeners"][0]["hostname"] = json!("b.example.com");
    fixture.put(noted).await?;
    let stored = until_written(&fixture, replica.engine(), of_gateway).await?;
    is_of_latest_generation(&stored)?;
    let listener = &stored["status"]["listeners"][0];
    assert!(has_foreign(&stored["status"]) && has_foreign(listener), "{stored}");
    assert_eq!(listener["attachedRoutes"], 1);
    until_written(&fixture, replica.engine(), of_route).await?;
    has_written(&fixture, [2, 4, 4]).await?;

    // The next one compares all of it, and then one more thing changes: nothing else is written.
    replica.stop().await?;
    let second = Replica::start(&fixture.account, "two").await?;
    fixture.put(route("shop", "late", "gw")).await?;
    until_written(&fixture, second.engine(), (Kind::HTTPRoute, "shop", "late")).await?;
    until_written(&fixture, second.engine(), of_gateway).await?;
    has_written(&fixture, [2, 5, 5]).await?;

    // Addresses lead traffic of others to a gateway: those that somebody else writes are replaced at once.
    let mut redirected = gateway("shop", "gw", json!({}));
    redirected["status"] = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.66"}]});
    fixture.put_status(&redirected, "another").await?;
    has_written(&fixture, [2, 7, 5]).await?;
    let stored = until_written(&fixture, second.engine(), of_gateway).await?;
    assert_eq!(stored["status"]["addresses"], json!([]), "{stored}");
    second.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_revisions_write_each_its_own_and_none_fights_for_what_has_moved() -> anyhow::Result<()> {
    let blue = json!({"istio.io/rev": "blue"});
    let fixture = Fixture::start(&[("shop", json!({})), ("azure", blue.clone())]).await?;
    let objects = [
        gateway("shop", "plain", json!({})),
        gateway("shop", "labelled", blue.clone()),
        gateway("azure", "inherits", json!({})),
    ];
    for object in objects {
        fixture.put(object).await?;
    }
    let kubeconfig = fixture.server.kubeconfig();
    let one = Replica::start(&kubeconfig, "one").await?;
    let two =
        Replica::start_with(&kubeconfig, "two", |settings| settings.revision = "blue".to_owned()).await?;
    until_written(&fixture, one.engine(), (Kind::Gateway, "shop", "plain")).await?;
    until_written(&fixture, two.engine(), (Kind::Gateway, "shop", "labelled")).await?;
    until_written(&fixture, two.engine(), (Kind::Gateway, "azure", "inherits")).await?;
    for class in ["istio", "istio-waypoint"] {
        until_written(&fixture, one.engine(), (Kind::GatewayClass, "", class)).await?;
    }
    has_written(&fixture, [2, 3, 0]).await?;

    // One object moves; the other revision takes over what it finds, and writes what is new.
    fixture.put(gateway("shop", "plain", blue.clone())).await?;
    until_written(&fixture, two.engine(), (Kind::Gateway, "shop", "plain")).await?;
    let mut edited = gateway("shop", "plain", blue);
    edited["spec"]["listeners"][0]["port"] = json!(81);
    fixture.put(edited).await?;
    let stored = until_written(&fixture, two.engine(), (Kind::Gateway, "shop", "plain")).await?;
    is_of_latest_generation(&stored)?;
    // Both have heard of the edit by what follows it.
    fixture.put(gateway("shop", "last", json!({}))).await?;
    until_written(&fixture, one.engine(), (Kind::Gateway, "shop", "last")).await?;
    has_written(&fixture, [2, 5, 0]).await?;
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_are_made_where_they_are_absent_and_left_alone_otherwise() -> anyhow::Result<()> {
    let fixture = Fixture::without_classes(&[]).await?;
    fixture.put(class("istio-waypoint", "example.com/other")).await?;
    fixture.put(class("mine", "istio.io/gateway-controller")).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let made = until_written_class(&fixture, &replica, "istio").await?;
    assert_eq!(made["spec"]["controllerName"], "istio.io/gateway-controller");
    until_written_class(&fixture, &replica, "mine").await?;
    fixture.delete(Kind::GatewayClass, "", "istio").await?;
    let again = until_written_class(&fixture, &replica, "istio").await?;
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"]);
    let other = fixture.get(Kind::GatewayClass, "", "istio-waypoint").await?;
    assert_eq!(other["spec"]["controllerName"], "example.com/other");
    assert_eq!(other.pointer("/status/conditions/0/reason"), Some(&json!("Pending")));
    has_written(&fixture, [3, 0, 0]).await?;
    replica.stop().await
}

/// As [`until_written`], of a class that may not be there yet.
async fn until_written_class(fixture: &Fixture, replica: &Replica, name: &str) -> anyhow::Result<Value> {
    let is_there = async || Ok(fixture.get(Kind::GatewayClass, "", name).await.ok().map(drop));
    until(LIMIT, is_there).await.with_context(|| format!("there is no class {name}"))?;
    until_written(fixture, replica.engine(), (Kind::GatewayClass, "", name)).await
}
