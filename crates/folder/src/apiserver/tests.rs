//! What is refused, what is set and what is said, by kind.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::field::path_text;

/// The flaws of an object of a YAML text, as `field: message`.
fn flaws(text: &str) -> Vec<String> {
    let (key, value) = object(text);
    let validation = judge(&key, &value, None);
    validation.flaws.iter().map(|flaw| format!("{}: {}", path_text(&flaw.path), flaw.message)).collect()
}

/// What is stored of an object that is accepted.
fn stored(text: &str) -> Value {
    let (key, value) = object(text);
    let validation = judge(&key, &value, None);
    assert!(validation.flaws.is_empty(), "{:?}", validation.flaws);
    validation.stored.unwrap()
}

fn object(text: &str) -> (Key, Value) {
    let value = crate::value::from_yaml(text).unwrap();
    let part = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = part("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    (Key::new(group, part("/kind"), part("/metadata/namespace"), part("/metadata/name")), value.clone())
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {spec}"
    )
}

fn peer(spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {spec}")
}

fn entry(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec: {spec}")
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}")
}

fn slice(rest: &str) -> String {
    format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s}}\n{rest}")
}

fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {spec}")
}

#[test]
fn what_an_api_server_refuses_is_refused_with_its_words() {
    for (text, expected) in [
        // unknown fields
        (policy("{Action: DENY, rules: [{}]}"), "spec.Action: unknown field \"Action\""),
        (policy("{rules: [{form: []}]}"), "spec.rules[0].form: unknown field \"form\""),
        (policy("{target_refs: []}"), "spec.target_refs: unknown field \"target_refs\""),
        (peer("{mTLS: {mode: STRICT}}"), "spec.mTLS: unknown field \"mTLS\""),
        (entry("{hosts: [a.b], port: []}"), "spec.port: unknown field \"port\""),
        (
            pod("{containers: [{name: a, image: a, prots: []}]}"),
            "spec.containers[0].prots: unknown field \"prots\"",
        ),
        (service("{ports: [{port: 80}]}\nSpec: 1"), "Spec: unknown field \"Spec\""),
        (
            service("{ports: [{port: 80}]}").replace("{name: web}", "{name: web, lables: {}}"),
            "metadata.lables: unknown field \"lables\"",
        ),
        // types
        (policy("{rules: {}}"), "spec.rules: Invalid value: {}: must be of type array, not object"),
        (
            policy("{rules: [{to: [{operation: {ports: [80]}}]}]}"),
            "spec.rules[0].to[0].operation.ports[0]: Invalid value: 80: must be of type string, not integer",
        ),
        (policy("{rules: [null]}"), "spec.rules[0]: Invalid value: null: must be of type object, not null"),
        (
            service("{ports: [{port: http}]}"),
            "spec.ports[0].port: Invalid value: \"http\": must be of type integer, not string",
        ),
        // values
        (
            policy("{action: Deny, rules: [{}]}"),
            "spec.action: Unsupported value: \"Deny\": supported values: \"ALLOW\", \"DENY\", \"AUDIT\", \"CUSTOM\"",
        ),
        (policy("{action: DENY}"), "spec.rules: Required value: a DENY policy without rules denies nothing"),
        (peer("{mtls: {mode: strict}}"), "spec.mtls.mode: Unsupported value: \"strict\""),
        (
            peer("{portLevelMtls: {'80': {mode: STRICT}}}"),
            "spec: Invalid value: modes of single ports need a selector",
        ),
        (
            peer("{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}"),
            "spec.portLevelMtls: Invalid value: a port is a number from 1 to 65535",
        ),
        (
            peer("{selector: {matchLabels: {a: '*'}}}"),
            "spec.selector.matchLabels.a: Invalid value: \"*\": a label is selected by its whole value",
        ),
        (entry("{hosts: ['*']}"), "spec.hosts[0]: Invalid value: \"*\": a service cannot be every host"),
        (entry("{hosts: []}"), "spec.hosts: Required value"),
        (entry("{resolution: STATIC}"), "spec.hosts: Required value"),
        (
            entry(
                "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 192.0.2.1}], workloadSelector: {labels: {a: b}}}",
            ),
            "spec: Invalid value: give endpoints or a workloadSelector, not both",
        ),
        (
            entry("{hosts: [a.b], ports: [{number: 0, name: a}]}"),
            "spec.ports[0].number: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            entry("{hosts: [a.b], ports: [{number: 1, name: a}, {number: 2, name: a}]}"),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            entry("{hosts: [a.b], ports: [{number: 1, name: a}, {number: 1, name: b}]}"),
            "spec.ports: Invalid value: each port has a number of its own",
        ),
        (
            service("{ports: [{port: 0}]}"),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (service("{selector: {a: b}}"), "spec.ports: Required value"),
        (
            service("{ports: [{name: a, port: 80}, {name: b, port: 80}]}"),
            "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
        ),
        (
            service("{ports: [{name: a, port: 80}, {name: a, port: 81}]}"),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (service("{ports: [{name: a, port: 80}, {port: 81}]}"), "spec.ports[1].name: Required value"),
        (
            service("{ports: [{port: 80, protocol: tcp}]}"),
            "spec.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
        ),
        (
            service("{ports: [{port: 80, targetPort: 70000}]}"),
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 0 and 65535, inclusive",
        ),
        (
            service("{selector: {a: 'b c'}, ports: [{port: 80}]}"),
            "spec.selector.a: Invalid value: \"b c\": a valid label must be",
        ),
        (
            service("{clusterIP: 10.0.0.256, ports: [{port: 80}]}"),
            "spec.clusterIP: Invalid value: \"10.0.0.256\": must be a valid IP address",
        ),
        (service("{type: ExternalName}"), "spec.externalName: Required value"),
        (slice("endpoints: []"), "addressType: Required value"),
        (slice("addressType: ipv4\nendpoints: []"), "addressType: Unsupported value: \"ipv4\""),
        (
            slice("addressType: IPv4\nendpoints: [{addresses: ['::1']}]"),
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
        ),
        (
            slice("addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]"),
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range",
        ),
        (slice("addressType: IPv4\nendpoints: [{addresses: []}]"), "endpoints[0].addresses: Required value"),
        (
            slice("addressType: IPv4\nendpoints: []\nports: [{name: a}, {name: a}]"),
            "ports[1].name: Duplicate value: \"a\"",
        ),
        (pod("{containers: []}"), "spec.containers: Required value"),
        (pod("{containers: [{name: a}]}"), "spec.containers[0].image: Required value"),
        (
            pod("{containers: [{name: a, image: a}, {name: a, image: a}]}"),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (
            pod("{containers: [{name: a, image: a, ports: [{containerPort: 70000}]}]}"),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000",
        ),
        (
            pod("{containers: [{name: a, image: a}]}").replace("{name: p}", "{name: p, labels: {'a b': c}}"),
            "metadata.labels[\"a b\"]: Invalid value: \"a b\": name part must consist",
        ),
    ] {
        let found = flaws(&text);
        assert!(found.iter().any(|flaw| flaw.starts_with(expected)), "{text}\n{found:#?}");
    }
}

#[test]
fn suggestions_lead_to_what_was_meant() {
    for (text, expected) in [
        (policy("{Action: DENY, rules: [{}]}"), "did you mean `action`?"),
        (peer("{mTLS: {mode: STRICT}}"), "did you mean `mtls`?"),
        (peer("{mode: STRICT}"), "did you mean `mtls.mode`?"),
        (policy("{rules: [{action: DENY}]}"), "one level further out"),
        (policy("{action: deny, rules: [{}]}"), "did you mean `DENY`?"),
    ] {
        let (key, value) = object(&text);
        let validation = judge(&key, &value, None);
        let found = validation.flaws.first().map(|flaw| flaw.help.clone()).unwrap_or_default();
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn a_value_from_outside_stays_on_its_line() {
    let found = flaws(&entry("{hosts: [a.b], resolution: \"DNS\\nINFO all is well\\u001b[2J\"}"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("\\nINFO") && !found[0].contains(['\n', '\u{1b}']), "{found:?}");
    let found = flaws(&policy("{\"a\\nb\": 1}"));
    assert!(found[0].starts_with("spec[\"a\\nb\"]: unknown field \"a\\nb\""), "{found:?}");
    let found = flaws(&entry(&format!("{{hosts: [a.b], location: {}}}", "x".repeat(100_000))));
    assert!(found[0].len() < 400, "{}", found[0].len());
}

#[test]
fn defaults_of_an_api_server_are_set() {
    let ports = &stored(&slice("addressType: IPv4\nendpoints: []\nports: [{port: 8080}]"))["ports"];
    assert_eq!(ports, &json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
    let spec = &stored(&pod("{containers: [{name: a, image: a, ports: [{containerPort: 80}]}]}"))["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["containers"][0]["ports"][0]["protocol"], "TCP");
    let spec = &stored(&pod("{serviceAccount: web, containers: [{name: a, image: a}]}"))["spec"];
    assert_eq!(spec["serviceAccountName"], "web");
    let spec = &stored(&service("{ports: [{port: 80, targetPort: 0}], type: ''}"))["spec"];
    assert_eq!((&spec["type"], &spec["ports"][0]["targetPort"]), (&json!("ClusterIP"), &json!(80)));
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}";
    assert_eq!(stored(deployment)["spec"]["replicas"], 1);
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {gatewayClassName: c, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}";
    assert_eq!(stored(gateway)["spec"]["listeners"][0]["allowedRoutes"]["namespaces"]["from"], "Same");
}

#[test]
fn nulls_count_as_not_given_and_are_told_in_policies() {
    let (key, value) = object(&policy("{action: null, selector: {matchLabels: {app: web}}, rules: null}"));
    let validation = judge(&key, &value, None);
    assert!(validation.flaws.is_empty(), "{:?}", validation.flaws);
    assert_eq!(validation.notes.len(), 2);
    let stored = validation.stored.unwrap();
    assert!(stored["spec"].get("action").is_none() && stored["spec"].get("rules").is_none());
    assert_eq!(stored["spec"]["selector"]["matchLabels"]["app"], "web");
    assert_eq!(stored_labels("{a: null}"), json!({"a": ""}));
}

fn stored_labels(labels: &str) -> Value {
    let text =
        service("{ports: [{port: 80}]}").replace("{name: web}", &format!("{{name: web, labels: {labels}}}"));
    stored(&text)["metadata"]["labels"].clone()
}

#[test]
fn what_a_newer_cluster_wrote_to_a_status_is_no_flaw() {
    let (key, value) = object(&format!(
        "{}\nstatus: {{podIP: 10.0.0.1, novelty: 1}}",
        pod("{containers: [{name: a, image: a}]}")
    ));
    let validation = judge(&key, &value, None);
    assert!(validation.flaws.is_empty());
    assert_eq!(validation.notes.len(), 1);
}

#[test]
fn codes_are_those_of_the_parsers() {
    for (text, code) in [
        (policy("{Action: DENY}"), "KO004"),
        (policy("{action: Deny, rules: [{}]}"), "AP002"),
        (policy("{rules: 1}"), "AP001"),
        (peer("{mtls: {mode: strict}}"), "PA002"),
        (peer("{mtls: 1}"), "PA001"),
        (entry("{hosts: [a.b], resolution: dns}"), "SE001"),
        (service("{ports: [{port: 0}]}"), "KO003"),
    ] {
        let (key, value) = object(&text);
        let validation = judge(&key, &value, None);
        assert_eq!(code_of(&key, &validation.flaws[0]), code, "{text}");
    }
}
