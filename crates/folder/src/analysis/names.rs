//! Labels and annotations of the mesh, and namespaces.

use std::collections::BTreeSet;

use model::field::{Doubt, MetadataPart, doubt};
use model::{Kind, Severity, did_you_mean, nearest};
use serde_json::Value;

use crate::code;
use crate::key::Key;
use crate::object::{Object, Objects};
use crate::problem::Problem;

/// The namespaces that nobody has to declare.
const ALWAYS: [&str; 5] = ["default", "istio-system", "kube-node-lease", "kube-public", "kube-system"];

/// Tells of labels and annotations that are nearly those of the mesh, and of values that they cannot have, where the
/// objects are not read: of others it is told as in a cluster.
pub(super) fn labels(declared: &Objects, problems: &mut Vec<Problem>) {
    for (key, object) in declared {
        let is_it = |kind: &&Kind| kind.group() == key.group && kind.name() == key.kind;
        if Kind::ALL.iter().find(is_it).is_some_and(|kind| model::Object::judges_metadata(*kind)) {
            continue;
        }
        for part in [MetadataPart::Label, MetadataPart::Annotation] {
            let field = format!("metadata.{}", part.field());
            let map =
                object.value.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_object);
            for (name, value) in map.into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                let Some(doubt) = doubt(None, part, name, value) else { continue };
                if doubt.is_mistake() && !matches!(doubt, Doubt::Unsupported { .. }) {
                    let (field, message) = (format!("{field}[{name}]"), doubt.message(value));
                    problems.push(problem(object, code::LABEL, field, message, doubt.help(value)));
                }
            }
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
