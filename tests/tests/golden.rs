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

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use mesh::{Options, ProxyOptions};
use model::Event;
use model::facts::{Answer, ConfigMap, Referent};
use model::parse::{ReferentKind, referent};
use model::{Kind, Ns};
use pilothouse_tests::client::yaml;
use plane::Plane;
use prost::Message;
use proto::ResourceType;
use proto::security::Authorization;
use proto::workload::Address;
use proto::workload::address::Type;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

/// Shuffled orders tried of each case.
const SEEDS: u64 = 3;

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

/// The options that a case may set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseOptions {
    cluster_id: Option<String>,
    system_namespace: Option<String>,
    revision: Option<String>,
    owns_unlabelled: Option<bool>,
    domain_suffix: Option<String>,
    dry_run_policies: Option<bool>,
    allow_waypoints: Option<bool>,
    require_waypoints: Option<bool>,
    traffic_distribution: Option<String>,
    allocates_addresses: Option<bool>,
    entries_select_pods: Option<bool>,
    services_select_entries: Option<bool>,
    multi_network: Option<bool>,
    gateway_api: Option<bool>,
    /// Whether gateways are deployed.
    deployed: Option<bool>,
}

impl CaseOptions {
    fn over_defaults(self) -> Options {
        let default = Options::default();
        Options {
            cluster_id: self.cluster_id.unwrap_or(default.cluster_id.clone()),
            system_namespace: self.system_namespace.unwrap_or(default.system_namespace.clone()),
            revision: self.revision.unwrap_or(default.revision.clone()),
            owns_unlabelled: self.owns_unlabelled.or(default.owns_unlabelled),
            domain_suffix: self.domain_suffix.unwrap_or(default.domain_suffix.clone()),
            dry_run_policies: self.dry_run_policies.unwrap_or(default.dry_run_policies),
            allow_waypoints: self.allow_waypoints.unwrap_or(default.allow_waypoints),
            require_waypoints: self.require_waypoints.unwrap_or(default.require_waypoints),
            traffic_distribution: self.traffic_distribution.map(|text| text.parse().unwrap()),
            allocates_addresses: self.allocates_addresses.unwrap_or(default.allocates_addresses),
            entries_select_pods: self.entries_select_pods.unwrap_or(default.entries_select_pods),
            services_select_entries: self.services_select_entries.unwrap_or(default.services_select_entries),
            multi_network: self.multi_network.unwrap_or(default.multi_network),
            gateway_api: self.gateway_api.unwrap_or(default.gateway_api),
            proxies: self.deployed.unwrap_or_default().then(ProxyOptions::default),
        }
    }
}

/// The objects of one case.
struct Input {
    options: Options,
    /// In the order of the file.
    events: Vec<Event>,
}

impl Input {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut input = Self { options: Options::default(), events: Vec::new() };
        for (n, document) in serde_yaml::Deserializer::from_str(&text).enumerate() {
            let at = format!("{}, document {n}", path.display());
            let mut value = Value::deserialize(document).unwrap_or_else(|e| panic!("{at}: {e}"));
            value.apply_merge().unwrap();
            match value.get("options") {
                Some(options) => {
                    let options: CaseOptions =
                        serde_yaml::from_value(options.clone()).unwrap_or_else(|e| panic!("{at}: {e}"));
                    input.options = options.over_defaults();
                }
                None => input.events.extend(events(&value, &at)),
            }
        }
        let system = Ns::own(&input.options.system_namespace);
        let mut defaults: Vec<_> =
            input.events.iter().filter_map(|event| class_default(event, &system)).collect();
        if !defaults.is_empty() {
            defaults.sort_by(|a, b| a.name.cmp(&b.name));
            let answer = Answer::ConfigMaps(defaults);
            input.events.push(Event::Answer(Referent::ClassDefaults(system), answer));
        }
        input
    }

    /// A mesh that is told of everything in its first commit.
    fn apply_at_once(&self, events: Vec<Event>) -> Plane {
        let mut mesh = Plane::new(&self.options);
        let begin = Kind::ALL.iter().map(|k| Event::Begin(*k));
        let end = Kind::ALL.iter().map(|k| Event::Synced(*k));
        mesh.apply(begin.chain(events).chain(end));
        assert!(mesh.is_synced());
        mesh
    }

    /// A mesh that is told of one object after another.
    fn apply_one_by_one(&self, events: Vec<Event>) -> Plane {
        let mut mesh = self.apply_at_once(Vec::new());
        for event in events {
            mesh.apply([event]);
        }
        mesh
    }

    fn orders_that_differ(&self, expected: &Plane) -> Vec<String> {
        let diagnostics = |mesh: &Plane| {
            let mut all = mesh.diagnostics();
            all.sort();
            all
        };
        let differs = |mesh: Plane| {
            mesh.resources() != expected.resources()
                || diagnostics(&mesh) != diagnostics(expected)
                || conditions(&mesh) != conditions(expected)
                || mesh.routes() != expected.routes()
                || mesh.wanted() != expected.wanted()
                || mesh.deployments() != expected.deployments()
        };
        let mut orders = vec![("reversed".to_owned(), self.events.iter().rev().cloned().collect())];
        for seed in 0..SEEDS {
            let mut shuffled = self.events.clone();
            shuffled.shuffle(&mut StdRng::seed_from_u64(seed));
            orders.push((format!("shuffled by {seed}"), shuffled));
        }
        let mut differ = Vec::new();
        for (name, events) in orders {
            if differs(self.apply_at_once(events.clone())) {
                differ.push(format!("{name}, at once: another mesh"));
            }
            if differs(self.apply_one_by_one(events)) {
                differ.push(format!("{name}, one by one: another mesh"));
            }
        }
        if differs(self.apply_one_by_one(self.events.clone())) {
            differ.push("in order, one by one: another mesh".to_owned());
        }
        differ
    }
}

