//! What a kustomization does to every object: namespaces, names, labels, replicas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::read::{Kustomization, Labels};
use crate::apiserver::is_namespaced;
use crate::key::Key;
use crate::object::Object;

/// The kinds whose names are left as they are.
const UNNAMED: [&str; 3] = ["Namespace", "CustomResourceDefinition", "APIService"];

/// The kinds with a selector of labels and a template of pods.
const CONTROLLERS: [&str; 4] = ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"];

/// Puts the objects into the namespace of the kustomization.
pub(super) fn namespace(objects: &mut [Object], namespace: &str) {
    for object in objects {
        let Some(metadata) = object.value.get_mut("metadata").and_then(Value::as_object_mut) else {
            continue;
        };
        if object.key.kind == "Namespace" && object.key.group.is_empty() {
            metadata.insert("name".to_owned(), namespace.into());
            namespace.clone_into(&mut object.key.name);
        } else if is_namespaced(&object.key.group, &object.key.kind) {
            metadata.insert("namespace".to_owned(), namespace.into());
            namespace.clone_into(&mut object.key.namespace);
        }
    }
}

/// Gives the objects the names of the kustomization, and follows the names by which they refer to each
/// other.
pub(super) fn names(objects: &mut [Object], prefix: &str, suffix: &str) {
    let mut renamed: BTreeMap<Key, String> = BTreeMap::new();
    for object in &mut *objects {
        if UNNAMED.contains(&object.key.kind.as_str()) {
            continue;
        }
        let name = format!("{prefix}{}{suffix}", object.key.name);
        renamed.insert(object.key.clone(), name.clone());
        if let Some(metadata) = object.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), name.as_str().into());
        }
        object.key.name = name;
    }
    for object in objects {
        let namespace = object.key.namespace.clone();
        let of = |kind: &str, name: &str| renamed.get(&Key::new("", kind, &namespace, name)).cloned();
        for pod in pod_specs(&object.key, &mut object.value) {
            for field in ["serviceAccountName", "serviceAccount"] {
                rename(pod, field, |name| of("ServiceAccount", name));
            }
        }
        if object.key.kind == "StatefulSet"
            && let Some(spec) = object.value.get_mut("spec").and_then(Value::as_object_mut)
        {
            rename(spec, "serviceName", |name| of("Service", name));
        }
    }
}

fn rename(map: &mut Map<String, Value>, field: &str, to: impl Fn(&str) -> Option<String>) {
    if let Some(name) = map.get(field).and_then(Value::as_str).and_then(to) {
        map.insert(field.to_owned(), name.into());
    }
}

/// The specs of pods in an object.
fn pod_specs<'v>(key: &Key, value: &'v mut Value) -> Vec<&'v mut Map<String, Value>> {
    let pointer = match key.kind.as_str() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    value.pointer_mut(pointer).and_then(Value::as_object_mut).into_iter().collect()
}

/// Adds labels to the objects, to what they select by, and to the pods that they make.
pub(super) fn labels(objects: &mut [Object], labels: &Labels) {
    for object in objects {
        add(&mut object.value, &["metadata", "labels"], &labels.pairs, true);
        let kind = object.key.kind.as_str();
        if labels.to_selectors {
            match (object.key.group.as_str(), kind) {
                ("", "Service") => add(&mut object.value, &["spec", "selector"], &labels.pairs, true),
                ("", "ReplicationController") => {
                    add(&mut object.value, &["spec", "selector"], &labels.pairs, true);
                }
                ("apps", kind) if CONTROLLERS.contains(&kind) => {
                    add(&mut object.value, &["spec", "selector", "matchLabels"], &labels.pairs, true);
                }
                ("batch", "Job") => {
                    add(&mut object.value, &["spec", "selector", "matchLabels"], &labels.pairs, false);
                }
                _ => {}
            }
        }
        let template: Option<&[&str]> = match kind {
            "Job" | "ReplicationController" => Some(&["spec", "template", "metadata", "labels"]),
            "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "metadata", "labels"]),
            kind if CONTROLLERS.contains(&kind) => Some(&["spec", "template", "metadata", "labels"]),
            _ => None,
        };
        if let (true, Some(path)) = (labels.to_templates, template) {
            add(&mut object.value, path, &labels.pairs, true);
        }
    }
}

/// Adds entries to the mapping at a path, which is made where it is missing if so asked.
fn add(value: &mut Value, path: &[&str], pairs: &Map<String, Value>, make: bool) {
    let mut at = value;
    for name in path {
        let Some(map) = at.as_object_mut() else { return };
        if !map.contains_key(*name) && !make {
            return;
        }
        at = map.entry(*name).or_insert_with(|| json!({}));
        if at.is_null() {
            *at = json!({});
        }
    }
    if let Some(map) = at.as_object_mut() {
        map.extend(pairs.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// Sets how many pods controllers want.
///
/// # Errors
///
/// The name of a controller that is not there.
pub(super) fn replicas(objects: &mut [Object], kustomization: &Kustomization) -> Result<(), String> {
    for (name, count) in &kustomization.replicas {
        let mut found = false;
        for object in &mut *objects {
            let is_wanted = ["Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"]
                .contains(&object.key.kind.as_str());
            let own = object.key.name.strip_prefix(&kustomization.prefix).unwrap_or(&object.key.name);
            let own = own.strip_suffix(&kustomization.suffix).unwrap_or(own);
            if is_wanted && (own == name || object.key.name == *name) {
                found = true;
                if let Some(spec) = object.value.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.insert("replicas".to_owned(), (*count).into());
                }
            }
        }
        if !found {
            return Err(format!("`replicas` names {name:?}, which no resource is called"));
        }
    }
    Ok(())
}
