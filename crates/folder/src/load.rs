//! Turns the text of one file into objects.

use std::sync::Arc;

use model::{Severity, did_you_mean, nearest};
use serde_json::{Map, Value};

use crate::apiserver::{Lookup, is_dns_label, is_namespaced, is_policy, lookup, name_fault};
use crate::code;
use crate::document::{MAX_FILE_BYTES, SyntaxError, is_json, read_json, split};
use crate::field::quoted;
use crate::hash::{Hasher, letters};
use crate::key::Key;
use crate::object::{Object, Origin, group_of};
use crate::problem::Problem;
use crate::salvage;

/// How deep a `List` may stand in a `List`.
const MAX_LIST_DEPTH: usize = 8;

/// What is active of an object that is refused, where there is a good version.
const LAST_GOOD: &str = ", and its last good version stays active";

/// What every manifest of an object begins with.
const OUTER: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What a file holds.
#[derive(Default)]
pub(crate) struct Loaded {
    /// The objects of the documents that could be read, in the order of the file.
    pub(crate) objects: Vec<Object>,
    pub(crate) problems: Vec<Problem>,
    /// Whether a document could not be read: the file is then not what its author meant.
    pub(crate) broken: bool,
    /// The policies that are kept by their names alone: the index of the problem and of the object.
    pub(crate) refused: Vec<(usize, usize)>,
}

impl Loaded {
    /// Says of each policy that is kept by its name why it is refused, and what is active: `has_good` tells
    /// of which there is a good version.
    pub(crate) fn name_refused(&mut self, has_good: impl Fn(&Key) -> bool) {
        for (index, object) in std::mem::take(&mut self.refused) {
            let (Some(problem), Some(object)) = (self.problems.get_mut(index), self.objects.get_mut(object))
            else {
                continue;
            };
            let active = match has_good(&object.key) {
                true => LAST_GOOD.to_owned(),
                false => format!(", so {}", effect(&object.key)),
            };
            problem.message.push_str(&format!("; {} is refused{active}", object.key));
            // A document with several policies is reported once, and each of them for itself.
            problem.object.get_or_insert_with(|| object.key.clone());
            object.refused = Some(Problem { object: Some(object.key.clone()), ..problem.clone() });
        }
    }
}

/// What a policy that is refused does.
pub(crate) fn effect(key: &Key) -> &'static str {
    match key.kind.as_str() {
        "PeerAuthentication" => "what it may select takes mutual TLS only",
        "RequestAuthentication" => "no request to what it may select passes",
        _ => "it denies what it may select",
    }
}

