#![allow(clippy::unwrap_used)]

use super::{code, parse};
use crate::{Diagnostic, Kind, Object, Severity};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn fault(kind: Kind, manifest: &str) -> Diagnostic {
    match parse(kind, manifest.as_bytes()) {
        Err(diagnostic) => diagnostic,
        Ok(Object::AuthorizationPolicy(p)) => p.spec.clone().unwrap_err().diagnostic,
        Ok(Object::PeerAuthentication(p)) => p.spec.clone().unwrap_err().diagnostic,
        Ok(Object::ConfigMap(settings)) => settings.refused[0].diagnostic.clone(),
        Ok(object) => panic!("{object:?}"),
    }
}

/// Checks one finding; `place` is "object: field".
fn check(kind: Kind, manifest: &str, code: &str, place: &str) {
    let found = fault(kind, manifest);
    let object = found.object.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!((found.code, format!("{object}: {}", found.field).as_str()), (code, place), "{found}");
    assert_eq!(found.severity, Severity::Error);
    assert!(
        !found.message.is_empty() && !found.message.ends_with('.') && !found.message.contains('\n'),
        "{found}"
    );
    assert!(found.message.chars().next().is_some_and(|c| !c.is_uppercase()), "{found}");
    assert!(code::ALL.contains(&found.code));
}

#[test]
fn ko001_what_is_no_json_is_refused() {
    check(Kind::Pod, "", "KO001", ": ");
    check(Kind::Pod, "{", "KO001", ": ");
    check(Kind::AuthorizationPolicy, "{}}", "KO001", ": ");
}

#[test]
fn ko002_an_object_needs_its_name() {
    check(Kind::Pod, "{}", "KO002", ": metadata.name");
    check(Kind::Pod, r#"{"metadata":{"namespace":"b"}}"#, "KO002", ": metadata.name");
    check(Kind::Pod, r#"{"metadata":{"name":"a"}}"#, "KO002", ": metadata.namespace");
    check(Kind::Pod, r#"{"metadata":{"name":"a/b","namespace":"c"}}"#, "KO002", ": metadata.name");
    check(
        Kind::AuthorizationPolicy,
        r#"{"metadata":{"name":"a b","namespace":"c"}}"#,
        "KO002",
        ": metadata.name",
    );
    check(
        Kind::Node,
        &json!({"metadata": {"name": "a".repeat(254)}}).to_string(),
        "KO002",
        ": metadata.name",
    );
}

#[test]
fn ko003_a_field_of_the_wrong_type_is_named() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"hostNetwork":"yes"}}"#;
    check(Kind::Pod, manifest, "KO003", "Pod b/a: spec.hostNetwork");
    check(Kind::Pod, r#"{"metadata":[]}"#, "KO003", ": metadata");
    check(Kind::Pod, "[]", "KO003", ": ");
}

#[test]
fn sv001_a_cluster_address_is_an_address() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"clusterIPs":["10.0.0.1","x"]}}"#;
    check(Kind::Service, manifest, "SV001", "Service b/a: spec.clusterIPs[1]");
}

#[test]
fn se001_a_resolution_is_known() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"resolution":"dns"}}"#;
    check(Kind::ServiceEntry, manifest, "SE001", "ServiceEntry b/a: spec.resolution");
}

#[test]
fn se002_a_location_is_known() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"location":9}}"#;
    check(Kind::ServiceEntry, manifest, "SE002", "ServiceEntry b/a: spec.location");
}

#[test]
fn ap001_a_field_of_the_wrong_type_is_named() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"rules":1}}"#;
    check(Kind::AuthorizationPolicy, manifest, "AP001", "AuthorizationPolicy b/a: spec.rules");
}

#[test]
fn ap002_an_action_is_known() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"action":"deny"}}"#;
    check(Kind::AuthorizationPolicy, manifest, "AP002", "AuthorizationPolicy b/a: spec.action");
}

#[test]
fn pa001_a_field_of_the_wrong_type_is_named() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"mtls":{"mode":true}}}"#;
    check(Kind::PeerAuthentication, manifest, "PA001", "PeerAuthentication b/a: spec.mtls.mode");
}

#[test]
fn pa002_a_mode_is_known() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"mtls":{"mode":"MUTUAL"}}}"#;
    check(Kind::PeerAuthentication, manifest, "PA002", "PeerAuthentication b/a: spec.mtls.mode");
}

#[test]
fn pa003_a_key_is_a_port() {
    let manifest = r#"{"metadata":{"name":"a","namespace":"b"},"spec":{"portLevelMtls":{"-1":{}}}}"#;
    check(Kind::PeerAuthentication, manifest, "PA003", "PeerAuthentication b/a: spec.portLevelMtls.-1");
}

fn settings(mesh: &str) -> String {
    json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh}}).to_string()
}

#[test]
fn ms001_settings_are_yaml() {
    check(Kind::ConfigMap, &settings("- a"), "MS001", "ConfigMap istio-system/istio: data.mesh");
}

#[test]
fn ms002_selectors_of_settings_are_valid() {
    let mesh = "discoverySelectors: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]";
    let field = "data.mesh.discoverySelectors[0].matchExpressions[0].values";
    check(Kind::ConfigMap, &settings(mesh), "MS002", &format!("ConfigMap istio-system/istio: {field}"));
}

