//! Golden cases: the objects of `tests/golden/<case>/input.yaml` become what `expected.yaml` says.
//!
//! ```text
//! input.yaml ──parse──▶ events ──4 orders──▶ Mesh ──resources──▶ YAML == expected.yaml
//! ROWS.md: one row of the specification, one case
//! ```
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes `expected.yaml`; whoever does so reads every
//! line of the difference against the row that the case is about. CI never sets it.
//!
//! `input.yaml` is a stream of Kubernetes objects whose first line is `# § <section> <row>`, as in
//! `ROWS.md`. A document with `options` instead of a kind sets options of the control plane.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "golden/input.rs"]
mod input;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use input::{Input, conditions};
use model::facts::Referent;
use pilothouse_tests::client::yaml;
use plane::Plane;
use prost::Message;
use proto::ResourceType;
use proto::security::Authorization;
use proto::workload::Address;
use proto::workload::address::Type;
use serde_yaml::{Mapping, Value};

/// Writes what is expected, once and before any test reads it, if that is asked for.
static UPDATED: LazyLock<()> = LazyLock::new(|| {
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        return;
    }
    for case in case_names() {
        let dir = folder().join(case);
        let input = Input::read(&dir.join("input.yaml"));
        fs::write(dir.join("expected.yaml"), render(&input.apply_at_once(input.events.clone()))).unwrap();
    }
});