/// Reads a file; a path that ends in `.json` is read as JSON, everything else as YAML.
pub(crate) fn load(path: &Arc<str>, text: &str) -> Loaded {
    let mut loader = Loader { path: Arc::clone(path), loaded: Loaded::default() };
    if text.len() > MAX_FILE_BYTES {
        let message =
            format!("the file has {} bytes, more than the {MAX_FILE_BYTES} that are read", text.len());
        loader.problem((1, 1), (code::UNREADABLE, Severity::Error), message, "split the file");
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
                    loader.broken_document(error, text.get(value.start..).unwrap_or_default(), &origin)
                }
            }
        }
    } else {
        for document in split(text) {
            let origin = loader.origin(document.line, document.start + mark, document.lines_before);
            match document.read() {
                Ok(value) => loader.document(value, origin),
                Err(error) => loader.broken_document(error, document.text, &origin),
            }
        }
    }
    loader.loaded
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
        (line, column): (u32, u32),
        (code, severity): (&'static str, Severity),
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.loaded.problems.push(Problem {
            file: Arc::clone(&self.path),
            line,
            column,
            severity,
            code,
            object: None,
            field: String::new(),
            message: message.into(),
            help: help.into(),
        });
    }

    /// Reports a document that cannot be read; its policies are kept by their names.
    fn broken_document(&mut self, error: SyntaxError, text: &str, origin: &Origin) {
        self.loaded.broken = true;
        let SyntaxError { line, column, message, help } = error;
        // Sources of templates are common in repositories; they are no mistake of their author.
        if text.contains("{{") {
            let message = format!("a template, not a manifest: {message}");
            let help = "render it first (such as with `helm template`) and point the folder at the result";
            return self.problem((line, column), (code::TEMPLATE, Severity::Warning), message, help);
        }
        for policy in salvage::policies(text) {
            self.refuse(policy, origin.clone());
        }
        self.problem((line, column), (code::SYNTAX, Severity::Error), message, help);
    }

    /// Keeps a policy by its name; the problem that is reported next says why.
    fn refuse(&mut self, policy: Map<String, Value>, origin: Origin) {
        let text = |name: &str| policy.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let metadata = policy.get("metadata").cloned().unwrap_or_default();
        let of = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = Key::new(group_of(&api_version), &kind, of("namespace"), of("name"));
        self.loaded.refused.push((self.loaded.problems.len(), self.loaded.objects.len()));
        self.loaded.objects.push(Object {
            key,
            api_version,
            value: Value::Object(policy),
            origin: Some(origin),
            made_for: None,
            refused: None,
        });
    }

    fn document(&mut self, value: Value, origin: Origin) {
        match value {
            Value::Null => {}
            Value::Object(map) => self.object(map, origin, None),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let message = "not a Kubernetes object (no mapping with `apiVersion` and `kind`), ignored";
                self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Info), message, "");
            }
        }
    }

    fn object(&mut self, map: Map<String, Value>, origin: Origin, list: Option<(&str, &str)>) {
        let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // The items of a typed list (`PodList`) may leave out what the list says.
        let (api_version, kind) = match (text("apiVersion"), text("kind"), list) {
            (Some(api_version), Some(kind), _) => (api_version.to_owned(), kind.to_owned()),
            (None, None, Some((api_version, kind))) => (api_version.to_owned(), kind.to_owned()),
            _ => return self.no_object(&map, origin),
        };
        let group = group_of(&api_version).to_owned();
        let metadata = map.get("metadata");
        let unnamed = metadata.and_then(|metadata| metadata.get("name")).is_none();
        if kind.ends_with("List") && unnamed && (kind == "List" || map.contains_key("items")) {
            return self.list(map, &api_version, &kind, origin);
        }
        if group == "kustomize.config.k8s.io" {
            let message = format!("{} is for kustomize, and no file of it, ignored", quoted(&kind.into()));
            let help = "kustomize reads a file that is called kustomization.yaml";
            return self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Info), message, help);
        }
        if map.contains_key("$patch") {
            let message = format!("a patch of a {}, and no object, ignored", quoted(&kind.into()));
            return self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Info), message, "");
        }
        match lookup(&api_version, &kind) {
            Lookup::Served | Lookup::Other => self.named(map, api_version, kind, origin),
            // The files of many tools begin as manifests do, and name no object.
            Lookup::NoMatch { meant: None, .. } if metadata.is_none() => {
                let message = "not a Kubernetes object (`metadata` is missing), ignored";
                self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Info), message, "");
            }
            Lookup::NoMatch { message, help, meant } => {
                if let Some((group, kind)) = meant
                    && is_policy(&Key::new(group, kind, "", ""))
                {
                    self.refuse(salvage::misspelt(kind, &map), origin.clone());
                }
                self.problem(
                    (origin.line, 1),
                    (model::parse::code::NO_MATCH, Severity::Error),
                    message,
                    help,
                );
            }
        }
    }

    /// Reports a mapping without `apiVersion` or `kind`; one that names an object was meant to be one.
    fn no_object(&mut self, map: &Map<String, Value>, origin: Origin) {
        let near = |name: &str| map.keys().find(|key| nearest(key, [name]).is_some());
        let metadata = near("metadata").and_then(|key| map.get(key));
        let names = metadata.is_some_and(|metadata| {
            ["name", "generateName", "namespace"].iter().any(|name| metadata.get(name).is_some())
        });
        let kind = near("kind").and_then(|key| map.get(key)).and_then(Value::as_str);
        let has_type = kind.is_some() && near("apiVersion").is_some();
        if !names && !has_type {
            let message = "not a Kubernetes object (`apiVersion` or `kind` is missing), ignored";
            return self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Info), message, "");
        }
        if let Some(policy) = kind.and_then(policy_like) {
            self.refuse(salvage::misspelt(policy, map), origin.clone());
        }
        let is_there =
            |name: &str| map.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let (message, help) = match OUTER.iter().take(2).find(|name| !is_there(name)) {
            Some(name) if map.get(*name).is_some_and(|value| !value.is_null()) => {
                let value = map.get(*name).map(quoted).unwrap_or_default();
                (
                    format!("{name}: Invalid value: {value}: must be of type string"),
                    "put the value in quotes".to_owned(),
                )
            }
            Some(name) => {
                let meant = near(name).map(|key| format!("{key:?} is not known: {}", did_you_mean(name)));
                (format!("{name} not set"), meant.unwrap_or_default())
            }
            None => ("apiVersion or kind not set".to_owned(), String::new()),
        };
        self.problem((origin.line, 1), (code::NOT_AN_OBJECT, Severity::Error), message, help);
    }

    fn list(&mut self, mut map: Map<String, Value>, api_version: &str, kind: &str, origin: Origin) {
        if origin.items.len() >= MAX_LIST_DEPTH {
            let message = format!("lists stand more than {MAX_LIST_DEPTH} deep in lists");
            return self.problem((origin.line, 1), (code::NAME, Severity::Error), message, "");
        }
        if let Some(key) = map.keys().find(|key| !OUTER.contains(&key.as_str()) && *key != "items") {
            let message = format!("unknown field {key:?} of a list");
            let help = nearest(key, ["items"]).map(did_you_mean).unwrap_or_default();
            self.problem(
                (origin.line, 1),
                (model::parse::code::UNKNOWN_FIELD, Severity::Error),
                message,
                help,
            );
        }
        let items = match map.remove("items") {
            None | Some(Value::Null) => return,
            Some(Value::Array(items)) => items,
            Some(_) => {
                let message = format!("items of a {kind} must be a list");
                return self.problem((origin.line, 1), (code::NAME, Severity::Error), message, "");
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
                    self.problem((origin.line, 1), (code::NAME, Severity::Error), message, "");
                }
            }
        }
    }

    /// Takes an object that has a kind: checks its name, sets its namespace.
    fn named(&mut self, mut map: Map<String, Value>, api_version: String, kind: String, origin: Origin) {
        let group = group_of(&api_version).to_owned();
        map.insert("apiVersion".to_owned(), Value::String(api_version.clone()));
        map.insert("kind".to_owned(), Value::String(kind.clone()));
        match name(&group, &kind, &mut map) {
            Ok((namespace, name)) => {
                let key = Key { group, kind, namespace, name };
                let value = Value::Object(map);
                let origin = Some(origin);
                self.loaded.objects.push(Object {
                    key,
                    api_version,
                    value,
                    origin,
                    made_for: None,
                    refused: None,
                });
            }
            Err((message, help)) => {
                if is_policy(&Key::new(&group, &kind, "", "")) {
                    self.refuse(salvage::misspelt(&kind, &map), origin.clone());
                }
                let message = format!("{}: {message}", kind_text(&kind));
                self.problem((origin.line, 1), (code::NAME, Severity::Error), message, help);
            }
        }
    }
}

