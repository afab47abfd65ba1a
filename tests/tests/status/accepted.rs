//! What is said of entries of which not all is sent.

use crate::case::{Cases, and, named, no_address};
use crate::replica::Replica;
use crate::world::{Text, World, entry, service, waypoint};
use model::Kind;
use serde_json::{Value, json};

const ACCEPTED: &str = "pilothouse.io/Accepted";
const PUBLIC: Text<'static> =
    ("istio.io/VisibilityApplied", "True", "Public", "ServiceEntry is visible to the entire mesh (PUBLIC).");
const BOUND: Text<'static> =
    ("istio.io/WaypointBound", "True", "WaypointAccepted", "Successfully attached to waypoint shop/way");
const BY_ENTRY: Text<'static> =
    (ACCEPTED, "False", "HostTaken", "host \"taken.test\" is that of ServiceEntry shop/first");
const BY_SERVICE: Text<'static> =
    (ACCEPTED, "False", "HostTaken", "host \"web.shop.svc.cluster.local\" is that of Service shop/web");
const BY_BOTH: Text<'static> = (
    ACCEPTED,
    "False",
    "HostTaken",
    "host \"taken.test\" is that of ServiceEntry shop/first; host \"web.shop.svc.cluster.local\" is that of Service shop/web",
);
const INVALID: Text<'static> = (
    ACCEPTED,
    "False",
    "AddressInvalid",
    "nothing of it is sent: address \"nonsense\" is neither an IP address nor a range of them",
);
const HIDDEN: Text<'static> = (
    ACCEPTED,
    "False",
    "NotVisible",
    "nothing of it is sent: serviceEntryVisibility of the mesh settings hides it from everybody",
);
const WEB: &str = "web.shop.svc.cluster.local";

/// Entries of namespaces with the label `seen: nobody` are hidden.
const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    serviceEntryVisibility:
      defaultVisibility: PUBLIC
      policies:
      - visibility: NONE
        matchingRules: [{namespaceSelector: {matchLabels: {seen: nobody}}}]
";

/// An entry of these hosts that takes no address.
fn plain(ns: &str, name: &str, hosts: &[&str]) -> Value {
    named(entry(ns, name, hosts), no_address(), json!({}))
}

fn with_addresses(mut object: Value, addresses: Value) -> Value {
    object["spec"]["addresses"] = addresses;
    object
}

async fn world() -> anyhow::Result<World> {
    World::start(&[("shop", json!({})), ("dark", json!({"seen": "nobody"}))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_wholly_sent_is_told_once_why() -> anyhow::Result<()> {
    let world = world().await?;
    let mut cases = Cases::default();
    cases.with(SETTINGS);
    cases.with(&waypoint("shop", "way", "Same"));
    cases.add(service("shop", "web", json!({})), &[]);
    // The first one is the older one, or else the one before in the alphabet.
    cases.add(plain("shop", "first", &["taken.test"]), &[PUBLIC]);
    cases.add(plain("shop", "second", &["taken.test"]), &[BY_ENTRY]);
    cases.add(plain("shop", "web", &[WEB]), &[BY_SERVICE]);
    // What is left of it is sent.
    let way = and(&no_address(), json!({"istio.io/use-waypoint": "way"}));
    let partly = named(entry("shop", "some", &["own.test", "taken.test", WEB]), way, json!({}));
    cases.add(partly, &[BY_BOTH, BOUND, PUBLIC]);
    // Another namespace has hosts of its own.
    cases.add(plain("istio-system", "other", &["taken.test"]), &[PUBLIC]);
    let invalid = with_addresses(plain("shop", "wrong", &["wrong.test"]), json!(["192.0.2.9", "nonsense"]));
    cases.add(invalid, &[INVALID]);
    cases.add(plain("dark", "hidden", &["hidden.test"]), &[HIDDEN]);
    cases.check(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_goes_and_takes_the_condition_along() -> anyhow::Result<()> {
    let world = world().await?;
    world.put_all(SETTINGS).await?;
    world.put(service("shop", "web", json!({}))).await?;
    for (name, hosts) in [("first", vec!["taken.test"]), ("second", vec!["taken.test"]), ("web", vec![WEB])] {
        world.put(plain("shop", name, &hosts)).await?;
    }
    let wrong = plain("shop", "wrong", &["wrong.test"]);
    world.put(with_addresses(wrong.clone(), json!(["nonsense"]))).await?;
    world.put(plain("dark", "hidden", &["hidden.test"])).await?;
    let replica = Replica::start(&world.account, "one").await?;
    let of = |ns, name| (Kind::ServiceEntry, ns, name);
    world.until_conditions(of("shop", "first"), &[PUBLIC]).await?;
    world.until_conditions(of("shop", "second"), &[BY_ENTRY]).await?;
    world.until_conditions(of("shop", "web"), &[BY_SERVICE]).await?;
    world.until_conditions(of("shop", "wrong"), &[INVALID]).await?;
    world.until_conditions(of("dark", "hidden"), &[HIDDEN]).await?;
    world.has_written(5).await?;

    // The address is wrong in another way, and then right.
    world.put(with_addresses(wrong.clone(), json!(["192.0.2.0/33"]))).await?;
    let other =
        "nothing of it is sent: address \"192.0.2.0/33\" is neither an IP address nor a range of them";
    world.until_conditions(of("shop", "wrong"), &[(ACCEPTED, "False", "AddressInvalid", other)]).await?;
    world.has_written(6).await?;
    world.put(with_addresses(wrong, json!(["192.0.2.9"]))).await?;
    world.until_conditions(of("shop", "wrong"), &[PUBLIC]).await?;
    world.delete(Kind::ServiceEntry, "shop", "first").await?;
    world.until_conditions(of("shop", "second"), &[PUBLIC]).await?;
    world.delete(Kind::Service, "shop", "web").await?;
    world.until_conditions(of("shop", "web"), &[PUBLIC]).await?;
    world
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dark", "labels": {}}}))
        .await?;
    world.until_conditions(of("dark", "hidden"), &[PUBLIC]).await?;
    world.has_written(10).await?;

    // And one comes back, with its taker.
    world.put(service("shop", "web", json!({}))).await?;
    world.until_conditions(of("shop", "web"), &[BY_SERVICE]).await?;
    world.has_written(11).await?;
    replica.has_written((11, 0)).await?;
    replica.stop().await
}
