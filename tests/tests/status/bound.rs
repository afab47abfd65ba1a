//! What is said of the waypoints of services, entries and workloads.

use crate::case::{Cases, and, named, no_address};
use crate::world::{Text, World, entry, service, waypoint, waypoint_for, workload_entry};
use serde_json::{Value, json};

const BOUND: &str = "istio.io/WaypointBound";
const MISSING: &str = "istio.io/WaypointMissing";
const TO_WAY: &str = "Successfully attached to waypoint shop/way";
const TO_ANY: &str = "Successfully attached to waypoint shop/any";
const NO_INGRESS: &str = "Successfully attached to waypoint shop/way. Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to true if desired.";
const INGRESS: &str =
    "Successfully attached to waypoint shop/way. Ingress traffic will traverse the waypoint";
const ABSENT: Text<'static> =
    (BOUND, "False", "WaypointIsNotReady", "waypoint \"shop/nowhere\" is not ready");
const DENIED: Text<'static> = (
    BOUND,
    "False",
    "AttachmentDenied",
    "we are not permitted to attach to waypoint \"far/shut\" (missing allowedRoutes?)",
);
const PUBLIC: Text<'static> =
    ("istio.io/VisibilityApplied", "True", "Public", "ServiceEntry is visible to the entire mesh (PUBLIC).");
const WILDCARD: Text<'static> = (
    MISSING,
    "True",
    "NoWaypointForWildcardService",
    "ServiceEntry will not apply until it is bound to a valid waypoint.",
);
const RACING: Text<'static> = (
    MISSING,
    "True",
    "NoWaypointForRacingConnectStrategy",
    "ServiceEntry has a non-default connect strategy but no waypoint bound. A waypoint is required for connect strategies to take effect for ambient clients.",
);

