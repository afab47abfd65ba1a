//! JSON patches (RFC 6902), as kustomize applies them: what is replaced in a mapping need not be there, and an object
//! always has annotations.

use serde_json::{Map, Value};

/// Applies the operations of a patch, one after the other.
///
/// # Errors
///
/// The first operation that cannot be applied, and why.
pub(super) fn apply(object: &mut Value, operations: &[Value]) -> Result<(), String> {
    for (index, operation) in operations.iter().enumerate() {
        one(object, operation).map_err(|why| format!("operation {index} of the patch: {why}"))?;
    }
    Ok(())
}

fn one(object: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path = text("path").ok_or("`path` is missing")?;
    let value = || operation.get("value").cloned().ok_or("`value` is missing");
    let from = || text("from").ok_or("`from` is missing");
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata.filter(|_| path.starts_with("/metadata/annotations/")) {
        metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    }
    match text("op") {
        Some("add") => add(object, path, value()?),
        Some("remove") => remove(object, path).map(drop),
        Some("replace") => {
            if let Some(found) = object.pointer_mut(path) {
                *found = value()?;
                return Ok(());
            }
            let missing = || format!("{path:?} does not exist");
            let (parent, last) = around(object, path)?;
            parent.as_object_mut().ok_or_else(missing)?.insert(last, value()?);
            Ok(())
        }
        Some("move") => {
            let moved = remove(object, from()?)?;
            add(object, path, moved)
        }
        Some("copy") => {
            let from = from()?;
            let copied = object.pointer(from).cloned().ok_or_else(|| format!("{from:?} does not exist"))?;
            add(object, path, copied)
        }
        Some("test") => {
            let is_equal = object.pointer(path) == Some(&value()?);
            if is_equal { Ok(()) } else { Err(format!("{path:?} is not what it must be")) }
        }
        _ => Err("`op` is none of add, remove, replace, move, copy and test".to_owned()),
    }
}

/// The value around the last part of a path, and that part.
fn around<'o>(object: &'o mut Value, path: &str) -> Result<(&'o mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("{path:?} is no path"))?;
    let found = object.pointer_mut(parent).ok_or_else(|| format!("{parent:?} does not exist"))?;
    Ok((found, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = around(object, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" { Some(items.len()) } else { last.parse().ok() };
            let at =
                at.filter(|at| *at <= items.len()).ok_or_else(|| format!("{path:?} is out of the list"))?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err(format!("{path:?} is in no mapping and no list")),
    }
}

fn remove(object: &mut Value, path: &str) -> Result<Value, String> {
    let missing = || format!("{path:?} does not exist");
    let (parent, last) = around(object, path)?;
    match parent {
        Value::Object(map) => map.remove(&last).ok_or_else(missing),
        Value::Array(items) => {
            let at = last.parse().ok().filter(|at: &usize| *at < items.len()).ok_or_else(missing)?;
            Ok(items.remove(at))
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_applied_in_order() {
        let mut object = json!({"a": {"b/c": 1}, "list": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/a/b~1c", "value": 1},
            {"op": "add", "path": "/list/1", "value": 2},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "replace", "path": "/a/b~1c", "value": 5},
            {"op": "copy", "from": "/list/0", "path": "/first"},
            {"op": "move", "from": "/list/3", "path": "/last"},
            {"op": "remove", "path": "/list/0"},
        ]);
        assert_eq!(apply(&mut object, patch.as_array().map_or(&[], Vec::as_slice)), Ok(()));
        assert_eq!(object, json!({"a": {"b/c": 5}, "list": [2, 3], "first": 1, "last": 4}));
    }

    #[test]
    fn what_kustomize_takes_is_taken() {
        let mut object = json!({"metadata": {}, "spec": {}});
        let patch = json!([
            {"op": "replace", "path": "/spec/replicas", "value": 2},
            {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "c"},
        ]);
        assert_eq!(apply(&mut object, patch.as_array().map_or(&[], Vec::as_slice)), Ok(()));
        let expected = json!({"metadata": {"annotations": {"a/b": "c"}}, "spec": {"replicas": 2}});
        assert_eq!(object, expected);
    }

    #[test]
    fn what_cannot_be_applied_is_named() {
        for operation in [
            json!({"op": "remove", "path": "/missing"}),
            json!({"op": "replace", "path": "/a/b", "value": 1}),
            json!({"op": "add", "path": "/metadata/labels/x", "value": "y"}),
            json!({"op": "add", "path": "/x/y", "value": 1}),
            json!({"op": "test", "path": "/a", "value": 2}),
            json!({"op": "frobnicate", "path": "/a"}),
            json!({"op": "add"}),
        ] {
            assert!(apply(&mut json!({"a": 1}), &[operation]).is_err());
        }
    }
}
