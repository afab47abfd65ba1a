//! What is said of entries of which not all is sent.

use crate::fixture::{Fixture, Summary, entry, service, unaddressed};
use crate::replica::Replica;
use model::Kind;
use serde_json::{Value, json};

const PUBLIC: Summary<'static> = ("istio.io/VisibilityApplied", "True", "Public");
const TAKEN: Summary<'static> = ("pilothouse.io/Accepted", "False", "HostTaken");
const INVALID: Summary<'static> = ("pilothouse.io/Accepted", "False", "AddressInvalid");
const HIDDEN: Summary<'static> = ("pilothouse.io/Accepted", "False", "NotVisible");
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
    unaddressed(entry(ns, name, hosts))
}

fn with_addresses(mut object: Value, addresses: Value) -> Value {
    object["spec"]["addresses"] = addresses;
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_goes_and_takes_the_condition_along() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({})), ("dark", json!({"seen": "nobody"}))]).await?;
    fixture.put_all(SETTINGS).await?;
    fixture.put(service("shop", "web", json!({}))).await?;
    for (name, hosts) in [("first", vec!["taken.test"]), ("second", vec!["taken.test"]), ("web", vec![WEB])] {
        fixture.put(plain("shop", name, &hosts)).await?;
    }
    let wrong = plain("shop", "wrong", &["wrong.test"]);
    fixture.put(with_addresses(wrong.clone(), json!(["nonsense"]))).await?;
    fixture.put(plain("dark", "hidden", &["hidden.test"])).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let mesh = replica.engine();
    let of = |ns, name| (Kind::ServiceEntry, ns, name);
    fixture.until_conditions(mesh, of("shop", "first"), &[PUBLIC]).await?;
    fixture.until_conditions(mesh, of("shop", "second"), &[TAKEN]).await?;
    fixture.until_conditions(mesh, of("shop", "web"), &[TAKEN]).await?;
    fixture.until_conditions(mesh, of("shop", "wrong"), &[INVALID]).await?;
    fixture.until_conditions(mesh, of("dark", "hidden"), &[HIDDEN]).await?;
    fixture.has_written(5).await?;

    // The address is wrong in another way, and then right.
    fixture.put(with_addresses(wrong.clone(), json!(["192.0.2.0/33"]))).await?;
    fixture.until_conditions(mesh, of("shop", "wrong"), &[INVALID]).await?;
    fixture.has_written(6).await?;
    fixture.put(with_addresses(wrong, json!(["192.0.2.9"]))).await?;
    fixture.until_conditions(mesh, of("shop", "wrong"), &[PUBLIC]).await?;
    fixture.delete(Kind::ServiceEntry, "shop", "first").await?;
    fixture.until_conditions(mesh, of("shop", "second"), &[PUBLIC]).await?;
    fixture.delete(Kind::Service, "shop", "web").await?;
    fixture.until_conditions(mesh, of("shop", "web"), &[PUBLIC]).await?;
    fixture
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dark", "labels": {}}}))
        .await?;
    fixture.until_conditions(mesh, of("dark", "hidden"), &[PUBLIC]).await?;
    fixture.has_written(10).await?;

    // And one comes back, with its taker.
    fixture.put(service("shop", "web", json!({}))).await?;
    fixture.until_conditions(mesh, of("shop", "web"), &[TAKEN]).await?;
    fixture.has_written(11).await?;
    replica.has_written((11, 0)).await?;
    replica.stop().await
}
