//! What is said of policies.

use crate::case::{Cases, no_address};
use crate::world::{Text, World, entry, service, waypoint};
use serde_json::{Value, json};

const HTTP: &str = "ztunnel does not support HTTP attributes (found: ";
const USE: &str = "). In ambient mode you must use a waypoint proxy to enforce HTTP rules. ";

fn policy(ns: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": ns}, "spec": spec,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_ztunnels_says_once_what_of_it_they_enforce() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    let mut cases = Cases::default();
    let mut put = |name: &str, spec: Value, status, reason, message: &str| {
        cases.add(policy("shop", name, spec), &[("ZtunnelAccepted", status, reason, message)]);
    };
    let l4 = json!({"from": [{"source": {"namespaces": ["shop"]}}]});
    let get = json!({"to": [{"operation": {"methods": ["GET"]}}]});
    put("l4", json!({"rules": [l4]}), "True", "Accepted", "attached to ztunnel");
    put(
        "allow-http",
        json!({"rules": [{"to": [{"operation": {"paths": ["/"], "hosts": ["a.test"], "methods": ["GET"]}}]}]}),
        "True",
        "UnsupportedValue",
        &format!(
            "{HTTP}hosts, methods, paths{USE}Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be more restrictive than requested."
        ),
    );
    put(
        "deny-http",
        json!({"action": "DENY", "rules": [get]}),
        "True",
        "UnsupportedValue",
        &format!(
            "{HTTP}methods{USE}After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef to enforce this policy."
        ),
    );
    put(
        "deny-some",
        json!({"action": "DENY", "rules": [get, l4]}),
        "True",
        "UnsupportedValue",
        &format!(
            "{HTTP}methods{USE}DENY policy with HTTP attributes is enforced without the HTTP rules. This will be more restrictive than requested."
        ),
    );
    let custom = json!({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]});
    put("custom", custom, "False", "UnsupportedValue", "ztunnel does not support the CUSTOM action");
    let audit = json!({"action": "AUDIT", "rules": [l4]});
    put("audit", audit, "False", "UnsupportedValue", "ztunnel does not support the AUDIT action");
    let unknown = json!({"when": [{"key": "source.ipp", "values": ["10.0.0.1"]}]});
    put(
        "unknown",
        json!({"rules": [unknown, unknown]}),
        "True",
        "PartiallyInvalid",
        &format!(
            "enforced more strictly than written: spec.rules[0].when[0].key: \"source.ipp\" is not a known attribute, so the rule allows nothing (and 1 more); {HTTP}source.ipp{USE}Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be more restrictive than requested."
        ),
    );
    let mut tried = policy("shop", "tried", json!({"rules": [l4]}));
    tried["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
    let off = "found policy \"shop/tried\" using dry-run annotation, but support for ambient dry-run authorizationPolicies isn't enabled";
    cases.add(tried, &[("ZtunnelAccepted", "False", "UnsupportedValue", off)]);
    cases.check(&world).await
}

const CLASSES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: other}
spec: {controllerName: example.com/controller}
";

fn target(kind: &str, name: &str) -> Value {
    let group = match kind {
        "Service" => "",
        "ServiceEntry" => "networking.istio.io",
        _ => "gateway.networking.k8s.io",
    };
    json!({"group": group, "kind": kind, "name": name})
}

/// Policies by namespace, name and targets, and their condition: status, reason, message.
fn attached() -> Vec<(&'static str, &'static str, Vec<Value>, [&'static str; 3])> {
    let service = |name| target("Service", name);
    let entry = |name| target("ServiceEntry", name);
    let gateway = |name| target("Gateway", name);
    let class = |name| target("GatewayClass", name);
    let bound = ["True", "Accepted", "bound to shop/way"];
    vec![
        ("shop", "gateway", vec![gateway("way")], bound),
        ("shop", "no-gateway", vec![gateway("nowhere")], ["False", "TargetNotFound", "not bound"]),
        ("shop", "service", vec![service("bound")], bound),
        (
            "shop",
            "no-service",
            vec![service("nowhere")],
            ["False", "TargetNotFound", "Service shop/nowhere was not found"],
        ),
        (
            "shop",
            "plain-service",
            vec![service("plain")],
            ["False", "AncestorNotBound", "Service shop/plain is not bound to a waypoint"],
        ),
        ("shop", "entry", vec![entry("bound")], bound),
        (
            "shop",
            "no-entry",
            vec![entry("nowhere")],
            ["False", "TargetNotFound", "ServiceEntry shop/nowhere was not found"],
        ),
        (
            "shop",
            "plain-entry",
            vec![entry("plain")],
            ["False", "AncestorNotBound", "ServiceEntry shop/plain is not bound to a waypoint"],
        ),
        ("shop", "other-kind", vec![target("HTTPRoute", "way")], ["False", "unknown", "not bound"]),
        (
            "shop",
            "class",
            vec![class("istio-waypoint")],
            [
                "False",
                "Invalid",
                "AuthorizationPolicy must be in the root namespace `istio-system` when referencing a GatewayClass",
            ],
        ),
        (
            "istio-system",
            "class",
            vec![class("istio-waypoint")],
            ["True", "Accepted", "bound to istio-waypoint"],
        ),
        (
            "istio-system",
            "other-class",
            vec![class("other")],
            [
                "False",
                "Invalid",
                "GatewayClass must use controller name `istio.io/mesh-controller` for waypoints",
            ],
        ),
        ("istio-system", "no-class", vec![class("nowhere")], ["False", "TargetNotFound", "not bound"]),
        ("shop", "all", vec![service("bound"), gateway("way")], ["True", "Accepted", ""]),
        (
            "shop",
            "some",
            vec![service("bound"), service("plain"), entry("plain")],
            [
                "True",
                "PartiallyInvalid",
                "Invalid targetRefs: Service.core:shop/plain, ServiceEntry.networking.istio.io:shop/plain",
            ],
        ),
        (
            "shop",
            "none",
            vec![service("nowhere"), gateway("nowhere")],
            [
                "False",
                "Invalid",
                "Invalid targetRefs: Service.core:shop/nowhere, Gateway.gateway.networking.k8s.io:shop/nowhere",
            ],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_waypoints_says_once_which_ones_have_it() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    let mut cases = Cases::default();
    cases.with(&waypoint("shop", "way", "Same"));
    cases.with(CLASSES);
    let way = json!({"istio.io/use-waypoint": "way"});
    let to_way: Text<'_> =
        ("istio.io/WaypointBound", "True", "WaypointAccepted", "Successfully attached to waypoint shop/way");
    cases.add(service("shop", "bound", way.clone()), &[to_way]);
    cases.add(service("shop", "plain", json!({})), &[]);
    let mut bound = entry("shop", "bound", &["bound.test"]);
    bound["metadata"]["labels"] = crate::case::and(&no_address(), way);
    cases.add(bound, &[to_way]);
    let mut plain = entry("shop", "plain", &["plain.test"]);
    plain["metadata"]["labels"] = no_address();
    cases.add(plain, &[]);
    for (ns, name, targets, [status, reason, message]) in attached() {
        let spec = json!({"targetRefs": targets, "rules": [{}]});
        cases.add(policy(ns, name, spec), &[("WaypointAccepted", status, reason, message)]);
    }
    let single = json!({"targetRef": target("Service", "bound"), "rules": [{}]});
    cases.add(
        policy("shop", "single", single),
        &[("WaypointAccepted", "True", "Accepted", "bound to shop/way")],
    );
    cases.check(&world).await
}