const fn accepted(message: &'static str) -> Text<'static> {
    (BOUND, "True", "WaypointAccepted", message)
}

fn at(waypoint: &str) -> Value {
    json!({"istio.io/use-waypoint": waypoint})
}

fn far(waypoint: &str) -> Value {
    and(&at(waypoint), json!({"istio.io/use-waypoint-namespace": "far"}))
}

fn ingress(value: &str) -> Value {
    json!({"istio.io/ingress-use-waypoint": value})
}

/// What names a canary beside the waypoint `way`.
fn canary(name: &str) -> Value {
    and(&at("way"), json!({"istio.io/use-waypoint-canary": name}))
}

fn cases() -> Cases {
    let mut cases = Cases::default();
    for yaml in [
        waypoint("shop", "way", "Same"),
        waypoint_for("shop", "pods", "workload"),
        waypoint_for("shop", "any", "all"),
        waypoint("here", "near", "Same"),
        waypoint("far", "shut", "Same"),
        waypoint("far", "open", "All"),
    ] {
        cases.with(&yaml);
    }
    services(&mut cases);
    canaries(&mut cases);
    entries(&mut cases);
    workloads(&mut cases);
    cases
}

fn services(cases: &mut Cases) {
    let mut put = |name: &str, labels, conditions: &[Text<'_>]| {
        cases.add(service("shop", name, labels), conditions);
    };
    put("plain", json!({}), &[]);
    put("bound", at("way"), &[accepted(TO_WAY)]);
    put("ingress", and(&at("way"), ingress("true")), &[accepted(INGRESS)]);
    put("no-ingress", and(&at("way"), ingress("false")), &[accepted(NO_INGRESS)]);
    put("absent", at("nowhere"), &[ABSENT]);
    put("denied", far("shut"), &[DENIED]);
    let traffic =
        "attempting to bind to traffic type \"service\" which the waypoint \"shop/pods\" does not support";
    put("traffic", at("pods"), &[(BOUND, "False", "UnsupportedTrafficType", traffic)]);
}

fn canaries(cases: &mut Cases) {
    let weight = |weight: &str| json!({"istio.io/use-waypoint-canary-weight": weight});
    let mut put = |name: &str, labels, annotations, message| {
        let object = named(service("shop", name, json!({})), labels, annotations);
        cases.add(object, &[accepted(message)]);
    };
    put("canary", canary("any"), weight("10"), TO_WAY);
    put(
        "canary-weight",
        canary("any"),
        weight("many"),
        "Successfully attached to waypoint shop/way. Canary waypoint not attached: canary waypoint \"shop/any\" has an invalid weight; must be an integer in [0,100]",
    );
    put(
        "canary-same",
        canary("way"),
        weight("10"),
        "Successfully attached to waypoint shop/way. Canary waypoint not attached: canary waypoint \"shop/way\" must differ from the primary waypoint",
    );
    put(
        "canary-absent",
        canary("nowhere"),
        weight("10"),
        "Successfully attached to waypoint shop/way. Canary waypoint not attached: waypoint \"shop/nowhere\" is not ready",
    );
    put(
        "canary-denied",
        and(&canary("shut"), json!({"istio.io/use-waypoint-canary-namespace": "far"})),
        weight("10"),
        "Successfully attached to waypoint shop/way. Canary waypoint not attached: we are not permitted to attach to waypoint \"far/shut\" (missing allowedRoutes?)",
    );
    put(
        "canary-traffic",
        and(&canary("pods"), ingress("true")),
        weight("10"),
        "Successfully attached to waypoint shop/way. Ingress traffic will traverse the waypoint. Canary waypoint not attached: attempting to bind to traffic type \"service\" which the waypoint \"shop/pods\" does not support",
    );
}

fn entries(cases: &mut Cases) {
    let mut put = |mut object: Value, labels: Value, conditions: &[Text<'_>]| {
        object["metadata"]["labels"] = and(&no_address(), labels);
        cases.add(object, conditions);
    };
    let named = |name: &str| entry("shop", name, &[&format!("{name}.test")]);
    put(named("plain"), json!({}), &[PUBLIC]);
    put(named("bound"), at("way"), &[accepted(TO_WAY), PUBLIC]);
    put(named("ingress"), and(&at("way"), ingress("true")), &[accepted(INGRESS), PUBLIC]);
    put(named("no-ingress"), and(&at("way"), ingress("no")), &[accepted(NO_INGRESS), PUBLIC]);
    put(named("absent"), at("nowhere"), &[ABSENT, PUBLIC]);

    let wildcard = |name: &str| {
        let mut object = entry("shop", name, &[&format!("*.{name}.test")]);
        object["spec"]["resolution"] = json!("DYNAMIC_DNS");
        object["spec"].as_object_mut().into_iter().for_each(|spec| drop(spec.remove("endpoints")));
        object
    };
    let racing = |mut object: Value| {
        object["metadata"]["annotations"] = json!({"istio.io/connect-strategy": "RACE_FIRST_TCP_CONNECT"});
        object
    };
    put(wildcard("wildcard"), json!({}), &[WILDCARD, PUBLIC]);
    put(wildcard("wild-absent"), at("nowhere"), &[ABSENT, WILDCARD, PUBLIC]);
    put(wildcard("wild-bound"), at("way"), &[accepted(TO_WAY), PUBLIC]);
    put(racing(named("racing")), json!({}), &[RACING, PUBLIC]);
    put(racing(wildcard("wild-racing")), json!({}), &[RACING, PUBLIC]);
    put(racing(named("racing-bound")), at("way"), &[accepted(TO_WAY), PUBLIC]);

    let own = (
        "istio.io/VisibilityApplied",
        "True",
        "Namespace",
        "ServiceEntry is visible only within its own namespace (NAMESPACE), per mesh serviceEntryVisibility.",
    );
    let cross = "cannot bind to waypoint \"far/open\" in another namespace: cross-namespace waypoint binding is not permitted for a ServiceEntry with NAMESPACE visibility";
    put(
        entry("here", "cross", &["cross.test"]),
        far("open"),
        &[(BOUND, "False", "CrossNamespaceWaypointForbidden", cross), own],
    );
    let mut canary = entry("here", "cross-canary", &["cross-canary.test"]);
    canary["metadata"]["annotations"] = json!({"istio.io/use-waypoint-canary-weight": "10"});
    let labels =
        json!({"istio.io/use-waypoint-canary": "open", "istio.io/use-waypoint-canary-namespace": "far"});
    put(
        canary,
        and(&at("near"), labels),
        &[
            accepted(
                "Successfully attached to waypoint here/near. Canary waypoint not attached: cannot bind to waypoint \"far/open\" in another namespace: cross-namespace waypoint binding is not permitted for a ServiceEntry with NAMESPACE visibility",
            ),
            own,
        ],
    );
}

fn workloads(cases: &mut Cases) {
    let mut put = |name: &str, labels, conditions: &[Text<'_>]| {
        cases.add(workload_entry("shop", name, labels, json!({})), conditions);
    };
    put("plain", json!({}), &[]);
    // Of ingress, nothing is said of a workload.
    put("bound", and(&at("any"), ingress("true")), &[accepted(TO_ANY)]);
    put("absent", at("nowhere"), &[ABSENT]);
    put("denied", far("shut"), &[DENIED]);
    let traffic =
        "attempting to bind to traffic type \"workload\" which the waypoint \"shop/way\" does not support";
    put("traffic", at("way"), &[(BOUND, "False", "UnsupportedTrafficType", traffic)]);
}

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    serviceEntryVisibility:
      defaultVisibility: PUBLIC
      policies:
      - visibility: NAMESPACE
        matchingRules: [{namespaceSelector: {matchLabels: {seen: here}}}]
";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_names_a_waypoint_is_told_once_whether_it_has_it_and_why_not() -> anyhow::Result<()> {
    let namespaces = [("shop", json!({})), ("far", json!({})), ("here", json!({"seen": "here"}))];
    let world = World::start(&namespaces).await?;
    let mut cases = cases();
    cases.with(SETTINGS);
    cases.check(&world).await
}
