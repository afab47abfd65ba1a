//! From a type to a structural schema (`apiextensions.k8s.io/v1` `JSONSchemaProps`).

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, generate::SchemaGenerator};
use serde_json::{Map, Value};

/// Returns the structural schema of `T`: nothing by reference, no null types, one `type` each.
pub(super) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    let mut value = schema.to_value();
    make_structural(&mut value);
    value
}

fn make_structural(value: &mut Value) {
    match value {
        Value::Object(object) => {
            // `title` and `format` are keywords only where a type is described: a property of that
            // name holds an object.
            object.retain(|key, value| match (key.as_str(), &*value) {
                ("title", Value::String(_)) => false,
                // Formats of Rust integers; an API server knows none of them and bounds are given.
                ("format", Value::String(format)) => !format.starts_with("uint"),
                _ => true,
            });
            drop_null_type(object);
            join_variants(object);
            for value in object.values_mut() {
                make_structural(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(make_structural),
        _ => {}
    }
}

/// An absent field is an absent property, never a null one.
fn drop_null_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    let count = choices.len();
    choices.retain(|choice| choice.get("type").is_none_or(|t| t != "null"));
    if choices.len() == 1 && count == 2 {
        let only = choices.remove(0);
        object.remove("anyOf");
        if let Value::Object(only) = only {
            for (key, value) in only {
                // What is said of the field goes before what is said of its type.
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Turns a choice of documented constants into an enumeration.
fn join_variants(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let names: Option<Vec<Value>> = variants.iter().map(|v| v.get("const").cloned()).collect();
    let Some(names) = names else { return };
    let mut description = match object.get("description") {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    for variant in variants {
        if let (Some(Value::String(name)), Some(Value::String(text))) =
            (variant.get("const"), variant.get("description"))
        {
            description.push_str(&format!("\n* `{name}`: {text}"));
        }
    }
    object.remove("oneOf");
    object.insert("description".to_owned(), description.trim_start().into());
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), names.into());
}
