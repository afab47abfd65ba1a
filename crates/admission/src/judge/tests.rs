#![allow(clippy::unwrap_used)]

use super::*;
use crate::Review;
use serde_json::json;

fn ask(group: &str, kind: &str, operation: &str, object: Value, old: Value) -> Decision {
    let kind = json!({"group": group, "version": "v1", "kind": kind});
    let request = json!({
        "uid": "1", "kind": kind, "operation": operation, "namespace": "shop", "object": object, "oldObject": old,
    });
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string();
    let options = Options { configures_waypoints: true, ..Options::default() };
    Judge::new(options).decide(&Review::read(body.as_bytes()).unwrap().request)
}

/// What is said of a new object.
fn create(group: &str, kind: &str, spec: Value) -> Decision {
    let object = json!({
        "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec, "metadata": {"name": "web", "namespace": "shop"},
    });
    ask(group, kind, "CREATE", object, Value::Null)
}

fn denial(decision: Decision) -> (Reason, String) {
    match decision {
        Decision::Denied { reason, message, .. } => (reason, message),
        Decision::Allowed { warnings } => panic!("allowed, with {warnings:?}"),
    }
}

fn warnings(decision: Decision) -> Vec<String> {
    match decision {
        Decision::Allowed { warnings } => warnings,
        Decision::Denied { message, .. } => panic!("denied: {message}"),
    }
}

const SECURITY: &str = "security.istio.io";
const NETWORKING: &str = "networking.istio.io";

fn bad_policy() -> Value {
    json!({"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/99"]}}]}]})
}

#[test]
fn values_that_cannot_be_are_denied_with_place_and_remedy() {
    for (group, kind, spec, parts) in [
        (
            SECURITY,
            "AuthorizationPolicy",
            bad_policy(),
            ["spec.rules[0].from[0].source.ipBlocks[0]", "AP101"],
        ),
        (SECURITY, "AuthorizationPolicy", json!({"action": "ALOW"}), ["spec.action", "AP002"]),
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({"rules": [{"to": [{"operation": {"ports": [80]}}]}]}),
            ["ports", "AP001"],
        ),
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({"rules": [{"when": [{"key": "source.pi", "values": ["a"]}]}]}),
            ["spec.rules[0].when[0].key", "AP103"],
        ),
        (SECURITY, "PeerAuthentication", json!({"mtls": {"mode": "SOME"}}), ["spec.mtls.mode", "PA002"]),
        (SECURITY, "RequestAuthentication", json!({"jwtRules": 7}), ["spec.jwtRules", "RA001"]),
        (
            SECURITY,
            "RequestAuthentication",
            json!({
                "targetRefs": [{"kind": "Service", "name": "web"}], "jwtRules": [{"issuer": "a", "jwks": "none"}],
            }),
            ["spec.jwtRules[0].jwks", "RA101"],
        ),
        (
            NETWORKING,
            "ServiceEntry",
            json!({"hosts": ["a.example"], "addresses": ["10.0.0.300"]}),
            ["spec.addresses[0]", "SE003"],
        ),
        (
            NETWORKING,
            "ServiceEntry",
            json!({"hosts": ["a.example"], "resolution": "static"}),
            ["spec.resolution", "SE001"],
        ),
        (NETWORKING, "WorkloadEntry", json!({"address": "http://vm.example"}), ["spec.address", "WE001"]),
        (
            NETWORKING,
            "VirtualService",
            json!({
                "hosts": ["reviews"], "http": [{"timeout": "soon", "route": [{"destination": {"host": "reviews"}}]}],
            }),
            ["spec.http[0].timeout", "VS003"],
        ),
        (NETWORKING, "DestinationRule", json!({"host": 7}), ["spec.host", "KO003"]),
    ] {
        let (reason, message) = denial(create(group, kind, spec));
        assert_eq!(reason, Reason::Invalid, "{message}");
        assert!(message.contains(&format!("{kind} shop/web, ")), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} in {message}");
    }
}

