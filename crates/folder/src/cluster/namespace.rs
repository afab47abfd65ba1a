//! Namespaces and the service account that each of them has.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{add, of_kind};
use crate::{Key, Objects};

/// The namespaces that a cluster with a mesh always has.
const ALWAYS: [&str; 5] = ["default", "istio-system", "kube-node-lease", "kube-public", "kube-system"];

/// The label that carries a namespace's own name, set by the API server.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Adds the namespaces that objects refer to, the label with the name to all of them, and the
/// account `default` to each.
pub(super) fn complete(objects: &mut Objects) {
    let declared: Vec<Key> = of_kind(objects, "", "Namespace").map(|object| object.key.clone()).collect();
    for key in declared {
        if let Some(object) = objects.get_mut(&key) {
            label(&mut Arc::make_mut(object).value, &key.name);
        }
    }
    let names: BTreeSet<String> = objects
        .keys()
        .filter(|key| !key.namespace.is_empty())
        .map(|key| key.namespace.clone())
        .chain(ALWAYS.map(str::to_owned))
        .collect();
    for name in &names {
        let value = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {NAME_LABEL: name}},
            "status": {"phase": "Active"},
        });
        add(objects, "v1", Key::new("", "Namespace", "", name), value, None);
    }
    let all: Vec<String> = of_kind(objects, "", "Namespace").map(|object| object.key.name.clone()).collect();
    for namespace in all {
        let value = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        });
        add(objects, "v1", Key::new("", "ServiceAccount", &namespace, "default"), value, None);
    }
}

fn label(value: &mut Value, name: &str) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    // Labels of a wrong type are left for the reader of the object to complain about.
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(NAME_LABEL.to_owned(), Value::String(name.to_owned()));
    }
}
