//! Judges a value by its schema, as strict validation of an API server does.

use serde_json::{Map, Value};

use super::catalog::Catalog;
use super::form::Form;
use super::schema::{Object, Others, Schema, Shape};
use crate::field::{Flaw, Step, quoted};
use model::{did_you_mean, nearest};

/// The most flaws that are reported of one object.
const MAX_FLAWS: usize = 20;

/// What was found about one object.
#[derive(Default)]
pub(super) struct Findings {
    /// What an API server refuses.
    pub(super) flaws: Vec<Flaw>,
    /// Fields that the API knows and this table does not: of a status, which newer controllers write.
    pub(super) ignored: Vec<Flaw>,
    /// Fields that are null, which counts as not given.
    pub(super) nulls: Vec<Flaw>,
}

/// Compares a value with its schema: types, fields, limits. Rules are for [`rules`].
pub(super) fn shape(catalog: &Catalog, schema: &Schema, value: &Value) -> Findings {
    let mut walk = Walk { catalog, path: Vec::new(), found: Findings::default(), around: Vec::new() };
    walk.value(schema, value);
    walk.found
}

/// Evaluates the rules of a schema for a value whose nulls are gone.
pub(super) fn rules(catalog: &Catalog, schema: &Schema, value: &Value) -> Vec<Flaw> {
    let mut found = Vec::new();
    visit(catalog, schema, value, &mut Vec::new(), &mut |schema, value, path| {
        for rule in &schema.rules {
            if found.len() < MAX_FLAWS && !rule.holds(value) {
                let message = match value {
                    Value::Object(_) | Value::Array(_) => format!("Invalid value: {}", rule.message),
                    _ => format!("Invalid value: {}: {}", quoted(value), rule.message),
                };
                found.push(Flaw::new(path.to_vec(), message, ""));
            }
        }
    });
    found
}

type Visitor<'v> = dyn FnMut(&Schema, &Value, &[Step]) + 'v;