#[test]
fn ms003_values_of_settings_are_known() {
    let mesh = "serviceScopeConfigs: [{scope: WORLD}]";
    let field = "data.mesh.serviceScopeConfigs[0].scope";
    check(Kind::ConfigMap, &settings(mesh), "MS003", &format!("ConfigMap istio-system/istio: {field}"));
}

#[test]
fn the_page_of_diagnostics_explains_every_code_in_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/diagnostics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter_map(|heading| heading.split(':').next())
        .collect();
    // Other crates explain codes of theirs on the same page.
    let ours: Vec<&str> = explained.into_iter().filter(|code| code::ALL.contains(code)).collect();
    assert_eq!(ours, code::ALL);
}

#[test]
fn facts_of_every_kind_know_their_kind_and_name() {
    for &kind in Kind::ALL {
        let object = parse(kind, br#"{"metadata":{"name":"a","namespace":"b"}}"#).unwrap();
        assert_eq!(object.kind(), kind);
        assert_eq!(object.name().name, "a");
    }
}

#[test]
fn labels_without_effect_are_told_up_to_a_bound() {
    let labels: serde_json::Map<String, Value> =
        (0..5000).map(|n| (format!("istio.io/k{n}"), json!("v"))).collect();
    let object = json!({"metadata": {"name": "a", "namespace": "b", "labels": labels}});
    let Object::Pod(pod) = parse(Kind::Pod, object.to_string().as_bytes()).unwrap() else { panic!() };
    assert_eq!(pod.ignored.iter().count(), 8);
    let service = parse(Kind::Service, object.to_string().as_bytes()).unwrap();
    let last = service.unsupported().last().unwrap();
    assert_eq!((service.unsupported().len(), last.field.as_str()), (9, "metadata"));
}

#[test]
fn null_counts_as_absent_everywhere() {
    for &kind in Kind::ALL {
        let bare = json!({"metadata": {"name": "a", "namespace": "b"}});
        let mut nulls = bare.clone();
        for field in ["spec", "status", "data", "endpoints", "ports", "addressType"] {
            nulls[field] = Value::Null;
        }
        for field in ["uid", "labels", "annotations", "generation", "creationTimestamp", "ownerReferences"] {
            nulls["metadata"][field] = Value::Null;
        }
        let [bare, nulls] = [bare, nulls].map(|v| parse(kind, v.to_string().as_bytes()).unwrap());
        assert_eq!(bare, nulls);
    }
}

#[test]
fn bytes_that_are_no_text_are_no_panic() {
    for &kind in Kind::ALL {
        let mut json =
            br#"{"metadata":{"name":"a","namespace":"b","labels":{"x":"?"}},"spec":{"rules":"?"}}"#.to_vec();
        json.iter_mut().filter(|b| **b == b'?').for_each(|b| *b = 0xff);
        let _ = parse(kind, &json);
    }
}

/// Names that the parsers look for, so that random documents reach deep.
const FIELDS: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "spec",
    "status",
    "data",
    "mesh",
    "selector",
    "matchLabels",
    "matchExpressions",
    "rules",
    "from",
    "source",
    "to",
    "operation",
    "ports",
    "when",
    "action",
    "mtls",
    "mode",
    "portLevelMtls",
    "containers",
    "podIPs",
    "conditions",
    "clusterIPs",
    "port",
    "targetPort",
    "endpoints",
    "addresses",
    "targetRef",
    "targetRefs",
    "listeners",
    "allowedRoutes",
    "namespaces",
    "hosts",
    "resolution",
    "workloadSelector",
    "weight",
    "number",
    "80",
    "creationTimestamp",
    "parentRefs",
    "rules",
    "matches",
    "path",
    "headers",
    "filters",
    "type",
    "requestMirror",
    "backendRef",
    "backendRefs",
    "timeouts",
    "request",
    "retry",
    "targetRefs",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u32..70_000).prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        proptest::sample::select(FIELDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(proptest::sample::select(FIELDS), inner, 0..6).prop_map(|m| m
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_read_without_a_panic(document in any_json()) {
        for &kind in Kind::ALL {
            if let Err(diagnostic) = parse(kind, document.to_string().as_bytes()) {
                prop_assert!(code::ALL.contains(&diagnostic.code));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for &kind in Kind::ALL {
            let _ = parse(kind, &bytes);
        }
    }

    #[test]
    fn a_named_policy_is_never_lost(spec in any_json(), labels in any_json()) {
        for kind in [Kind::AuthorizationPolicy, Kind::PeerAuthentication] {
            let manifest = json!({"metadata": {"name": "a", "namespace": "b", "labels": labels}, "spec": spec});
            let object = parse(kind, manifest.to_string().as_bytes()).unwrap();
            prop_assert_eq!(object.name(), crate::Name::new("b", "a"));
        }
    }

    #[test]
    fn order_of_fields_changes_nothing(labels in prop::collection::vec(("[a-c]{1,2}", "[a-c]{0,2}"), 0..6)) {
        let pairs: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
        let write = |pairs: &mut dyn Iterator<Item = (&String, &String)>| {
            let body: Vec<String> = pairs.map(|(k, v)| format!("{k:?}:{v:?}")).collect();
            format!(r#"{{"metadata":{{"name":"a","namespace":"b","labels":{{{}}}}}}}"#, body.join(","))
        };
        let forward = parse(Kind::Pod, write(&mut pairs.iter()).as_bytes());
        let backward = parse(Kind::Pod, write(&mut pairs.iter().rev()).as_bytes());
        prop_assert_eq!(forward, backward);
    }
}
