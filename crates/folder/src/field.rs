//! Reads fields of a JSON object and remembers the way to them, so that a wrong one can be named.

use std::fmt;

use serde_json::{Map, Value};

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
    pub(crate) message: String,
    pub(crate) help: String,
}

struct PathText<'p>(&'p [Step]);

impl fmt::Display for PathText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(item) => write!(f, "[{item}]")?,
                Step::Key(key) if key.contains(['.', '[']) => write!(f, "[{key}]")?,
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// A value and the way to it; a missing field reads as null.
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

    /// A flaw of this field.
    pub(crate) fn flaw(&self, message: impl Into<String>, help: impl Into<String>) -> Flaw {
        Flaw { path: self.path.clone(), message: message.into(), help: help.into() }
    }

    fn wrong(&self, wanted: &str) -> Flaw {
        let help = match self.value {
            Value::Number(_) | Value::Bool(_) if wanted == "a string" => "put the value in quotes",
            _ => "",
        };
        let name = PathText(&self.path).to_string();
        self.flaw(format!("{name} must be {wanted}, not {}", type_of(self.value)), help)
    }

    /// The mapping here; `None` if the field is absent.
    pub(crate) fn mapping(&self) -> Result<Option<&'v Map<String, Value>>, Flaw> {
        match self.value {
            Value::Null => Ok(None),
            Value::Object(map) => Ok(Some(map)),
            _ => Err(self.wrong("a mapping")),
        }
    }

    /// The mapping here.
    pub(crate) fn required_mapping(&self) -> Result<&'v Map<String, Value>, Flaw> {
        self.mapping()?.ok_or_else(|| {
            let help = "a patch of an overlay is no object: point the folder at the rendered manifests";
            self.flaw(format!("{} is missing", PathText(&self.path)), help)
        })
    }

    /// The string here; `None` if the field is absent.
    pub(crate) fn string(&self) -> Result<Option<&'v str>, Flaw> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(self.wrong("a string")),
        }
    }

    /// The boolean here; `None` if the field is absent.
    pub(crate) fn boolean(&self) -> Result<Option<bool>, Flaw> {
        match self.value {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// The whole number here, from `least` to `most`; `None` if the field is absent.
    pub(crate) fn integer(&self, least: i64, most: i64) -> Result<Option<i64>, Flaw> {
        if self.is_absent() {
            return Ok(None);
        }
        match self.value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            Some(number) => {
                let name = PathText(&self.path).to_string();
                Err(self.flaw(format!("{name} must be from {least} to {most}, not {number}"), ""))
            }
            None => Err(self.wrong("a whole number")),
        }
    }

    /// The items here; empty if the field is absent.
    pub(crate) fn items(&self) -> Result<Vec<Field<'v>>, Flaw> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    let mut path = self.path.clone();
                    path.push(Step::Index(index));
                    Field { value, path }
                })
                .collect()),
            _ => Err(self.wrong("a list")),
        }
    }

    /// Checks that this is a mapping of strings, as labels are, if it is here at all.
    pub(crate) fn check_strings(&self) -> Result<(), Flaw> {
        for (key, _) in self.mapping()?.into_iter().flatten() {
            let field = self.get(key);
            if field.string()?.is_none() {
                return Err(field.wrong("a string"));
            }
        }
        Ok(())
    }
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string \"{}\"", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
