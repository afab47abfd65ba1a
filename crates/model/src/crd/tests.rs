#![allow(clippy::unwrap_used)]

use super::files;
use crate::yaml;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

fn parsed() -> Vec<Value> {
    files().unwrap().iter().map(|f| Value::deserialize(yaml::document(&f.text)).unwrap()).collect()
}

#[test]
fn committed_definitions_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/base/crds");
    let mut committed: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut generated: Vec<String> = files().unwrap().into_iter().map(|f| f.name).collect();
    committed.sort();
    generated.sort();
    assert_eq!(committed, generated, "run `cargo run -p pilothouse-model --example crds`");
    for file in files().unwrap() {
        let text = std::fs::read_to_string(folder.join(&file.name)).unwrap();
        assert_eq!(text, file.text, "{}: run `cargo run -p pilothouse-model --example crds`", file.name);
    }
}

#[test]
fn one_version_is_stored_and_it_is_one_that_may_be_watched() {
    for crd in parsed() {
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let stored: Vec<&str> =
            versions.iter().filter(|v| v["storage"] == true).map(|v| v["name"].as_str().unwrap()).collect();
        let kind = crate::Kind::from_manifest(
            &format!("{}/v1", crd["spec"]["group"].as_str().unwrap()),
            crd["spec"]["names"]["kind"].as_str().unwrap(),
        );
        assert_eq!(stored.len(), 1, "{stored:?}");
        assert!(kind.unwrap().versions().contains(&stored[0]), "{stored:?}");
    }
}

#[test]
fn every_custom_kind_outside_the_gateway_api_is_defined() {
    let defined: Vec<String> =
        parsed().iter().map(|crd| crd["spec"]["names"]["kind"].as_str().unwrap().to_owned()).collect();
    let ours = crate::Kind::ALL
        .iter()
        .filter(|k| !k.is_built_in() && !k.group().starts_with("gateway.networking."))
        .map(|k| k.name());
    assert_eq!(defined, ours.collect::<Vec<_>>());
}

/// What `apiextensions.k8s.io/v1` asks of a structural schema.
#[test]
fn schemas_are_structural() {
    fn check(path: &str, schema: &Value) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{path} is no schema"));
        for banned in ["$ref", "definitions", "$defs", "$schema", "title", "const", "oneOf"] {
            assert!(!object.contains_key(banned), "{path} has {banned}");
        }
        if object.contains_key("x-kubernetes-int-or-string") {
            return;
        }
        assert!(object.get("type").is_some_and(Value::is_string), "{path} has no single type");
        assert!(!object.contains_key("anyOf"), "{path} has a choice");
        assert!(object.get("description").is_none_or(Value::is_string));
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            check(&format!("{path}.{name}"), property);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = object.get(inner) {
                check(&format!("{path}[]"), inner);
            }
        }
    }
    for crd in parsed() {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            check(crd["metadata"]["name"].as_str().unwrap(), &version["schema"]["openAPIV3Schema"]);
        }
    }
}

#[test]
fn every_property_is_described() {
    fn check(path: &str, schema: &Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{path}.{name}");
            check(&format!("{path}.{name}"), property);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                check(path, inner);
            }
        }
    }
    for crd in parsed() {
        check(
            crd["metadata"]["name"].as_str().unwrap(),
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        );
    }
}