/// Calls `each` with every value that has a schema.
fn visit(catalog: &Catalog, schema: &Schema, value: &Value, path: &mut Vec<Step>, each: &mut Visitor<'_>) {
    let schema = catalog.resolve(schema);
    each(schema, value, path);
    match (&schema.shape, value) {
        (Shape::Object(object), Value::Object(map)) => {
            for (name, value) in map {
                if let Some(schema) = object.field(name) {
                    path.push(Step::Key(name.clone()));
                    visit(catalog, schema, value, path, each);
                    path.pop();
                }
            }
        }
        (Shape::List(schema), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                visit(catalog, schema, item, path, each);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Takes away the nulls, which API servers drop, and sets the defaults.
pub(super) fn complete(catalog: &Catalog, schema: &Schema, value: &mut Value) {
    let schema = catalog.resolve(schema);
    match (&schema.shape, value) {
        (Shape::Object(object), Value::Object(map)) => {
            if matches!(schema.form, Some(Form::Labels | Form::Annotations)) {
                map.values_mut().filter(|value| value.is_null()).for_each(|value| *value = "".into());
            }
            map.retain(|name, value| !(value.is_null() && object.fields.contains_key(name)));
            for (name, field) in &object.fields {
                let is_unset = map.get(name).is_none_or(|value| field.takes_empty && value == "");
                if let (Some(default), true) = (&field.default, is_unset) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(field) = object.field(name) {
                    complete(catalog, field, value);
                }
            }
        }
        (Shape::List(schema), Value::Array(items)) => {
            items.iter_mut().for_each(|item| complete(catalog, schema, item));
        }
        _ => {}
    }
}

impl Object {
    fn field(&self, name: &str) -> Option<&Schema> {
        self.fields.get(name).or(match &self.others {
            Others::Each(each) => Some(each),
            Others::None | Others::Any => None,
        })
    }
}

struct Walk<'c> {
    catalog: &'c Catalog,
    path: Vec<Step>,
    found: Findings,
    /// The mappings around the place.
    around: Vec<&'c Object>,
}

impl<'c> Walk<'c> {
    fn flaw(&mut self, message: String, help: impl Into<String>) {
        if self.found.flaws.len() < MAX_FLAWS {
            self.found.flaws.push(Flaw::new(self.path.clone(), message, help));
        }
    }

    fn value(&mut self, schema: &'c Schema, value: &Value) {
        let schema = self.catalog.resolve(schema);
        match (&schema.shape, value) {
            (Shape::Any, _) => {}
            (Shape::Object(object), Value::Object(map)) => self.object(schema, object, map),
            (Shape::List(items), Value::Array(values)) => self.list(schema, items, values),
            (Shape::Text | Shape::IntegerOrText, Value::String(text)) => self.text(schema, text),
            (Shape::Integer(_) | Shape::IntegerOrText, Value::Number(number)) if is_whole(number) => {
                self.number(schema, value);
            }
            (Shape::Number, Value::Number(_)) => self.number(schema, value),
            (Shape::Boolean, Value::Bool(_)) => {}
            (shape, _) => {
                let help = match (shape, value) {
                    (Shape::Text, Value::Number(_) | Value::Bool(_)) => "put the value in quotes",
                    (Shape::List(_), Value::String(_) | Value::Object(_)) => "write it as an item of a list",
                    _ => "",
                };
                self.flaw(
                    format!(
                        "Invalid value: {}: must be of type {}, not {}",
                        quoted(value),
                        shape.name(),
                        type_of(value)
                    ),
                    help,
                );
            }
        }
    }

    fn object(&mut self, schema: &'c Schema, object: &'c Object, map: &Map<String, Value>) {
        self.size(schema, map.len(), "entries");
        self.around.push(object);
        for (name, value) in map {
            self.path.push(Step::Key(name.clone()));
            match object.field(name) {
                // A mapping of labels has an empty text for null.
                Some(_)
                    if value.is_null() && matches!(schema.form, Some(Form::Labels | Form::Annotations)) => {}
                Some(_) if value.is_null() && object.fields.contains_key(name) => {
                    let message = "is null, which counts as not given".to_owned();
                    self.found.nulls.push(Flaw::new(
                        self.path.clone(),
                        message,
                        "give a value, or remove the field",
                    ));
                }
                Some(field) => self.value(field, value),
                None if matches!(object.others, Others::None) => self.unknown(name),
                None => {}
            }
            self.path.pop();
        }
        self.around.pop();
        if let Some(form) = schema.form {
            self.entries(form, map);
        }
        for name in &object.required {
            if map.get(name).is_none_or(Value::is_null) {
                self.path.push(Step::Key(name.clone()));
                self.flaw("Required value".to_owned(), format!("give the field `{name}`"));
                self.path.pop();
            }
        }
    }

    fn unknown(&mut self, name: &str) {
        let known = self.around.last().map(|object| object.fields.keys().map(String::as_str));
        let help = match nearest(name, known.into_iter().flatten()) {
            Some(near) => did_you_mean(near),
            None => self.elsewhere(name).unwrap_or_default(),
        };
        let message = format!("unknown field {name:?}");
        let flaw = Flaw::unknown(self.path.clone(), message, help);
        // A status is written by controllers, perhaps of a newer cluster; it decides nothing that is new.
        if self.path.first() == Some(&Step::Key("status".to_owned())) && self.path.len() > 1 {
            self.found.ignored.push(flaw);
        } else if self.found.flaws.len() < MAX_FLAWS {
            self.found.flaws.push(flaw);
        }
    }

    /// Where a field belongs that stands at a wrong depth, as by a wrong indentation.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let here = *self.around.last()?;
        let inside = here.fields.iter().find_map(|(field, schema)| {
            let inner = match &self.catalog.resolve(schema).shape {
                Shape::Object(object) => Some((object, "")),
                Shape::List(items) => match &self.catalog.resolve(items).shape {
                    Shape::Object(object) => Some((object, "[]")),
                    _ => None,
                },
                _ => None,
            };
            inner
                .filter(|(object, _)| object.fields.contains_key(name))
                .map(|(_, items)| format!("{field}{items}.{name}"))
        });
        if let Some(path) = inside {
            return Some(did_you_mean(&path));
        }
        let depth = self.around.iter().rev().skip(1).position(|object| object.fields.contains_key(name))?;
        Some(format!("`{name}` is a field {} further out: check the indentation", levels(depth + 1)))
    }

    fn entries(&mut self, form: Form, map: &Map<String, Value>) {
        for (name, value) in map {
            let flaws = [
                form.fault(name).map(|fault| (Value::from(name.as_str()), fault)),
                value.as_str().and_then(|text| form.value_fault(text)).map(|fault| (value.clone(), fault)),
            ];
            for (value, fault) in flaws.into_iter().flatten() {
                self.path.push(Step::Key(name.clone()));
                self.flaw(format!("Invalid value: {}: {fault}", quoted(&value)), "");
                self.path.pop();
            }
        }
    }

    fn list(&mut self, schema: &'c Schema, items: &'c Schema, values: &[Value]) {
        self.size(schema, values.len(), "items");
        for (index, value) in values.iter().enumerate() {
            self.path.push(Step::Index(index));
            self.value(items, value);
            if schema.is_set && values[..index].contains(value) {
                self.flaw(format!("Duplicate value: {}", quoted(value)), "remove one of the two");
            }
            for keys in &schema.keys {
                self.duplicate(items, keys, &values[..index], value);
            }
            self.path.pop();
        }
    }

    /// Tells of an item with the keys of an earlier one.
    fn duplicate(&mut self, items: &'c Schema, keys: &[String], before: &[Value], value: &Value) {
        let key_of = |item: &Value| -> Option<Vec<Value>> {
            let item = item.as_object()?;
            let Shape::Object(object) = &self.catalog.resolve(items).shape else { return None };
            let field = |key: &String| {
                let default = || object.fields.get(key).and_then(|field| field.default.clone());
                item.get(key).filter(|value| !value.is_null()).cloned().or_else(default)
            };
            keys.iter().map(field).collect()
        };
        let Some(key) = key_of(value) else { return };
        if before.iter().any(|item| key_of(item).as_ref() == Some(&key)) {
            let shown = match (keys, key.as_slice()) {
                ([name], [value]) => {
                    self.path.push(Step::Key(name.clone()));
                    quoted(value)
                }
                _ => quoted(&keys.iter().cloned().zip(key).collect::<Map<_, _>>().into()),
            };
            self.flaw(format!("Duplicate value: {shown}"), "remove one of the two, or give it another value");
            if keys.len() == 1 {
                self.path.pop();
            }
        }
    }

    fn text(&mut self, schema: &'c Schema, text: &str) {
        let value = Value::from(text);
        if text.is_empty() && schema.size.0 == Some(1) {
            return self.flaw("Required value".to_owned(), "");
        }
        self.size(schema, text.chars().count(), "characters");
        if !schema.choices.is_empty() && !schema.choices.iter().any(|choice| choice == text) {
            if text.is_empty() && schema.takes_empty {
                return;
            }
            let choices: Vec<String> = schema.choices.iter().map(|choice| format!("{choice:?}")).collect();
            let near = nearest(text, schema.choices.iter().map(String::as_str));
            self.flaw(
                format!("Unsupported value: {}: supported values: {}", quoted(&value), choices.join(", ")),
                near.map(did_you_mean).unwrap_or_default(),
            );
        }
        if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            self.flaw(format!("Invalid value: {}: should match '{}'", quoted(&value), pattern.as_str()), "");
        }
        // An empty text is none, for most fields of built-in kinds.
        let form = schema.form.filter(|form| !text.is_empty() || *form == Form::QualifiedName);
        if let Some(fault) = form.and_then(|form| form.fault(text)) {
            self.flaw(format!("Invalid value: {}: {fault}", quoted(&value)), "");
        }
    }

    fn number(&mut self, schema: &'c Schema, value: &Value) {
        let number = value.as_f64().unwrap_or_default();
        let range = match (&schema.shape, schema.range) {
            (Shape::Integer(true), (None, None)) => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            (_, range) => range,
        };
        let is_below = range.0.is_some_and(|least| number < least);
        let is_above = range.1.is_some_and(|most| number > most);
        if is_below || is_above {
            let wanted = match range {
                (Some(least), Some(most)) => format!("must be between {least} and {most}, inclusive"),
                (Some(least), None) => format!("must be greater than or equal to {least}"),
                (_, Some(most)) => format!("must be less than or equal to {most}"),
                (None, None) => return,
            };
            self.flaw(format!("Invalid value: {}: {wanted}", quoted(value)), "");
        }
    }

    fn size(&mut self, schema: &'c Schema, size: usize, of: &str) {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        if let Some(least) = schema.size.0.filter(|least| size < *least) {
            match (size, least) {
                (0, 1) => self.flaw("Required value".to_owned(), format!("must have at least 1 of its {of}")),
                _ => self.flaw(format!("Invalid value: has {size} {of}, must have at least {least}"), ""),
            }
        }
        if let Some(most) = schema.size.1.filter(|most| size > *most) {
            self.flaw(format!("Too many: {size}: must have at most {most} {of}"), "");
        }
    }
}

impl Shape {
    fn name(&self) -> &'static str {
        match self {
            Self::Any | Self::Named(_) => "any",
            Self::Object(_) => "object",
            Self::List(_) => "array",
            Self::Text => "string",
            Self::Integer(_) => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntegerOrText => "integer or string",
        }
    }
}

/// The name of a value's type, as API servers say it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(number: &serde_json::Number) -> bool {
    // JSON has one kind of number: 80.0 is 80.
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn levels(count: usize) -> String {
    if count == 1 { "one level".to_owned() } else { format!("{count} levels") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::path_text;

    #[test]
    fn paths_are_written_as_kubernetes_writes_them() {
        let path =
            [Step::Key("spec".into()), Step::Key("ports".into()), Step::Index(0), Step::Key("a.b/c".into())];
        assert_eq!(path_text(&path), "spec.ports[0][a.b/c]");
        assert_eq!(path_text(&[Step::Key("a\nb".into())]), "[\"a\\nb\"]");
    }
}