#[test]
fn a_denial_names_a_few_faults_and_counts_the_rest() {
    let blocks: Vec<String> = (0..9).map(|n| format!("10.0.0.{n}/99")).collect();
    let spec = json!({"rules": [{"from": [{"source": {"ipBlocks": blocks}}]}]});
    let (_, message) = denial(create(SECURITY, "AuthorizationPolicy", spec));
    assert_eq!(message.matches("[AP101]").count(), MOST_NAMED, "{message}");
    assert!(message.contains("; and "), "{message}");
}

#[test]
fn good_objects_pass_in_silence_whatever_they_refer_to() {
    for (group, kind, spec) in [
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}),
        ),
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({
                "targetRefs": [{"kind": "Service", "name": "not-there-yet"}], "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}],
            }),
        ),
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({
                "targetRefs": [{"kind": "Service", "name": "web"}], "action": "CUSTOM", "provider": {"name": "not-there-yet"},
                "rules": [{}],
            }),
        ),
        (SECURITY, "PeerAuthentication", json!({"mtls": {"mode": "STRICT"}})),
        (
            NETWORKING,
            "ServiceEntry",
            json!({
                "hosts": ["a.example"], "resolution": "DNS", "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            }),
        ),
        (
            NETWORKING,
            "VirtualService",
            json!({
                "hosts": ["not-there-yet"], "http": [{"route": [{"destination": {"host": "nor-this"}}]}],
            }),
        ),
        (
            NETWORKING,
            "DestinationRule",
            json!({"host": "not-there-yet", "subsets": [{"name": "v1", "labels": {"a": "b"}}]}),
        ),
        (
            "telemetry.istio.io",
            "Telemetry",
            json!({"accessLogging": [{"providers": [{"name": "not-there-yet"}]}]}),
        ),
        ("gateway.networking.k8s.io", "HTTPRoute", json!({"rules": 7})),
    ] {
        assert_eq!(warnings(create(group, kind, spec)), [""; 0], "{kind}");
    }
}

