//! What Envoys are sent: golden cases, and a real Envoy that takes each of them.
//!
//! `tests/golden-envoy/CASE/input.yaml` has the objects, in whatever order they come, and `expected.yaml` what each
//! waypoint is sent. `UPDATE_GOLDEN=1 cargo test -p pilothouse-tests --test envoy` writes the latter.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acceptance;
mod bootstrap;
mod collector;
mod dashboards;
mod destination;
mod edge;
mod edge_http3;
mod edge_renewal;
mod endpoints;
mod expressions;
mod extensions;
mod external;
mod jwt;
mod keys;
mod limits;
mod localities;
mod networks;
mod peers;
mod policy;
mod processor;
mod proxy;
mod random;
mod refusals;
mod reports;
mod rules;
mod serve;
mod size;
mod telemetry;
mod traffic;
mod workloads;

#[path = "../identity/publisher.rs"]
mod publisher;

#[path = "../golden/input.rs"]
mod input;

use input::Input;
use plane::Plane;
use proto::{Described, Scope};
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_case_gives_what_it_expects_in_any_order() {
    let mut failures = Vec::new();
    for (case, input) in cases() {
        let mesh = input.apply_at_once(input.events.clone());
        failures.extend(input.orders_that_differ(&mesh).into_iter().map(|order| format!("{case}: {order}")));
        let actual = rendered(&mesh);
        let file = folder().join(&case).join("expected.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if let Some(line) = expected.lines().zip(actual.lines()).position(|(a, b)| a != b) {
            let of = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
            failures.push(format!("{case}: line {}:\n  - {}\n  + {}", line + 1, of(&expected), of(&actual)));
        } else if expected != actual {
            failures.push(format!("{case}: one is longer"));
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden-envoy")
}

/// All cases, ascending by name.
fn cases() -> Vec<(String, Input)> {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(!names.is_empty(), "no case at all");
    let read = |name: String| {
        let input = Input::read(&folder().join(&name).join("input.yaml"));
        (name, input)
    };
    names.into_iter().map(read).collect()
}

/// What each waypoint is sent, by type and name; then what authors are told, conditions those of policies.
fn rendered(mesh: &Plane) -> String {
    let mut scopes: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>> = BTreeMap::new();
    for resource in mesh.resources() {
        let Scope::Proxy(waypoint) = &resource.scope else { continue };
        let body = resource.body.as_ref().expect("a resource that is there");
        let described = Described::decode(resource.resource_type.type_url(), body).unwrap();
        // By way of a value whose keys are in order: entries of a map have none.
        let value = serde_yaml::to_value(serde_json::to_value(described).unwrap()).unwrap();
        let of_type = format!("{:?}", resource.resource_type);
        let group = scopes.entry(waypoint.to_string()).or_default().entry(of_type).or_default();
        assert_eq!(group.insert(resource.name.clone(), value), None, "{} twice", resource.name);
    }
    let mut all = Mapping::new();
    for (waypoint, types) in scopes {
        let named = |(name, value)| (Value::from(name), value);
        let types = types.into_iter().map(|(of, group)| {
            (Value::from(of), Value::from(group.into_iter().map(named).collect::<Mapping>()))
        });
        all.insert(Value::from(waypoint), Value::from(types.collect::<Mapping>()));
    }
    let kinds =
        ["AuthorizationPolicy ", "RequestAuthentication ", "Telemetry ", "TrafficExtension ", "WasmPlugin "];
    let is_of_policy =
        |object: &Value| object.as_str().is_some_and(|of| kinds.iter().any(|kind| of.starts_with(kind)));
    let conditions = input::conditions(mesh).into_iter().filter(|(object, _)| is_of_policy(object));
    let conditions: Mapping = conditions.collect();
    if !conditions.is_empty() {
        all.insert(Value::from("conditions"), Value::from(conditions));
    }
    let mut lines: Vec<String> =
        mesh.diagnostics().iter().map(|d| format!("{}[{}] {d}", d.severity, d.code)).collect();
    lines.sort();
    if !lines.is_empty() {
        all.insert(Value::from("diagnostics"), Value::from(lines));
    }
    serde_yaml::to_string(&all).unwrap()
}
