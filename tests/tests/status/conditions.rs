//! Conditions: what is written, how often, and what is left alone.

use crate::replica::Replica;
use crate::world::{World, entry, service, waypoint};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};

const BOUND: &str = "istio.io/WaypointBound";
const WAY: (&str, &str, &str, &str) =
    (BOUND, "True", "WaypointAccepted", "Successfully attached to waypoint shop/way");

/// An object and its conditions: type, status, reason, message.
type Case<'a> = (Kind, &'a str, &'a str, Vec<(&'a str, &'a str, &'a str, &'a str)>);

/// Every object of `shop` and `istio-system`, each with one case.
fn objects() -> String {
    let mut all =
        [waypoint("shop", "way", "Same"), waypoint("far", "shut", "Same"), waypoint("far", "open", "All")]
            .concat();
    all += "---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: other}
spec: {controllerName: example.com/controller}
---
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
    let mut put = |object: Value| all += &format!("---\n{object}\n");
    let way = json!({"istio.io/use-waypoint": "way"});
    let with = |extra: Value| {
        let mut labels = way.clone();
        labels
            .as_object_mut()
            .into_iter()
            .for_each(|l| l.extend(extra.as_object().cloned().unwrap_or_default()));
        labels
    };
    let labelled = |mut object: Value, labels: Value| {
        object["metadata"]["labels"] = labels;
        object
    };
    put(service("shop", "bound", way.clone()));
    put(service("shop", "ingress", with(json!({"istio.io/ingress-use-waypoint": "true"}))));
    put(service("shop", "no-ingress", with(json!({"istio.io/ingress-use-waypoint": "false"}))));
    put(service("shop", "absent", json!({"istio.io/use-waypoint": "nowhere"})));
    let far = |name| json!({"istio.io/use-waypoint": name, "istio.io/use-waypoint-namespace": "far"});
    put(service("shop", "denied", far("shut")));
    put(service("shop", "plain", json!({})));
    put(labelled(
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": "vm", "namespace": "shop"}, "spec": {"address": "192.0.2.7"},
        }),
        way.clone(),
    ));
    put(labelled(entry("shop", "bound", &["bound.test"]), way.clone()));
    put(labelled(entry("here", "cross", &["cross.test"]), far("open")));
    let mut wildcard = entry("shop", "wildcard", &["*.wild.test"]);
    wildcard["spec"]["resolution"] = json!("DYNAMIC_DNS");
    wildcard["spec"].as_object_mut().into_iter().for_each(|spec| drop(spec.remove("endpoints")));
    put(wildcard);
    let mut racing = entry("shop", "racing", &["racing.test"]);
    racing["metadata"]["annotations"] = json!({"istio.io/connect-strategy": "RACE_FIRST_TCP_CONNECT"});
    put(racing);
    let policy = |ns: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": ns}, "spec": spec,
        })
    };
    put(policy("shop", "l4", json!({"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]})));
    let get = json!([{"to": [{"operation": {"methods": ["GET"]}}]}]);
    put(policy("shop", "l7", json!({"rules": get})));
    put(policy("shop", "l7-deny", json!({"action": "DENY", "rules": get})));
    put(policy("shop", "custom", json!({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]})));
    let target = |kind: &str, name: &str| {
        let group = match kind {
            "Service" => "",
            "ServiceEntry" => "networking.istio.io",
            _ => "gateway.networking.k8s.io",
        };
        json!({"group": group, "kind": kind, "name": name})
    };
    for (ns, name, targets) in [
        ("shop", "at-gateway", vec![target("Gateway", "way")]),
        ("shop", "at-no-gateway", vec![target("Gateway", "nowhere")]),
        ("shop", "at-service", vec![target("Service", "bound")]),
        ("shop", "at-no-service", vec![target("Service", "nowhere")]),
        ("shop", "at-unbound", vec![target("Service", "plain")]),
        ("shop", "at-entry", vec![target("ServiceEntry", "bound")]),
        ("shop", "at-class", vec![target("GatewayClass", "istio-waypoint")]),
        ("istio-system", "at-class", vec![target("GatewayClass", "istio-waypoint")]),
        ("istio-system", "at-other-class", vec![target("GatewayClass", "other")]),
        ("istio-system", "at-no-class", vec![target("GatewayClass", "nowhere")]),
        ("shop", "all", vec![target("Service", "bound"), target("Gateway", "way")]),
        ("shop", "some", vec![target("Service", "bound"), target("Service", "plain")]),
        ("shop", "none", vec![target("Service", "nowhere"), target("Gateway", "nowhere")]),
    ] {
        put(policy(ns, name, json!({"targetRefs": targets, "rules": [{}]})));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_condition_is_written_once_with_its_reason_and_message() -> anyhow::Result<()> {
    let namespaces = [("shop", json!({})), ("far", json!({})), ("here", json!({"seen": "here"}))];
    let world = World::start(&namespaces).await?;
    world.put_all(&objects()).await?;
    let replica = Replica::start(&world.server.kubeconfig(), "one").await?;

    let bound = "Successfully attached to waypoint shop/way";
    let public = (
        "istio.io/VisibilityApplied",
        "True",
        "Public",
        "ServiceEntry is visible to the entire mesh (PUBLIC).",
    );
    let accepted = |status, reason, message| ("WaypointAccepted", status, reason, message);
    let l7 = "ztunnel does not support HTTP attributes (found: methods). In ambient mode you must use a waypoint proxy to enforce HTTP rules.";
    let l7_allow = format!(
        "{l7} Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be more restrictive than requested."
    );
    let l7_deny = format!(
        "{l7} After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef to enforce this policy."
    );
    let cases: Vec<Case<'_>> = vec![
        (Kind::Service, "shop", "bound", vec![WAY]),
        (
            Kind::Service,
            "shop",
            "ingress",
            vec![(
                BOUND,
                "True",
                "WaypointAccepted",
                "Successfully attached to waypoint shop/way. Ingress traffic will traverse the waypoint",
            )],
        ),
        (
            Kind::Service,
            "shop",
            "no-ingress",
            vec![(
                BOUND,
                "True",
                "WaypointAccepted",
                "Successfully attached to waypoint shop/way. Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to true if desired.",
            )],
        ),
        (
            Kind::Service,
            "shop",
            "absent",
            vec![(BOUND, "False", "WaypointIsNotReady", "waypoint \"shop/nowhere\" is not ready")],
        ),
        (
            Kind::Service,
            "shop",
            "denied",
            vec![(
                BOUND,
                "False",
                "AttachmentDenied",
                "we are not permitted to attach to waypoint \"far/shut\" (missing allowedRoutes?)",
            )],
        ),
        (
            Kind::WorkloadEntry,
            "shop",
            "vm",
            vec![(
                BOUND,
                "False",
                "UnsupportedTrafficType",
                "attempting to bind to traffic type \"workload\" which the waypoint \"shop/way\" does not support",
            )],
        ),
        (Kind::ServiceEntry, "shop", "bound", vec![(BOUND, "True", "WaypointAccepted", bound), public]),
        (
            Kind::ServiceEntry,
            "here",
            "cross",
            vec![
                (
                    BOUND,
                    "False",
                    "CrossNamespaceWaypointForbidden",
                    "cannot bind to waypoint \"far/open\" in another namespace: cross-namespace waypoint binding is not permitted for a ServiceEntry with NAMESPACE visibility",
                ),
                (
                    "istio.io/VisibilityApplied",
                    "True",
                    "Namespace",
                    "ServiceEntry is visible only within its own namespace (NAMESPACE), per mesh serviceEntryVisibility.",
                ),
            ],
        ),
        (
            Kind::ServiceEntry,
            "shop",
            "wildcard",
            vec![
                (
                    "istio.io/WaypointMissing",
                    "True",
                    "NoWaypointForWildcardService",
                    "ServiceEntry will not apply until it is bound to a valid waypoint.",
                ),
                public,
            ],
        ),
        (
            Kind::ServiceEntry,
            "shop",
            "racing",
            vec![
                (
                    "istio.io/WaypointMissing",
                    "True",
                    "NoWaypointForRacingConnectStrategy",
                    "ServiceEntry has a non-default connect strategy but no waypoint bound. A waypoint is required for connect strategies to take effect for ambient clients.",
                ),
                public,
            ],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "l4",
            vec![("ZtunnelAccepted", "True", "Accepted", "attached to ztunnel")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "l7",
            vec![("ZtunnelAccepted", "True", "UnsupportedValue", &l7_allow)],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "l7-deny",
            vec![("ZtunnelAccepted", "True", "UnsupportedValue", &l7_deny)],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "custom",
            vec![(
                "ZtunnelAccepted",
                "False",
                "UnsupportedValue",
                "ztunnel does not support the CUSTOM action",
            )],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-gateway",
            vec![accepted("True", "Accepted", "bound to shop/way")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-no-gateway",
            vec![accepted("False", "TargetNotFound", "not bound")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-service",
            vec![accepted("True", "Accepted", "bound to shop/way")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-no-service",
            vec![accepted("False", "TargetNotFound", "Service shop/nowhere was not found")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-unbound",
            vec![accepted("False", "AncestorNotBound", "Service shop/plain is not bound to a waypoint")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-entry",
            vec![accepted("True", "Accepted", "bound to shop/way")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "at-class",
            vec![accepted(
                "False",
                "Invalid",
                "AuthorizationPolicy must be in the root namespace `istio-system` when referencing a GatewayClass",
            )],
        ),
        (
            Kind::AuthorizationPolicy,
            "istio-system",
            "at-class",
            vec![accepted("True", "Accepted", "bound to istio-waypoint")],
        ),
        (
            Kind::AuthorizationPolicy,
            "istio-system",
            "at-other-class",
            vec![accepted(
                "False",
                "Invalid",
                "GatewayClass must use controller name `istio.io/mesh-controller` for waypoints",
            )],
        ),
        (
            Kind::AuthorizationPolicy,
            "istio-system",
            "at-no-class",
            vec![accepted("False", "TargetNotFound", "not bound")],
        ),
        (Kind::AuthorizationPolicy, "shop", "all", vec![accepted("True", "Accepted", "")]),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "some",
            vec![accepted("True", "PartiallyInvalid", "Invalid targetRefs: Service.core:shop/plain")],
        ),
        (
            Kind::AuthorizationPolicy,
            "shop",
            "none",
            vec![accepted(
                "False",
                "Invalid",
                "Invalid targetRefs: Service.core:shop/nowhere, Gateway.gateway.networking.k8s.io:shop/nowhere",
            )],
        ),
    ];
    for (kind, ns, name, expected) in &cases {
        world.until_conditions((*kind, ns, name), expected).await?;
    }
    assert_eq!(world.conditions(Kind::Service, "shop", "plain").await?, []);
    let policy = world.get(Kind::AuthorizationPolicy, "shop", "l4").await?;
    assert_eq!(policy["status"]["conditions"][0]["observedGeneration"], policy["metadata"]["generation"]);

    // Four of the entries take an address too; beside that each object is written once.
    let addresses = async || {
        let (conditions, addresses) = replica.written();
        Ok((addresses == 4).then_some(conditions))
    };
    assert_eq!(until(LIMIT, addresses).await?, cases.len() as u64);
    world.has_written(cases.len() as u64 + 4).await?;
    Ok(())
}

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
    let replica = Replica::start(&world.server.kubeconfig(), "one").await?;
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
    assert_eq!(replica.written(), (7, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_again_under_its_name_gets_its_conditions_again() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    world.put_all(&waypoint("shop", "way", "Same")).await?;
    let web = service("shop", "web", json!({"istio.io/use-waypoint": "way"}));
    world.put(web.clone()).await?;
    let _replica = Replica::start(&world.server.kubeconfig(), "one").await?;
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
    let replica = Replica::start(&world.server.kubeconfig(), "one").await?;
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
