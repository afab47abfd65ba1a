//! Strategic merge patches: a patch is laid over an object, lists of built-in kinds entry by entry.

use serde_json::{Map, Value};

/// The lists that are merged by a key of their items, as Kubernetes publishes them for the fields that
/// a mesh depends on: the field, and the key. Other lists are replaced.
const KEYED: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("ownerReferences", "uid"),
];

/// Lays a patch over an object; `is_builtin` tells whether lists are merged by their keys. Gives false
/// if the patch removes the whole object.
pub(super) fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>, is_builtin: bool) -> bool {
    match directive(patch) {
        Some("delete") => return false,
        Some("replace") => {
            *object = without_directive(patch);
            return true;
        }
        _ => {}
    }
    for (name, change) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        match (object.get_mut(name), change) {
            (_, Value::Null) => {
                object.remove(name);
            }
            (Some(Value::Object(inner)), Value::Object(change)) => {
                if !merge(inner, change, is_builtin) {
                    object.remove(name);
                }
            }
            (Some(Value::Array(items)), Value::Array(changes)) => match key_of(name, changes, is_builtin) {
                Some(key) => merge_items(items, changes, key),
                None => *items = changes.clone(),
            },
            (_, Value::Object(change)) => {
                let mut made = Map::new();
                if merge(&mut made, change, is_builtin) {
                    object.insert(name.clone(), made.into());
                }
            }
            (_, change) => {
                object.insert(name.clone(), change.clone());
            }
        }
    }
    true
}

/// The key by which a list is merged; that of ports is what they have.
fn key_of(name: &str, items: &[Value], is_builtin: bool) -> Option<&'static str> {
    if !is_builtin {
        return None;
    }
    if name == "ports" {
        let has = |key: &str| items.iter().any(|item| item.get(key).is_some());
        return if has("containerPort") { Some("containerPort") } else { has("port").then_some("port") };
    }
    KEYED.iter().find(|(field, _)| *field == name).map(|(_, key)| *key)
}

fn merge_items(items: &mut Vec<Value>, changes: &[Value], key: &str) {
    if changes.iter().any(|change| change.as_object().and_then(directive) == Some("replace")) {
        *items = changes.iter().filter(|change| change.get("$patch").is_none()).cloned().collect();
        return;
    }
    for change in changes {
        let Some(patch) = change.as_object() else { continue };
        let same = items.iter().position(|item| item.get(key).is_some() && item.get(key) == patch.get(key));
        match same {
            Some(at) => {
                let is_kept = items[at].as_object_mut().is_none_or(|item| merge(item, patch, true));
                if !is_kept {
                    items.remove(at);
                }
            }
            None if directive(patch) == Some("delete") => {}
            None => items.push(change.clone()),
        }
    }
}

fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get("$patch").and_then(Value::as_str)
}

fn without_directive(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(name, _)| *name != "$patch")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(object: Value, patch: &Value, is_builtin: bool) -> Option<Value> {
        let Value::Object(mut object) = object else { return None };
        merge(&mut object, patch.as_object()?, is_builtin).then_some(object.into())
    }

    #[test]
    fn fields_are_laid_over_and_lists_are_merged_by_their_keys() {
        let object = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}, {"name": "b"}], "gone": 1}});
        let patch = json!({"spec": {"replicas": 3, "gone": null, "containers": [{"name": "a", "image": "y"}, {"name": "c"}, {"name": "b", "$patch": "delete"}]}});
        let expected =
            json!({"spec": {"replicas": 3, "containers": [{"name": "a", "image": "y"}, {"name": "c"}]}});
        assert_eq!(merged(object, &patch, true), Some(expected));
    }

    #[test]
    fn lists_of_other_kinds_are_replaced() {
        let object = json!({"spec": {"rules": [{"a": 1}], "containers": [{"name": "a"}]}});
        let patch = json!({"spec": {"rules": [{"b": 2}], "containers": [{"name": "b"}]}});
        assert_eq!(merged(object, &patch, false), Some(patch.clone()));
    }

    #[test]
    fn directives_delete_and_replace() {
        assert_eq!(merged(json!({"a": 1}), &json!({"$patch": "delete"}), true), None);
        let replaced =
            merged(json!({"spec": {"a": 1}}), &json!({"spec": {"$patch": "replace", "b": 2}}), true);
        assert_eq!(replaced, Some(json!({"spec": {"b": 2}})));
    }
}
