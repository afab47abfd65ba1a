//! What may stand in a field: the part of OpenAPI that API servers check objects by.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form::Form;
use super::pattern::Pattern;
use super::rule::Rule;

/// What may stand in one place.
#[derive(Default)]
pub(super) struct Schema {
    pub(super) shape: Shape,
    /// The values that are allowed; empty if any is.
    pub(super) choices: Vec<String>,
    /// The least and the greatest number.
    pub(super) range: (Option<f64>, Option<f64>),
    /// The bounds of the characters of a text, the items of a list or the entries of a mapping.
    pub(super) size: (Option<u64>, Option<u64>),
    pub(super) pattern: Option<Pattern>,
    /// The form of a text, of all texts of a list, or of the entries of a mapping.
    pub(super) form: Option<Form>,
    /// What an API server sets where nothing is given.
    pub(super) default: Option<Value>,
    /// Whether an empty text is as if nothing were given, as in built-in kinds.
    pub(super) takes_empty: bool,
    /// Whether no two items of a list are equal.
    pub(super) is_set: bool,
    /// Groups of fields by which no two items of a list are equal.
    pub(super) keys: Vec<Vec<String>>,
    pub(super) rules: Vec<Rule>,
}

/// The type of a value.
#[derive(Default)]
pub(super) enum Shape {
    /// Whatever it is.
    #[default]
    Any,
    Object(Object),
    List(Box<Schema>),
    Text,
    /// A whole number; of 32 bits if so.
    Integer(bool),
    Number,
    Boolean,
    IntegerOrText,
    /// The definition of that name.
    Named(String),
}

/// A mapping.
#[derive(Default)]
pub(super) struct Object {
    pub(super) fields: BTreeMap<String, Schema>,
    pub(super) required: Vec<String>,
    pub(super) others: Others,
}

/// What other fields a mapping may have.
#[derive(Default)]
pub(super) enum Others {
    #[default]
    None,
    Any,
    Each(Box<Schema>),
}

impl Schema {
    /// Reads a schema as an API server publishes it, or as a `CustomResourceDefinition` holds it.
    /// What it does not know is no check.
    pub(super) fn read(json: &Value) -> Self {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let texts = |name: &str| -> Vec<String> {
            let list = json.get(name).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let number = |name: &str| json.get(name).and_then(Value::as_f64);
        let is = |name: &str| json.get(name) == Some(&Value::Bool(true));
        let bounds = |least: &str, most: &str| {
            (json.get(least).and_then(Value::as_u64), json.get(most).and_then(Value::as_u64))
        };
        let shape = match text("type") {
            _ if is("x-kubernetes-int-or-string") => Shape::IntegerOrText,
            Some("object") => Shape::Object(Object::read(json, texts("required"))),
            Some("array") => Shape::List(Box::new(json.get("items").map(Self::read).unwrap_or_default())),
            Some("string") => Shape::Text,
            Some("integer") => Shape::Integer(text("format") == Some("int32")),
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Boolean,
            _ => text("$ref").map_or(Shape::Any, |name| Shape::Named(name.to_owned())),
        };
        let keys = texts("x-kubernetes-list-map-keys");
        let rules = json.get("x-kubernetes-validations").and_then(Value::as_array);
        Self {
            size: match shape {
                Shape::Object(_) => bounds("minProperties", "maxProperties"),
                Shape::List(_) => bounds("minItems", "maxItems"),
                _ => bounds("minLength", "maxLength"),
            },
            shape,
            choices: texts("enum"),
            range: (number("minimum"), number("maximum")),
            pattern: text("pattern").map(Pattern::new),
            form: (text("format") == Some("date-time")).then_some(Form::Time),
            default: json.get("default").cloned(),
            takes_empty: false,
            is_set: text("x-kubernetes-list-type") == Some("set"),
            keys: if keys.is_empty() { Vec::new() } else { vec![keys] },
            rules: rules.into_iter().flatten().filter_map(Rule::read).collect(),
        }
    }

    /// The definition of that name.
    pub(super) fn named(name: &str) -> Self {
        Self { shape: Shape::Named(name.to_owned()), ..Self::default() }
    }

    /// The schema of a field of this mapping.
    pub(super) fn field_mut(&mut self, name: &str) -> Option<&mut Schema> {
        match &mut self.shape {
            Shape::Object(object) => object.fields.get_mut(name),
            _ => None,
        }
    }
}

impl Object {
    fn read(json: &Value, required: Vec<String>) -> Self {
        let fields = json.get("properties").and_then(Value::as_object);
        let fields = fields.into_iter().flatten().map(|(name, field)| (name.clone(), Schema::read(field)));
        let others = match json.get("additionalProperties") {
            Some(each @ Value::Object(_)) => Others::Each(Box::new(Schema::read(each))),
            Some(Value::Bool(true)) => Others::Any,
            _ if json.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) => Others::Any,
            _ => Others::None,
        };
        Self { fields: fields.collect(), required, others }
    }
}
