//! Turns the text of one file into objects.

use std::sync::Arc;

use model::Severity;
use serde_json::{Map, Value};

use crate::document::{MAX_FILE_BYTES, SyntaxError, read_json, split};
use crate::hash::{Hasher, letters};
use crate::object::group_of;
use crate::salvage;
use crate::scope::is_cluster_scoped;
use crate::{Key, Object, Origin, Problem, code};

/// How deep a `List` may stand in a `List`.
const MAX_LIST_DEPTH: usize = 8;

/// What a file holds.
#[derive(Default)]
pub(crate) struct Loaded {
    /// The objects of the documents that could be read, in the order of the file.
    pub(crate) objects: Vec<Object>,
    pub(crate) problems: Vec<Problem>,
    /// Whether a document could not be read: the file is then not what its author meant.
    pub(crate) broken: bool,
    /// The policies that are kept by their names alone, with the index of the problem of each.
    pub(crate) refused: Vec<(usize, Key)>,
}

/// Reads a file; a path that ends in `.json` is read as JSON, everything else as YAML.
pub(crate) fn load(path: &Arc<str>, text: &str) -> Loaded {
    let mut loader = Loader { path: Arc::clone(path), loaded: Loaded::default() };
    if text.len() > MAX_FILE_BYTES {
        let message =
            format!("the file has {} bytes, more than the {MAX_FILE_BYTES} that are read", text.len());
        loader.problem(1, 1, (code::UNREADABLE, Severity::Error), message, "split the file");
        loader.loaded.broken = true;
        return loader.loaded;
    }
    // A byte order mark is no content; what stands behind it keeps its offsets by adding them back.
    let (text, mark) = text.strip_prefix('\u{feff}').map_or((text, 0), |rest| (rest, '\u{feff}'.len_utf8()));
    if is_json(path) {
        for value in read_json(text) {
            let origin = loader.origin(value.line, value.start + mark, value.line.saturating_sub(1));
            match value.value {
                Ok(value) => loader.document(value, origin),
                Err(error) => {
                    loader.broken_document(error, text.get(value.start..).unwrap_or_default(), None)
                }
            }
        }
    } else {
        for document in split(text) {
            let origin = loader.origin(document.line, document.start + mark, document.lines_before);
            match document.read() {
                Ok(value) => loader.document(value, origin),
                Err(error) => loader.broken_document(error, document.text, Some(origin)),
            }
        }
    }
    loader.loaded
}

/// Whether a file is read as JSON.
pub(crate) fn is_json(path: &str) -> bool {
    path.get(path.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case(".json"))
}

struct Loader {
    path: Arc<str>,
    loaded: Loaded,
}

impl Loader {
    fn origin(&self, line: u32, start: usize, lines_before: u32) -> Origin {
        Origin { file: Arc::clone(&self.path), line, start, lines_before, items: Vec::new() }
    }

    fn problem(
        &mut self,
        line: u32,
        column: u32,
        (code, severity): (&'static str, Severity),
        message: impl Into<String>,
        help: &str,
    ) {
        self.loaded.problems.push(Problem {
            file: Arc::clone(&self.path),
            line,
            column,
            severity,
            code,
            object: None,
            message: message.into(),
            help: help.to_owned(),
        });
    }

    /// Reports a document that cannot be read; with its `origin`, a policy is kept by its name.
    fn broken_document(&mut self, error: SyntaxError, text: &str, origin: Option<Origin>) {
        self.loaded.broken = true;
        let SyntaxError { line, column, message, help } = error;
        // Sources of templates are common in repositories; they are no mistake of their author.
        if text.contains("{{") {
            let message = format!("a template, not a manifest: {message}");
            let help = "render it first (such as with `helm template`) and point the folder at the result";
            return self.problem(line, column, (code::TEMPLATE, Severity::Warning), message, help);
        }
        if let (Some(origin), Some(Value::Object(policy))) = (origin, salvage::policy(text)) {
            let before = self.loaded.objects.len();
            self.object(policy, origin, None);
            if let Some(object) = self.loaded.objects.get(before) {
                let key = object.key.clone();
                self.loaded.refused.push((self.loaded.problems.len(), key));
            }
        }
        self.problem(line, column, (code::SYNTAX, Severity::Error), message, help);
    }

    fn document(&mut self, value: Value, origin: Origin) {
        match value {
            Value::Null => {}
            Value::Object(map) => self.object(map, origin, None),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let message = "not a Kubernetes object (no mapping with `apiVersion` and `kind`), ignored";
                self.problem(origin.line, 1, (code::NOT_AN_OBJECT, Severity::Info), message, "");
            }
        }
    }

