//! Reads a kustomization.

use model::{did_you_mean, nearest};
use serde_json::{Map, Value};

use crate::field::quoted;

/// The fields that change nothing that a mesh depends on: images, and objects that it does not read.
const OF_NO_CONCERN: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "images",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "sortOptions",
    "buildMetadata",
    "openapi",
    "crds",
    "validators",
    "commonAnnotations",
];

/// The fields that are followed.
const FOLLOWED: &[&str] = &[
    "resources",
    "bases",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "commonLabels",
    "labels",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "replicas",
];

/// The fields that only kustomize itself can follow.
const NOT_FOLLOWED: &[&str] = &[
    "components",
    "configurations",
    "generators",
    "helmChartInflationGenerator",
    "helmCharts",
    "helmGlobals",
    "replacements",
    "transformers",
    "vars",
];

/// What a kustomization asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kustomization {
    /// Files and folders, as written.
    pub(super) resources: Vec<String>,
    pub(super) namespace: Option<String>,
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) labels: Vec<Labels>,
    pub(super) merges: Vec<Patch>,
    pub(super) patches: Vec<Patch>,
    pub(super) json_patches: Vec<Patch>,
    pub(super) replicas: Vec<(String, u64)>,
    /// Why it cannot be built here.
    pub(super) unbuilt: Option<String>,
}

/// Labels that are added.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    pub(super) pairs: Map<String, Value>,
    pub(super) to_selectors: bool,
    pub(super) to_templates: bool,
}

/// A patch, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub(super) source: PatchSource,
    pub(super) target: Option<Target>,
}

/// Where a patch is written.
#[derive(Clone, Debug)]
pub(super) enum PatchSource {
    /// In a file, by its path as written.
    File(String),
    Text(String),
}

/// The objects that a patch is for; names are regular expressions.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) group: Option<String>,
    pub(super) version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: Option<String>,
}

/// Tells whether a file is a kustomization, by its name.
pub(crate) fn is_kustomization(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("kustomization.yaml" | "kustomization.yml" | "Kustomization"))
}

/// Reads a kustomization.
///
/// # Errors
///
/// The first thing that kustomize would refuse, and how to fix it.
pub(crate) fn read(value: &Value) -> Result<Kustomization, (String, String)> {
    let Some(map) = value.as_object() else {
        return Err(("not a kustomization: no mapping".to_owned(), String::new()));
    };
    let mut unbuilt = None;
    for (name, value) in map.iter().filter(|(_, value)| !is_empty(value)) {
        let name = name.as_str();
        if NOT_FOLLOWED.contains(&name) {
            unbuilt.get_or_insert_with(|| format!("it has `{name}`"));
        } else if name == "kind" && value == "Component" {
            unbuilt.get_or_insert_with(|| "it is a component".to_owned());
        } else if !FOLLOWED.contains(&name) && !OF_NO_CONCERN.contains(&name) {
            let known = FOLLOWED.iter().chain(OF_NO_CONCERN).chain(NOT_FOLLOWED).copied();
            let help = nearest(name, known).map(did_you_mean).unwrap_or_default();
            return Err((format!("unknown field {name:?} of a kustomization"), help));
        }
    }
    let mut resources = texts(map, "resources")?;
    resources.extend(texts(map, "bases")?);
    let remote = resources.iter().find(|resource| is_remote(resource));
    if let (None, Some(remote)) = (&unbuilt, remote) {
        unbuilt = Some(format!("{} is somewhere else", quoted(&remote.as_str().into())));
    }
    let namespace = text(map, "namespace")?;
    let (prefix, suffix) =
        (text(map, "namePrefix")?.unwrap_or_default(), text(map, "nameSuffix")?.unwrap_or_default());
    let mut labels = Vec::new();
    if let Some(pairs) = pairs(map, "commonLabels")? {
        labels.push(Labels { pairs, to_selectors: true, to_templates: true });
    }
    for entry in items(map, "labels")? {
        let Some(entry) = entry.as_object() else { return Err(wrong("labels", "a list of mappings")) };
        if entry.get("fields").is_some_and(|fields| !is_empty(fields)) {
            unbuilt.get_or_insert_with(|| "its labels have `fields`".to_owned());
        }
        let is = |name: &str| entry.get(name) == Some(&Value::Bool(true));
        if let Some(pairs) = pairs(entry, "pairs")? {
            let to_selectors = is("includeSelectors");
            labels.push(Labels { pairs, to_selectors, to_templates: to_selectors || is("includeTemplates") });
        }
    }
    let mut replicas = Vec::new();
    for entry in items(map, "replicas")? {
        match (entry.get("name").and_then(Value::as_str), entry.get("count").and_then(Value::as_u64)) {
            (Some(name), Some(count)) => replicas.push((name.to_owned(), count)),
            _ => return Err(wrong("replicas", "a list of `name` and `count`")),
        }
    }
    Ok(Kustomization {
        resources,
        namespace: namespace.filter(|namespace| !namespace.is_empty()),
        prefix,
        suffix,
        labels,
        merges: texts(map, "patchesStrategicMerge")?.into_iter().map(merge).collect(),
        patches: patches(map, "patches")?,
        json_patches: patches(map, "patchesJson6902")?,
        replicas,
        unbuilt,
    })
}

/// An entry of `patchesStrategicMerge` is a path or the patch itself.
fn merge(entry: String) -> Patch {
    let source = if entry.contains('\n') { PatchSource::Text(entry) } else { PatchSource::File(entry) };
    Patch { source, target: None }
}

fn patches(map: &Map<String, Value>, name: &str) -> Result<Vec<Patch>, (String, String)> {
    let mut all = Vec::new();
    for entry in items(map, name)? {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let source = match (text("path"), text("patch")) {
            (Some(path), None) => PatchSource::File(path),
            (None, Some(patch)) => PatchSource::Text(patch),
            _ => return Err(wrong(name, "a list with `path` or `patch`")),
        };
        let target = entry.get("target").and_then(Value::as_object).map(|target| {
            let text = |name: &str| {
                target.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            Target {
                group: text("group"),
                version: text("version"),
                kind: text("kind"),
                name: text("name"),
                namespace: text("namespace"),
                labels: text("labelSelector"),
            }
        });
        all.push(Patch { source, target });
    }
    Ok(all)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_remote(resource: &str) -> bool {
    resource.contains("://")
        || resource.contains("?ref=")
        || resource.starts_with("git@")
        || resource.starts_with("github.com/")
}

fn wrong(name: &str, wanted: &str) -> (String, String) {
    (format!("`{name}` of a kustomization must be {wanted}"), String::new())
}

fn items<'m>(map: &'m Map<String, Value>, name: &str) -> Result<&'m [Value], (String, String)> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong(name, "a list")),
    }
}

fn texts(map: &Map<String, Value>, name: &str) -> Result<Vec<String>, (String, String)> {
    let text =
        |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "a list of strings"));
    items(map, name)?.iter().map(text).collect()
}

fn text(map: &Map<String, Value>, name: &str) -> Result<Option<String>, (String, String)> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(name, "a string")),
    }
}

fn pairs(map: &Map<String, Value>, name: &str) -> Result<Option<Map<String, Value>>, (String, String)> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(pairs)) if pairs.values().all(Value::is_string) => Ok(Some(pairs.clone())),
        Some(_) => Err(wrong(name, "a mapping of strings")),
    }
}
