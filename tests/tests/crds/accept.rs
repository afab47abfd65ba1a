//! Compares two structural schemas: does one refuse what the other accepts?
//!
//! The answer is on the safe side: what cannot be compared (two patterns, two rules) counts as a
//! refusal unless the texts are equal. Rules of validation (CEL) can say the same in other words, or
//! as a limit: where the other schema has some, ours may have rules and limits of any kind. What those
//! amount to is for an API server to tell.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Returns how `ours` may refuse what `theirs` accepts: the path of the field and the reason.
pub fn refusals(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(ours, theirs, "$", &mut found);
    found
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const RULES: &str = "x-kubernetes-validations";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

fn compare(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    let preserves = is_true(ours, PRESERVE);
    if is_true(theirs, PRESERVE) && !preserves {
        found.push(format!("{path}: does not keep unknown fields"));
    }
    if is_true(theirs, "nullable") && !is_true(ours, "nullable") {
        found.push(format!("{path}: refuses null"));
    }
    compare_types(ours, theirs, path, found);
    if theirs.get(RULES).is_none() {
        compare_limits(ours, theirs, path, found);
    }
    compare_sets(ours, theirs, path, found);
    for field in ["allOf", "anyOf", "oneOf", "not"] {
        if ours.get(field).is_some() && ours.get(field) != theirs.get(field) {
            found.push(format!("{path}: `{field}` differs"));
        }
    }
    if ours.get(RULES).is_some() && theirs.get(RULES).is_none() {
        found.push(format!("{path}: has rules of validation"));
    }
    // Who relies on a default must find it; a default of our own changes what was meant.
    if ours.get("default") != theirs.get("default") {
        found.push(format!(
            "{path}: the default is {:?}, not {:?}",
            ours.get("default"),
            theirs.get("default")
        ));
    }
    match (ours.get("items"), theirs.get("items")) {
        (Some(a), Some(b)) => compare(a, b, &format!("{path}[]"), found),
        (None, Some(_)) if !preserves => found.push(format!("{path}: has no items")),
        _ => {}
    }
    match (ours.get("additionalProperties"), theirs.get("additionalProperties")) {
        (Some(a), Some(b)) => compare(a, b, &format!("{path}.*"), found),
        (None, Some(_)) if !preserves => found.push(format!("{path}: is no map")),
        _ => {}
    }
    let none = Map::new();
    let known = ours.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for (name, property) in theirs.get("properties").and_then(Value::as_object).unwrap_or(&none) {
        let path = format!("{path}.{name}");
        match known.get(name) {
            Some(ours) => compare(ours, property, &path, found),
            None if !preserves => found.push(format!("{path}: is unknown")),
            None => {}
        }
    }
}

fn compare_types(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    let (a, b) = (ours.get("type"), theirs.get("type"));
    let either = is_true(ours, INT_OR_STRING);
    let wider = match (a.and_then(Value::as_str), b.and_then(Value::as_str)) {
        (None, _) => true,
        (Some("number"), Some("integer")) => true,
        (Some(a), Some(b)) => a == b,
        (Some(_), None) => false,
    };
    let fits = match b.and_then(Value::as_str) {
        Some("integer" | "string") if either => true,
        _ if is_true(theirs, INT_OR_STRING) => either,
        _ => wider && !either,
    };
    if !fits {
        found.push(format!("{path}: type {a:?}, not {b:?}"));
    }
}

fn compare_limits(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    for field in ["maximum", "maxLength", "maxItems", "maxProperties"] {
        if let Some(a) = number(ours, field)
            && number(theirs, field).is_none_or(|b| a < b)
        {
            found.push(format!("{path}: `{field}` is {a}, not {:?}", number(theirs, field)));
        }
    }
    for field in ["minimum", "minLength", "minItems", "minProperties"] {
        if let Some(a) = number(ours, field)
            && a != 0.0
            && number(theirs, field).is_none_or(|b| a > b)
        {
            found.push(format!("{path}: `{field}` is {a}, not {:?}", number(theirs, field)));
        }
    }
    for field in ["pattern", "format", "multipleOf", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems"] {
        if ours.get(field).is_some() && ours.get(field) != theirs.get(field) {
            found.push(format!("{path}: `{field}` is {}, not {:?}", ours[field], theirs.get(field)));
        }
    }
}

fn compare_sets(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    if ours.get("enum").is_some() {
        let (a, b) = (strings(ours, "enum"), strings(theirs, "enum"));
        if theirs.get("enum").is_none() || !b.is_subset(&a) {
            let missing: Vec<_> = b.difference(&a).collect();
            found.push(format!("{path}: lacks the values {missing:?}"));
        }
    }
    let surplus: Vec<_> =
        strings(ours, "required").difference(&strings(theirs, "required")).cloned().collect();
    if !surplus.is_empty() {
        found.push(format!("{path}: requires {surplus:?}"));
    }
    // Lists that are sets or maps refuse duplicates, and their keys are what server-side apply merges by.
    for field in ["x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"] {
        if ours.get(field) != theirs.get(field) {
            found.push(format!("{path}: `{field}` is {:?}, not {:?}", ours.get(field), theirs.get(field)));
        }
    }
}

fn is_true(schema: &Value, field: &str) -> bool {
    schema.get(field).and_then(Value::as_bool).unwrap_or_default()
}

fn number(schema: &Value, field: &str) -> Option<f64> {
    schema.get(field).and_then(Value::as_f64)
}

fn strings(schema: &Value, field: &str) -> BTreeSet<String> {
    let list = schema.get(field).and_then(Value::as_array);
    list.into_iter().flatten().map(ToString::to_string).collect()
}

#[test]
fn a_schema_refuses_what_another_accepts() {
    let parse = |text: &str| serde_yaml::from_str::<Value>(text).expect("a schema");
    let theirs = parse(
        "{type: object, properties: {a: {type: string, maxLength: 9, enum: [x, y]}, b: {type: array, items: {type: integer}}}}",
    );
    assert_eq!(refusals(&theirs, &theirs), [""; 0]);
    for (ours, refusal) in [
        ("{type: object, properties: {a: {type: string}}}", "$.b: is unknown"),
        ("{type: object, x-kubernetes-preserve-unknown-fields: true, required: [a]}", "$: requires"),
        (
            "{type: object, properties: {a: {type: string, maxLength: 8}, b: {type: array, items: {type: integer}}}}",
            "$.a: `maxLength`",
        ),
        (
            "{type: object, properties: {a: {type: string, enum: [x]}, b: {type: array, items: {type: integer}}}}",
            "$.a: lacks",
        ),
        (
            "{type: object, properties: {a: {type: string}, b: {type: array, items: {type: string}}}}",
            "$.b[]: type",
        ),
    ] {
        let found = refusals(&parse(ours), &theirs);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(refusal), "{found:?}");
    }
    assert_eq!(
        refusals(&parse("{type: object, x-kubernetes-preserve-unknown-fields: true}"), &theirs),
        [""; 0]
    );
}
