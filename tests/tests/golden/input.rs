//! The objects of a case, and the mesh that they become, in whatever order they come.

use mesh::{Options, ProxyOptions};
use model::facts::{Answer, ConfigMap, Referent};
use model::parse::{ReferentKind, referent};
use model::{Event, Kind, Ns};
use plane::Plane;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Shuffled orders tried of each case.
const SEEDS: u64 = 3;

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
    network_gateway_namespaces: Option<Vec<String>>,
    gateway_api: Option<bool>,
    configures_waypoints: Option<bool>,
    is_one_machine: Option<bool>,
    metric_label_sets: Option<u32>,
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
            network_gateway_namespaces: self.network_gateway_namespaces.unwrap_or_default(),
            gateway_api: self.gateway_api.unwrap_or(default.gateway_api),
            configures_waypoints: self.configures_waypoints.unwrap_or(default.configures_waypoints),
            is_one_machine: self.is_one_machine.unwrap_or(default.is_one_machine),
            metric_label_sets: self.metric_label_sets.unwrap_or(default.metric_label_sets),
            proxies: self.deployed.unwrap_or_default().then(ProxyOptions::default),
        }
    }
}

/// The objects of one case.
pub struct Input {
    options: Options,
    /// In the order of the file.
    pub events: Vec<Event>,
}

impl Input {
    pub fn read(path: &Path) -> Self {
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
    pub fn apply_at_once(&self, events: Vec<Event>) -> Plane {
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

    pub fn orders_that_differ(&self, expected: &Plane) -> Vec<String> {
        let diagnostics = |mesh: &Plane| {
            let mut all = mesh.diagnostics();
            all.sort();
            all
        };
        let differs = |mesh: Plane| {
            let parts = [
                ("resources", mesh.resources() != expected.resources()),
                ("diagnostics", diagnostics(&mesh) != diagnostics(expected)),
                ("conditions", conditions(&mesh) != conditions(expected)),
                ("routes", mesh.routes() != expected.routes()),
                ("tls", mesh.terminations() != expected.terminations()),
                ("policies", mesh.backend_policies() != expected.backend_policies()),
                ("wanted", mesh.wanted() != expected.wanted()),
                ("deployments", mesh.deployments() != expected.deployments()),
            ];
            let parts: Vec<&str> =
                parts.into_iter().filter(|(_, differ)| *differ).map(|(of, _)| of).collect();
            (!parts.is_empty())
                .then(|| format!("other {} {:?}", parts.join(", "), other_resources(&mesh, expected)))
        };
        let mut orders = vec![("reversed".to_owned(), self.events.iter().rev().cloned().collect())];
        for seed in 0..SEEDS {
            let mut shuffled = self.events.clone();
            shuffled.shuffle(&mut StdRng::seed_from_u64(seed));
            orders.push((format!("shuffled by {seed}"), shuffled));
        }
        let mut differ = Vec::new();
        for (name, events) in orders {
            differ.extend(
                differs(self.apply_at_once(events.clone())).map(|of| format!("{name}, at once: {of}")),
            );
            differ
                .extend(differs(self.apply_one_by_one(events)).map(|of| format!("{name}, one by one: {of}")));
        }
        let in_order = differs(self.apply_one_by_one(self.events.clone()));
        differ.extend(in_order.map(|of| format!("in order, one by one: {of}")));
        differ
    }
}

/// Returns the names of resources that one has and the other has not, or otherwise.
fn other_resources(one: &Plane, other: &Plane) -> BTreeSet<String> {
    let (ones, others) = (one.resources(), other.resources());
    let only = |these: &[plane::ResourceChange], those: &[plane::ResourceChange]| {
        let only = these.iter().filter(|of| !those.contains(of));
        only.map(|of| format!("{:?} {}", of.scope, of.name)).collect::<BTreeSet<_>>()
    };
    only(&ones, &others).into_iter().chain(only(&others, &ones)).collect()
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

/// The conditions of each object that has any, as `type=status reason: message`, with the generation that
/// they speak of where there is one; then what else its status has.
pub fn conditions(mesh: &Plane) -> Mapping {
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
