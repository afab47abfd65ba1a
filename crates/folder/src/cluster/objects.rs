//! Reads declared objects, adds generated ones, and reports problems with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Severity;
use serde_json::Value;

use crate::{Key, Object, Objects, Origin, Problem};

/// The objects of one kind, in order of namespace and name.
pub(super) fn of_kind<'o>(
    objects: &'o Objects,
    group: &str,
    kind: &str,
) -> impl Iterator<Item = &'o Arc<Object>> + use<'o> {
    let first = Key::new(group, kind, "", "");
    let (group, kind) = (group.to_owned(), kind.to_owned());
    objects
        .range(first..)
        .take_while(move |(key, _)| key.group == group && key.kind == kind)
        .map(|(_, object)| object)
}

/// Adds a generated object, unless the folder declares one of that name.
pub(super) fn add(objects: &mut Objects, api_version: &str, key: Key, value: Value, cause: Option<&Object>) {
    let origin: Option<Origin> = cause.and_then(|cause| cause.origin.clone());
    let made_for = cause.map(|cause| cause.key.clone());
    objects.entry(key.clone()).or_insert_with(|| {
        Arc::new(Object { key, api_version: api_version.to_owned(), value, origin, made_for, refused: None })
    });
}

/// The labels at a JSON pointer; values that are no strings are left out.
pub(super) fn labels_at<'v>(value: &'v Value, pointer: &str) -> BTreeMap<&'v str, &'v str> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(name, value)| value.as_str().map(|value| (name.as_str(), value)))
        .collect()
}

/// The string at a JSON pointer.
pub(super) fn text_at<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The items at a JSON pointer.
pub(super) fn items_at<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A problem with a declared object.
pub(super) fn report(
    problems: &mut Vec<Problem>,
    object: &Object,
    (code, severity): (&'static str, Severity),
    message: String,
    help: &str,
) {
    if let Some(origin) = &object.origin {
        problems.push(Problem {
            file: Arc::clone(&origin.file),
            line: origin.line,
            column: 1,
            severity,
            code,
            object: Some(object.key.clone()),
            field: String::new(),
            message,
            help: help.to_owned(),
        });
    }
}