#[test]
fn what_is_valid_for_istio_and_has_no_effect_here_is_a_warning() {
    for (group, kind, spec, part) in [
        (SECURITY, "AuthorizationPolicy", json!({"action": "AUDIT", "rules": [{}]}), "AP105"),
        (
            SECURITY,
            "AuthorizationPolicy",
            json!({"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}),
            "AP104",
        ),
        (
            SECURITY,
            "RequestAuthentication",
            json!({"jwtRules": [{"issuer": "a", "jwksUri": "https://a.example/k"}]}),
            "RA102",
        ),
        (NETWORKING, "ServiceEntry", json!({"hosts": ["a.example"], "exportTo": ["."]}), "spec.exportTo"),
        (
            NETWORKING,
            "EnvoyFilter",
            json!({"configPatches": [{"applyTo": "LISTENER"}]}),
            "EnvoyFilter is known and not read",
        ),
        (NETWORKING, "Gateway", json!({"servers": []}), "gateway.networking.k8s.io"),
        (NETWORKING, "ProxyConfig", json!({"concurrency": 1}), "ProxyConfig"),
        (
            "extensions.istio.io",
            "WasmPlugin",
            json!({
                "targetRefs": [{"kind": "Service", "name": "web"}], "url": "oci://r.example/filter:1",
            }),
            "EX101",
        ),
    ] {
        let told = warnings(create(group, kind, spec));
        assert!(told.iter().any(|told| told.contains(part)), "{part} in {told:?}");
    }
}

#[test]
fn a_kind_that_nobody_knows_and_fields_beside_the_spec_are_denied() {
    let (reason, message) = denial(create(NETWORKING, "Gatway", json!({})));
    assert!(reason == Reason::UnknownKind && message.contains("\"Gatway\" of group"), "{message}");
    let object = json!({"metadata": {"name": "a", "namespace": "shop"}, "rules": [], "spec": {}});
    let (reason, message) = denial(ask(SECURITY, "AuthorizationPolicy", "CREATE", object, Value::Null));
    assert!(reason == Reason::Invalid && message.starts_with("\"rules\" is no field"), "{message}");
    for object in [Value::Null, json!(7), json!([]), json!({"metadata": 7})] {
        let (reason, _) = denial(ask(SECURITY, "AuthorizationPolicy", "CREATE", object, Value::Null));
        assert_eq!(reason, Reason::Unreadable);
    }
}

#[test]
fn the_object_that_asks_for_a_denial_gets_it() {
    let metadata = json!({
        "name": "invalid-gateway", "namespace": "istio-system", "annotations": {ALWAYS_REJECT: "true"},
    });
    let object =
        json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": {}});
    let (reason, message) = denial(ask(NETWORKING, "Gateway", "CREATE", object, Value::Null));
    assert!(reason == Reason::Invalid && message.contains(ALWAYS_REJECT), "{message}");
}

#[test]
fn what_was_wrong_before_is_not_in_the_way_of_other_changes() {
    let of = |metadata: Value, spec: Value| json!({"metadata": metadata, "spec": spec});
    let plain = json!({"name": "a", "namespace": "shop"});
    let labelled = json!({"name": "a", "namespace": "shop", "labels": {"team": "web"}});
    let going = json!({"name": "a", "namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let update = |new: Value, old: Value| ask(SECURITY, "AuthorizationPolicy", "UPDATE", new, old);
    let told = warnings(update(of(labelled.clone(), bad_policy()), of(plain.clone(), bad_policy())));
    assert!(told.iter().any(|told| told.contains("AP101")), "{told:?}");
    assert_eq!(warnings(update(of(going, bad_policy()), of(plain.clone(), json!({})))), [""; 0]);
    for old in [of(plain, json!({})), Value::Null, json!(7)] {
        denial(update(of(labelled.clone(), bad_policy()), old));
    }
    for operation in ["DELETE", "CONNECT", "SOMETHING"] {
        let decision =
            ask(SECURITY, "AuthorizationPolicy", operation, Value::Null, of(labelled.clone(), bad_policy()));
        assert_eq!(warnings(decision), [""; 0]);
    }
}

#[test]
fn an_object_whose_name_is_made_later_is_judged_as_any_other() {
    let of = |spec: Value| json!({"metadata": {"generateName": "all-"}, "spec": spec});
    let create = |spec: Value| ask(SECURITY, "PeerAuthentication", "CREATE", of(spec), Value::Null);
    assert_eq!(warnings(create(json!({"mtls": {"mode": "STRICT"}}))), [""; 0]);
    let (_, message) = denial(create(json!({"mtls": {"mode": "SOME"}})));
    assert!(message.starts_with("PeerAuthentication shop/all-x, spec.mtls.mode"), "{message}");
}

#[test]
fn an_object_of_another_revision_is_judged_all_the_same() {
    let judge = Judge::new(Options { revision: "blue".to_owned(), ..Options::default() });
    let policy = json!({"metadata": {"name": "a", "namespace": "b", "labels": {"istio.io/rev": "green"}}, "spec": bad_policy()});
    let found = judge.findings(Kind::AuthorizationPolicy, policy.to_string().as_bytes());
    assert!(found.iter().any(|found| found.code == "AP101"), "{found:?}");
}

#[test]
fn hostile_objects_are_judged_in_bounded_depth() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for field in ["spec", "metadata", "status"] {
        let object = format!(
            "{{\"metadata\": {{\"name\": \"a\", \"namespace\": \"b\"}}, \"{field}\": {{\"x\": {deep}}}}}"
        );
        let body = format!(
            "{{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": {{\"uid\": \"1\", \
             \"operation\": \"UPDATE\", \"kind\": {{\"group\": \"{SECURITY}\", \"version\": \"v1\", \"kind\": \"AuthorizationPolicy\"}}, \
             \"object\": {object}, \"oldObject\": {object}}}}}"
        );
        let review = Review::read(body.as_bytes()).unwrap();
        let _ = Judge::new(Options::default()).decide(&review.request);
    }
}