    fn object(&mut self, map: Map<String, Value>, origin: Origin, list: Option<(&str, &str)>) {
        let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // The items of a typed list (`PodList`) may leave out what the list says.
        let (api_version, kind) = match (text("apiVersion"), text("kind"), list) {
            (Some(api_version), Some(kind), _) => (api_version.to_owned(), kind.to_owned()),
            (None, None, Some((api_version, kind))) => (api_version.to_owned(), kind.to_owned()),
            _ => {
                let message = "not a Kubernetes object (`apiVersion` or `kind` is missing), ignored";
                return self.problem(origin.line, 1, (code::NOT_AN_OBJECT, Severity::Info), message, "");
            }
        };
        let group = group_of(&api_version).to_owned();
        let unnamed = map.get("metadata").and_then(|metadata| metadata.get("name")).is_none();
        if kind.ends_with("List") && unnamed && (kind == "List" || map.contains_key("items")) {
            return self.list(map, &api_version, &kind, origin);
        }
        if group == "kustomize.config.k8s.io" {
            let message = format!("{kind} is built by kustomize, not by this folder, ignored");
            let help = "point the folder at the output of `kustomize build`";
            return self.problem(origin.line, 1, (code::NOT_AN_OBJECT, Severity::Info), message, help);
        }
        self.named(map, api_version, kind, origin);
    }

    fn list(&mut self, mut map: Map<String, Value>, api_version: &str, kind: &str, origin: Origin) {
        if origin.items.len() >= MAX_LIST_DEPTH {
            let message = format!("lists stand more than {MAX_LIST_DEPTH} deep in lists");
            return self.problem(origin.line, 1, (code::NAME, Severity::Error), message, "");
        }
        let items = match map.remove("items") {
            None | Some(Value::Null) => return,
            Some(Value::Array(items)) => items,
            Some(_) => {
                let message = format!("items of a {kind} must be a list");
                return self.problem(origin.line, 1, (code::NAME, Severity::Error), message, "");
            }
        };
        let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
        for (index, item) in items.into_iter().enumerate() {
            let mut origin = origin.clone();
            origin.items.push(index);
            match item {
                Value::Object(map) => self.object(map, origin, item_kind.map(|kind| (api_version, kind))),
                _ => {
                    let message = format!("items[{index}] of a {kind} is no object");
                    self.problem(origin.line, 1, (code::NAME, Severity::Error), message, "");
                }
            }
        }
    }

    /// Takes an object that has a kind: checks its name, sets its namespace.
    fn named(&mut self, mut map: Map<String, Value>, api_version: String, kind: String, origin: Origin) {
        let group = group_of(&api_version).to_owned();
        let refuse = |loader: &mut Self, message: String, help: &str| {
            loader.problem(origin.line, 1, (code::NAME, Severity::Error), format!("{kind}: {message}"), help);
        };
        map.insert("apiVersion".to_owned(), Value::String(api_version.clone()));
        map.insert("kind".to_owned(), Value::String(kind.clone()));
        let hash = match map.get("metadata") {
            Some(Value::Object(metadata)) if !metadata.contains_key("name") => metadata
                .get("generateName")
                .map(|_| Hasher::new("generateName").value(&Value::Object(map.clone())).finish()),
            _ => None,
        };
        let Some(Value::Object(metadata)) = map.get_mut("metadata") else {
            return refuse(self, "metadata is missing".to_owned(), "give the object a metadata.name");
        };
        if let (Some(hash), Some(Value::String(prefix))) = (hash, metadata.get("generateName")) {
            let name = format!("{prefix}{}", letters(hash, 5));
            metadata.insert("name".to_owned(), Value::String(name));
        }
        let name = match metadata.get("name") {
            None | Some(Value::Null) => {
                return refuse(self, "metadata.name is missing".to_owned(), "give the object a name");
            }
            Some(Value::String(name)) if is_name(&group, name) => name.clone(),
            Some(Value::String(name)) => {
                let shown: String = name.chars().take(80).collect();
                let help = "a name has lower-case letters, digits, `-` and `.` only";
                return refuse(self, format!("metadata.name \"{shown}\" is no name"), help);
            }
            Some(other) => {
                return refuse(
                    self,
                    format!("metadata.name must be a string, not {other}"),
                    "put the name in quotes",
                );
            }
        };
        let namespace = if is_cluster_scoped(&group, &kind) {
            metadata.remove("namespace");
            String::new()
        } else {
            match metadata.get("namespace") {
                Some(Value::String(namespace)) if is_label(namespace) => namespace.clone(),
                None | Some(Value::Null) => "default".to_owned(),
                Some(Value::String(namespace)) if namespace.is_empty() => "default".to_owned(),
                Some(other) => {
                    let message = format!("{name}: metadata.namespace {other} is no name of a namespace");
                    return refuse(self, message, "a namespace has lower-case letters, digits and `-` only");
                }
            }
        };
        if !namespace.is_empty() {
            metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
        }
        let key = Key { group, kind, namespace, name };
        let value = Value::Object(map);
        self.loaded.objects.push(Object { key, api_version, value, origin: Some(origin), made_for: None });
    }
}

/// Names of objects are lower-case subdomains, save for those of roles and bindings, which may hold
/// whatever a path segment can (`system:node`).
fn is_name(group: &str, name: &str) -> bool {
    let wide = group == "rbac.authorization.k8s.io";
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => true,
            b'/' | b'%' => false,
            _ => wide && byte.is_ascii_graphic(),
        })
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