#[test]
fn every_case_gives_what_it_expects_in_any_order() {
    LazyLock::force(&UPDATED);
    let mut failures = Vec::new();
    for case in case_names() {
        let dir = folder().join(&case);
        let input = Input::read(&dir.join("input.yaml"));
        let mesh = input.apply_at_once(input.events.clone());
        failures.extend(input.orders_that_differ(&mesh).into_iter().map(|order| format!("{case}: {order}")));
        let actual = render(&mesh);
        match fs::read_to_string(dir.join("expected.yaml")) {
            Ok(expected) if expected == actual => {}
            Ok(expected) => failures.push(format!("{case}:\n{}", first_difference(&expected, &actual))),
            Err(error) => failures.push(format!("{case}: expected.yaml: {error}")),
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_each_resource_and_each_condition_of_every_case_was_made_from_is_known() {
    let mut tables = BTreeSet::new();
    for case in case_names() {
        let input = Input::read(&folder().join(&case).join("input.yaml"));
        let mesh = input.apply_at_once(input.events.clone());
        let resources = mesh.resources().into_iter().map(|resource| resource.name);
        for name in resources.chain(mesh.conditions().iter().map(|(object, _)| object.to_string())) {
            let traces = mesh.why(&name, 1);
            assert!(!traces.is_empty(), "{case}: {name}");
            tables.extend(traces.iter().map(|trace| trace.table));
        }
    }
    // Twelve of conditions, of which that of routes stands for all kinds, and every table that is sent.
    assert_eq!(tables.len(), 12 + 13, "{tables:?}");
}

#[test]
fn every_row_has_a_case_and_every_case_a_row() {
    let rows = rows();
    let cases: BTreeSet<String> = case_names().into_iter().collect();
    let named: BTreeSet<String> = rows.keys().cloned().collect();
    let missing: Vec<_> = named.difference(&cases).collect();
    let orphans: Vec<_> = cases.difference(&named).collect();
    assert!(
        missing.is_empty() && orphans.is_empty(),
        "rows without case {missing:?}, cases without row {orphans:?}"
    );
    for (case, row) in rows {
        let input = fs::read_to_string(folder().join(&case).join("input.yaml")).unwrap();
        assert_eq!(input.lines().next(), Some(row.as_str()), "first line of {case}/input.yaml");
    }
}

#[test]
fn a_case_folder_holds_its_two_files_and_nothing_else() {
    LazyLock::force(&UPDATED);
    for case in case_names() {
        let files = entries(&folder().join(&case));
        assert_eq!(files, ["expected.yaml", "input.yaml"], "{case}");
    }
    let stray: Vec<_> = entries(&folder()).into_iter().filter(|e| !folder().join(e).is_dir()).collect();
    assert_eq!(stray, ["ROWS.md"]);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The names in a folder, ascending.
fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn case_names() -> Vec<String> {
    let names: Vec<String> =
        entries(&folder()).into_iter().filter(|name| folder().join(name).is_dir()).collect();
    assert!(!names.is_empty(), "no golden case at all");
    names
}

/// The table of `ROWS.md`: case name to the first line that its input must have.
fn rows() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("ROWS.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| §")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [section, row, case] = cells[..] else { panic!("not three cells: {line}") };
        let before = rows.insert(case.trim_matches('`').to_owned(), format!("# {section} {row}"));
        assert_eq!(before, None, "{case} stands in two rows");
    }
    rows
}

/// Everything that is sent, decoded, and everything that authors are told.
fn render(mesh: &Plane) -> String {
    let (mut services, mut workloads, mut policies) = (Mapping::new(), Mapping::new(), Mapping::new());
    for resource in mesh.resources() {
        let body = resource.body.clone().expect("a resource that is there");
        let (group, text, again) = match resource.resource_type {
            ResourceType::Address => {
                let address = Address::decode(&*body).unwrap();
                let again = address.encode_to_vec();
                match address.r#type.unwrap() {
                    of @ Type::Workload(_) => (&mut workloads, yaml::address(&of), again),
                    of @ Type::Service(_) => (&mut services, yaml::address(&of), again),
                }
            }
            ResourceType::Authorization => {
                let policy = Authorization::decode(&*body).unwrap();
                (&mut policies, yaml::authorization(&policy), policy.encode_to_vec())
            }
            other => panic!("a case of the mesh has no {other:?}"),
        };
        assert_eq!(*body, *again, "{}: bytes that decoding loses", resource.name);
        let value: Value = serde_yaml::from_str(&text).unwrap();
        let before = group.insert(Value::from(resource.name.as_str()), value);
        assert_eq!(before, None, "{} is there twice", resource.name);
    }
    let mut lines: Vec<String> =
        mesh.diagnostics().iter().map(|d| format!("{}[{}] {d}", d.severity, d.code)).collect();
    lines.sort();
    let mut all = Mapping::new();
    for (name, group) in [("services", services), ("workloads", workloads), ("authorizations", policies)] {
        if !group.is_empty() {
            all.insert(Value::from(name), Value::from(group));
        }
    }
    let conditions = conditions(mesh);
    if !conditions.is_empty() {
        all.insert(Value::from("conditions"), Value::from(conditions));
    }
    // Every gateway asks for the defaults of its class.
    let named = mesh.wanted().into_iter().filter(|of| !matches!(of, Referent::ClassDefaults(_)));
    let wanted: Vec<Value> = named.map(|of| Value::from(of.to_string())).collect();
    if !wanted.is_empty() {
        all.insert(Value::from("wanted"), Value::from(wanted));
    }
    let routes: Vec<Value> = mesh.routes().into_iter().map(Value::from).collect();
    if !routes.is_empty() {
        all.insert(Value::from("routes"), Value::from(routes));
    }
    for (name, sentences) in [("tls", mesh.terminations()), ("policies", mesh.backend_policies())] {
        if !sentences.is_empty() {
            let sentences: Vec<Value> = sentences.into_iter().map(Value::from).collect();
            all.insert(Value::from(name), Value::from(sentences));
        }
    }
    let deployments = deployments(mesh);
    if !deployments.is_empty() {
        all.insert(Value::from("deployments"), Value::from(deployments));
    }
    if !lines.is_empty() {
        all.insert(Value::from("diagnostics"), Value::from(lines));
    }
    serde_yaml::to_string(&all).unwrap()
}

/// What is deployed for each gateway: its objects, or why it cannot be said what they are.
fn deployments(mesh: &Plane) -> Mapping {
    let mut all = Mapping::new();
    for (gateway, deployment) in mesh.deployments() {
        let value = match &deployment.manifests {
            Err(fault) => Value::from(fault.message.as_str()),
            Ok(manifests) => {
                let bodies = manifests.iter().map(|manifest| serde_yaml::to_value(&*manifest.body).unwrap());
                Value::from(bodies.collect::<Vec<_>>())
            }
        };
        all.insert(Value::from(gateway.to_string()), value);
    }
    all
}

/// The first line that differs, with its number.
fn first_difference(expected: &str, actual: &str) -> String {
    let (mut wanted, mut got) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (wanted.next(), got.next()) {
            (None, None) => break,
            (wanted, got) if wanted != got => {
                let show = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
                return format!("  line {number}:\n  - {}\n  + {}", show(wanted), show(got));
            }
            _ => {}
        }
    }
    "  only line ends differ".to_owned()
}
