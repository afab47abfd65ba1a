//! A case of each kind that has conditions: what is written is what the mesh computed, at the generation that it
//! computed it for, by one write. What the conditions say in each case is for the golden cases.

use crate::fixture::{Fixture, Summary, entry, service, unaddressed, waypoint, workload_entry};
use crate::replica::Replica;
use anyhow::ensure;
use model::Kind;
use serde_json::{Value, json};

const BOUND: Summary<'static> = ("istio.io/WaypointBound", "True", "WaypointAccepted");
const NOT_READY: Summary<'static> = ("istio.io/WaypointBound", "False", "WaypointIsNotReady");
const UNSUPPORTED: Summary<'static> = ("istio.io/WaypointBound", "False", "UnsupportedTrafficType");
const PUBLIC: Summary<'static> = ("istio.io/VisibilityApplied", "True", "Public");
const NO_WAYPOINT: Summary<'static> =
    ("istio.io/WaypointMissing", "True", "NoWaypointForRacingConnectStrategy");
const REQUIRED: Summary<'static> = ("pilothouse.io/WaypointRequired", "True", "WaypointMissing");
const NOT_ENFORCED: Summary<'static> = ("pilothouse.io/WaypointRequired", "False", "NotEnforced");

/// Entries are public, and those of namespaces with the label `seen: nobody` are hidden.
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

/// An object, and a summary of each condition of ours that it is to have.
type Case = (Value, Vec<Summary<'static>>);

fn at(waypoint: &str) -> Value {
    json!({"istio.io/use-waypoint": waypoint})
}

fn annotated(mut object: Value, name: &str, value: &str) -> Value {
    object["metadata"]["annotations"][name] = json!(value);
    object
}

fn requiring(object: Value) -> Value {
    annotated(object, "ambient.pilothouse.io/require-waypoint", "true")
}

fn services() -> Vec<Case> {
    vec![
        (service("shop", "plain", json!({})), vec![]),
        (service("shop", "bound", at("way")), vec![BOUND]),
        (service("shop", "absent", at("nowhere")), vec![NOT_READY]),
        (requiring(service("shop", "required", at("way"))), vec![BOUND, REQUIRED]),
    ]
}

fn entries() -> Vec<Case> {
    let plain = |ns, name: &str, host: &str| unaddressed(entry(ns, name, &[host]));
    let mut bound = plain("shop", "bound", "bound.test");
    bound["metadata"]["labels"]["istio.io/use-waypoint"] = json!("way");
    let racing = annotated(
        plain("shop", "racing", "racing.test"),
        "istio.io/connect-strategy",
        "RACE_FIRST_TCP_CONNECT",
    );
    let mut partly = unaddressed(entry("shop", "partly", &["own.test", "bound.test"]));
    partly["metadata"]["labels"]["istio.io/use-waypoint"] = json!("way");
    let mut wrong = plain("shop", "wrong", "wrong.test");
    wrong["spec"]["addresses"] = json!(["192.0.2.9", "nonsense"]);
    let accepted = |reason| ("pilothouse.io/Accepted", "False", reason);
    vec![
        (bound, vec![BOUND, PUBLIC]),
        (racing, vec![NO_WAYPOINT, PUBLIC]),
        (partly, vec![accepted("HostTaken"), BOUND, PUBLIC]),
        (wrong, vec![accepted("AddressInvalid")]),
        (plain("dark", "hidden", "hidden.test"), vec![accepted("NotVisible")]),
    ]
}

fn workloads() -> Vec<Case> {
    let put = |name, labels| workload_entry("shop", name, labels, json!({}));
    vec![
        (put("plain", json!({})), vec![]),
        (put("traffic", at("way")), vec![UNSUPPORTED]),
        (requiring(put("required", at("pods"))), vec![BOUND, NOT_ENFORCED]),
    ]
}

fn policies() -> Vec<Case> {
    let policy = |name, spec| {
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        })
    };
    let of =
        |service| json!({"targetRefs": [{"group": "", "kind": "Service", "name": service}], "rules": [{}]});
    let http = json!({"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]});
    let custom = json!({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]});
    vec![
        (policy("l4", json!({"rules": [{}]})), vec![("ZtunnelAccepted", "True", "Accepted")]),
        (policy("http", http), vec![("ZtunnelAccepted", "True", "UnsupportedValue")]),
        (policy("custom", custom), vec![("ZtunnelAccepted", "False", "UnsupportedValue")]),
        (policy("targets", of("bound")), vec![("WaypointAccepted", "False", "NotProgrammed")]),
        (policy("unbound", of("plain")), vec![("WaypointAccepted", "False", "AncestorNotBound")]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conditions_of_each_kind_are_written_once_as_the_mesh_has_them() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({})), ("dark", json!({"seen": "nobody"}))]).await?;
    fixture.put_all(SETTINGS).await?;
    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    fixture.put_all(&waypoint_for_workloads("shop", "pods")).await?;
    let cases = [services(), entries(), workloads(), policies()].concat();
    for (object, _) in &cases {
        fixture.put(object.clone()).await?;
    }
    let replica = Replica::start(&fixture.account, "one").await?;
    for (object, expected) in &cases {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let kind = Kind::from_manifest(text("/apiVersion"), text("/kind")).unwrap();
        let (ns, name) = (text("/metadata/namespace"), text("/metadata/name"));
        fixture.until_conditions(replica.engine(), (kind, ns, name), expected).await?;
        // Of policies, a condition tells which generation it is about.
        let stored = fixture.get(kind, ns, name).await?;
        let generation = (kind == Kind::AuthorizationPolicy).then(|| &stored["metadata"]["generation"]);
        let all = stored.pointer("/status/conditions").and_then(Value::as_array);
        for condition in all.into_iter().flatten() {
            ensure!(condition.get("observedGeneration") == generation, "{kind} {ns}/{name}: {condition}");
        }
    }
    let count = cases.iter().filter(|(_, conditions)| !conditions.is_empty()).count() as u64;
    fixture.has_written(count).await?;
    replica.has_written((count, 0)).await?;
    replica.stop().await
}

/// Returns a waypoint that is ready, for workloads only.
fn waypoint_for_workloads(ns: &str, name: &str) -> String {
    let labelled = "metadata: {labels: {istio.io/waypoint-for: workload, ";
    waypoint(ns, name, "Same").replacen("metadata: {labels: {", labelled, 1)
}