/// Returns a ConfigMap that has defaults of a class of gateways.
fn class_default(event: &Event, system: &Ns) -> Option<Arc<ConfigMap>> {
    match event {
        Event::Answer(_, Answer::ConfigMap(map)) if map.is_class_default(system) => Some(map.clone()),
        _ => None,
    }
}

/// What a source tells of an object: of what is read by reference, what is there; of a ConfigMap both, since
/// one of them has the settings of the mesh.
fn events(manifest: &Value, at: &str) -> Vec<Event> {
    let text = |field: &str| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let json = serde_json::to_vec(manifest).unwrap();
    let listed = Kind::from_manifest(api_version, kind).map(|kind| match model::parse(kind, &json) {
        Ok(object) => Event::Put(object),
        Err(diagnostic) => Event::Reject(diagnostic.object.clone().expect("a name"), diagnostic),
    });
    let by_reference = ReferentKind::from_manifest(api_version, kind).map(|kind| {
        let (of, answer) = referent(kind, &json).unwrap_or_else(|d| panic!("{at}: {d}"));
        Event::Answer(of, answer)
    });
    let events: Vec<Event> = listed.into_iter().chain(by_reference).collect();
    assert!(!events.is_empty(), "{at}: no kind that is read");
    events
}

/// Everything that is sent, decoded, and everything that authors are told.
fn render(mesh: &Plane) -> String {
    let (mut services, mut workloads, mut policies) = (Mapping::new(), Mapping::new(), Mapping::new());
    for resource in mesh.resources() {
        let body = resource.body.clone().expect("a resource that is there");
        let (group, text, again) = match resource.resource_type {
            ResourceType::Address => {
                let address = Address::decode(body.clone()).unwrap();
                let again = address.encode_to_vec();
                match address.r#type.unwrap() {
                    of @ Type::Workload(_) => (&mut workloads, yaml::address(&of), again),
                    of @ Type::Service(_) => (&mut services, yaml::address(&of), again),
                }
            }
            ResourceType::Authorization => {
                let policy = Authorization::decode(body.clone()).unwrap();
                (&mut policies, yaml::authorization(&policy), policy.encode_to_vec())
            }
            other => panic!("a case of the mesh has no {other:?}"),
        };
        assert_eq!(body, again, "{}: bytes that decoding loses", resource.name);
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
    let deployments = deployments(mesh);
    if !deployments.is_empty() {
        all.insert(Value::from("deployments"), Value::from(deployments));
    }
    if !lines.is_empty() {
        all.insert(Value::from("diagnostics"), Value::from(lines));
    }
    serde_yaml::to_string(&all).unwrap()
}

/// The conditions of each object that has any, as `type=status reason: message`, with the generation that
/// they speak of where there is one; then what else its status has.
fn conditions(mesh: &Plane) -> Mapping {
    let mut all = BTreeMap::new();
    for (object, conditions) in mesh.conditions() {
        let of = match conditions.generation {
            0 => String::new(),
            generation => format!(" (generation {generation})"),
        };
        let line = |c: &plane::Condition| {
            let status = if c.status { "True" } else { "False" };
            Value::from(format!("{}={status}{of} {}: {}", c.kind, c.reason, c.message))
        };
        let mut lines: Vec<Value> = conditions.conditions.iter().map(line).collect();
        for (field, value) in &conditions.fields {
            lines.push(Value::from(format!("{field}: {value}")));
        }
        for list in &conditions.lists {
            lines.extend(list.entries.iter().map(|entry| {
                let fields = entry.key.iter().chain(&entry.fields);
                let fields: Vec<String> = fields.map(|(field, value)| format!("{field}: {value}")).collect();
                let head = format!("{} {}", list.field, fields.join(", "));
                let lines: Vec<Value> = entry.conditions.iter().map(line).collect();
                Value::from(Mapping::from_iter([(Value::from(head), Value::from(lines))]))
            }));
        }
        if !lines.is_empty() {
            all.insert(object.to_string(), Value::from(lines));
        }
    }
    all.into_iter().map(|(object, lines)| (Value::from(object), lines)).collect()
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