/// The namespace and the name of an object; a name that is to be generated is set.
///
/// # Errors
///
/// What is wrong with one of them, and how to fix it.
fn name(group: &str, kind: &str, map: &mut Map<String, Value>) -> Result<(String, String), (String, String)> {
    let hash = match map.get("metadata") {
        Some(Value::Object(metadata)) if !metadata.contains_key("name") => metadata
            .get("generateName")
            .map(|_| Hasher::new("generateName").value(&Value::Object(map.clone())).finish()),
        _ => None,
    };
    let near = map.keys().find(|key| nearest(key, ["metadata"]).is_some()).cloned();
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else {
        let help = match near.filter(|key| key != "metadata") {
            Some(key) => format!("{key:?} is not known: {}", did_you_mean("metadata")),
            None => "give the object a metadata.name".to_owned(),
        };
        return Err(("metadata is missing".to_owned(), help));
    };
    if let (Some(hash), Some(Value::String(prefix))) = (hash, metadata.get("generateName")) {
        let name = format!("{prefix}{}", letters(hash, 5));
        metadata.insert("name".to_owned(), Value::String(name));
    }
    let name = match metadata.get("name") {
        None | Some(Value::Null) => {
            let near = metadata.keys().find(|key| nearest(key, ["name"]).is_some());
            let help = near.map(|key| format!("{key:?} is not known: {}", did_you_mean("name")));
            let help = help.unwrap_or_else(|| "give the object a name".to_owned());
            return Err(("metadata.name: Required value: name or generateName is required".to_owned(), help));
        }
        Some(Value::String(name)) => match name_fault(group, kind, name) {
            None => name.clone(),
            Some(fault) => {
                let name = quoted(&Value::from(name.as_str()));
                return Err((format!("metadata.name: Invalid value: {name}: {fault}"), String::new()));
            }
        },
        Some(other) => {
            let message = format!("metadata.name: Invalid value: {}: must be of type string", quoted(other));
            return Err((message, "put the name in quotes".to_owned()));
        }
    };
    if !is_namespaced(group, kind) {
        metadata.remove("namespace");
        return Ok((String::new(), name));
    }
    let namespace = match metadata.get("namespace") {
        Some(Value::String(namespace)) if is_dns_label(namespace) => namespace.clone(),
        None | Some(Value::Null) => "default".to_owned(),
        Some(Value::String(namespace)) if namespace.is_empty() => "default".to_owned(),
        Some(other) => {
            let fault = "must be a lowercase RFC 1123 label: letters, digits and '-', at most 63";
            return Err((
                format!("{name}: metadata.namespace: Invalid value: {}: {fault}", quoted(other)),
                String::new(),
            ));
        }
    };
    Ok((namespace, name))
}

/// A kind in a message: as it is where it has letters only, quoted where it has anything else.
fn kind_text(kind: &str) -> String {
    if kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) { kind.to_owned() } else { quoted(&kind.into()) }
}

/// The policy that a kind is the name of, or nearly.
fn policy_like(kind: &str) -> Option<&'static str> {
    nearest(kind, ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"])
}
