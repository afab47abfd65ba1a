//! Reads fields of a JSON object and remembers the way to them, so that a wrong one can be named.

use std::fmt;

use serde_json::Value;

/// One step of the way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An entry of a mapping.
    Key(String),
    /// An item of a list, from 0.
    Index(usize),
}

impl Step {
    /// Reads a path as Kubernetes writes it: `spec.ports[0].name`, `metadata.labels[a.b/c]`, the
    /// latter also with quotes inside of the brackets.
    pub fn parse_path(path: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let inside = inside.trim_matches(['"', '\'']);
                steps.push(inside.parse().map_or_else(|_| Step::Key(inside.to_owned()), Step::Index));
                rest = after;
            } else {
                let name = rest.strip_prefix('.').unwrap_or(rest);
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (key, after) = name.split_at(end);
                if key.is_empty() && after.len() == rest.len() {
                    break; // a bracket that is never closed: nothing more to read
                }
                if !key.is_empty() {
                    steps.push(Step::Key(key.to_owned()));
                }
                rest = after;
            }
        }
        steps
    }
}

/// A field that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) path: Vec<Step>,
    /// Whether the field itself is not known.
    pub(crate) is_unknown: bool,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Flaw {
    /// A flaw of the field at `path`.
    pub(crate) fn new(path: Vec<Step>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path, is_unknown: false, message: message.into(), help: help.into() }
    }

    /// A field that is not known.
    pub(crate) fn unknown(path: Vec<Step>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { is_unknown: true, ..Self::new(path, message, help) }
    }
}

/// Writes a path as Kubernetes does: `spec.ports[0].name`, `metadata.labels[a.b/c]`. A key comes from
/// outside: one with anything but visible ASCII is quoted.
pub(crate) fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for (index, step) in path.iter().enumerate() {
        match step {
            Step::Index(item) => text.push_str(&format!("[{item}]")),
            Step::Key(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                text.push_str(&format!("[{:?}]", shortened(key)));
            }
            Step::Key(key) if key.contains(['.', '[', '/']) => {
                text.push_str(&format!("[{}]", shortened(key)))
            }
            Step::Key(key) if index == 0 => text.push_str(&shortened(key)),
            Step::Key(key) => text.push_str(&format!(".{}", shortened(key))),
        }
    }
    text
}

/// The most characters of a text from outside that a message repeats.
const MAX_QUOTED: usize = 80;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes a value from outside as a value: texts are quoted, long ones are cut.
pub(crate) fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", shortened(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => shortened(&value.to_string()),
    }
}

/// A value and the way to it; a missing field reads as null, and so does a value of another type.
#[derive(Clone)]
pub(crate) struct Field<'v> {
    value: &'v Value,
    path: Vec<Step>,
}

static NULL: Value = Value::Null;

impl<'v> Field<'v> {
    /// The whole object.
    pub(crate) fn root(value: &'v Value) -> Self {
        Self { value, path: Vec::new() }
    }

    /// The value itself.
    pub(crate) fn value(&self) -> &'v Value {
        self.value
    }

    /// The way here, as Kubernetes writes it.
    pub(crate) fn path(&self) -> String {
        path_text(&self.path)
    }

    /// Whether the field is missing or null.
    pub(crate) fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    /// The field called `name` inside of this one.
    pub(crate) fn get(&self, name: &str) -> Field<'v> {
        let mut path = self.path.clone();
        path.push(Step::Key(name.to_owned()));
        Field { value: self.value.get(name).unwrap_or(&NULL), path }
    }

    /// The field at a path of names with dots between them.
    pub(crate) fn at(&self, path: &str) -> Field<'v> {
        path.split('.').fold(self.clone(), |field, name| field.get(name))
    }

    /// A flaw of this field.
    pub(crate) fn flaw(&self, message: impl Into<String>, help: impl Into<String>) -> Flaw {
        Flaw::new(self.path.clone(), message, help)
    }

    /// A flaw of this field whose message is its value and what is wrong with it.
    pub(crate) fn invalid(&self, fault: impl fmt::Display, help: impl Into<String>) -> Flaw {
        self.flaw(format!("Invalid value: {}: {fault}", quoted(self.value)), help)
    }

    /// The entries of the mapping here.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'v String, Field<'v>)> + use<'v> {
        let field = self.clone();
        let map = self.value.as_object();
        map.into_iter().flatten().map(move |(name, _)| (name, field.get(name)))
    }

    /// The text here; `None` if there is none, or an empty one.
    pub(crate) fn text(&self) -> Option<&'v str> {
        self.value.as_str().filter(|text| !text.is_empty())
    }

    /// Whether this is true.
    pub(crate) fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    /// The number here, if it is one from 0 to the most pods or ports there are.
    pub(crate) fn count(&self) -> Option<u32> {
        let number = self.value.as_u64().or_else(|| {
            self.value
                .as_f64()
                .filter(|number| number.fract() == 0.0 && *number >= 0.0)
                .map(|number| number as u64)
        });
        number.and_then(|number| u32::try_from(number).ok())
    }

    /// The items here; empty if this is no list.
    pub(crate) fn items(&self) -> Vec<Field<'v>> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items
            .map(|(index, value)| {
                let mut path = self.path.clone();
                path.push(Step::Index(index));
                Field { value, path }
            })
            .collect()
    }
}
