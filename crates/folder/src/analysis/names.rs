//! Labels and annotations of the mesh, and namespaces.

use std::collections::BTreeSet;

use model::{Severity, did_you_mean, nearest, nearest_within};
use serde_json::Value;

use crate::code;
use crate::key::Key;
use crate::object::{Object, Objects};
use crate::problem::Problem;

/// The labels and annotations that a mesh reads, with their values where they have few.
const KNOWN: &[(&str, &[&str])] = &[
    ("ambient.istio.io/redirection", &["enabled", "disabled"]),
    ("ambient.istio.io/waypoint-inbound-binding", &[]),
    ("ambient.pilothouse.io/require-waypoint", &[]),
    ("gateway.istio.io/managed", &[]),
    ("gateway.istio.io/service-account", &[]),
    ("gateway.networking.k8s.io/gateway-name", &[]),
    ("istio.io/autoRegistrationGroup", &[]),
    ("istio.io/connect-strategy", &[]),
    ("istio.io/dataplane-mode", &["ambient", "none"]),
    ("istio.io/dry-run", &["true", "false"]),
    ("istio.io/global", &[]),
    ("istio.io/ingress-use-waypoint", &["true", "false"]),
    ("istio.io/rev", &[]),
    ("istio.io/tag", &[]),
    ("istio.io/use-waypoint", &[]),
    ("istio.io/use-waypoint-canary", &[]),
    ("istio.io/use-waypoint-canary-namespace", &[]),
    ("istio.io/use-waypoint-canary-weight", &[]),
    ("istio.io/use-waypoint-namespace", &[]),
    ("istio.io/waypoint-for", &["service", "workload", "all", "none"]),
    ("networking.istio.io/enable-autoallocate-ip", &["true", "false"]),
    ("networking.istio.io/traffic-distribution", &[]),
    ("networking.istio.io/tunnel", &[]),
    ("service.istio.io/canonical-name", &[]),
    ("service.istio.io/canonical-revision", &[]),
    ("service.istio.io/workload-name", &[]),
    ("sidecar.istio.io/inject", &["true", "false"]),
    ("sidecar.istio.io/status", &[]),
    ("topology.istio.io/cluster", &[]),
    ("topology.istio.io/network", &[]),
    ("topology.istio.io/subzone", &[]),
];

/// How many letters of a label may be wrong for it to be taken for another.
const MOST_WRONG: usize = 2;

/// The namespaces that nobody has to declare.
const ALWAYS: [&str; 5] = ["default", "istio-system", "kube-node-lease", "kube-public", "kube-system"];

/// Tells of labels and annotations that are nearly those of the mesh, and of values that they cannot have.
pub(super) fn labels(declared: &Objects, problems: &mut Vec<Problem>) {
    for object in declared.values() {
        for outer in ["/metadata", "/spec/template/metadata"] {
            for part in ["labels", "annotations"] {
                let map = object.value.pointer(&format!("{outer}/{part}")).and_then(Value::as_object);
                for (name, value) in map.into_iter().flatten() {
                    let field = format!("{}.{part}", outer.trim_start_matches('/').replace('/', "."));
                    if let Some((message, help)) = doubt(name, value.as_str().unwrap_or_default()) {
                        problems.push(problem(object, code::LABEL, field, message, help));
                    }
                }
            }
        }
    }
}

fn doubt(name: &str, value: &str) -> Option<(String, String)> {
    if !name.contains('/') {
        return None;
    }
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, values)) if values.is_empty() || values.contains(&value) => None,
        Some((_, values)) => {
            let help = nearest(value, values.iter().copied()).map(did_you_mean);
            let help = help.unwrap_or_else(|| format!("use one of {}", values.join(", ")));
            Some((format!("{name} has no effect with the value {value:?}"), help))
        }
        None => {
            let near = nearest_within(name, KNOWN.iter().map(|(known, _)| *known), MOST_WRONG)?;
            Some((format!("{name:?} is not known to a mesh, and has no effect"), did_you_mean(near)))
        }
    }
}

/// Tells of namespaces that are not declared, once each, where the folder declares those that it uses.
pub(super) fn namespaces(declared: &Objects, problems: &mut Vec<Problem>) {
    let named: BTreeSet<&str> = declared
        .keys()
        .filter(|key| key.group.is_empty() && key.kind == "Namespace")
        .map(|key| key.name.as_str())
        .collect();
    if named.is_empty() {
        return;
    }
    let mut reported = BTreeSet::new();
    for (key, object) in declared {
        let namespace = key.namespace.as_str();
        let is_there = namespace.is_empty() || named.contains(namespace) || ALWAYS.contains(&namespace);
        if is_there || !reported.insert(namespace) {
            continue;
        }
        let near = near(namespace, named.iter().copied().chain(ALWAYS));
        // Where nothing is in the one that is nearly so called, its declaration is the place to look at.
        let key = near.map(|near| Key::new("", "Namespace", "", near));
        let is_empty = |key: &Key| !declared.keys().any(|other| other.namespace == key.name);
        let empty = key.filter(is_empty).and_then(|key| declared.get(&key));
        let (place, field) = match empty {
            Some(declaration) => (declaration, "metadata.name"),
            None => (object, "metadata.namespace"),
        };
        let message =
            format!("namespaces {namespace:?} not found: it is not declared, and made all the same");
        let help = match (empty, near) {
            (Some(_), Some(near)) => {
                format!("nothing is in {near:?}, which is declared: {}", did_you_mean(namespace))
            }
            (None, Some(near)) => did_you_mean(near),
            (_, None) => "declare it, or apply it first".to_owned(),
        };
        let mut problem = problem(place, code::NAMESPACE, field.to_owned(), message, help);
        problem.severity = if near.is_some() { Severity::Warning } else { Severity::Info };
        problems.push(problem);
    }
}

/// The name that is meant most likely: nearly the same, or one that begins so.
pub(super) fn near<'n>(written: &str, known: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    nearest(written, known.clone()).or_else(|| {
        let mut longer = known.filter(|name| !written.is_empty() && name.starts_with(written));
        longer.next()
    })
}

/// A doubt about a field of an object.
pub(super) fn problem(
    object: &Object,
    code: &'static str,
    field: String,
    message: String,
    help: String,
) -> Problem {
    let origin = object.origin.as_ref();
    Problem {
        file: origin.map(|origin| origin.file.clone()).unwrap_or_default(),
        line: origin.map_or(1, |origin| origin.line),
        column: 1,
        severity: Severity::Warning,
        code,
        object: Some(object.key.clone()),
        field,
        message,
        help,
    }
}
