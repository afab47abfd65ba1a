//! From a kustomization and the objects of the files that it lists to the objects that it makes.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::path::{folder_of, join};
use super::read::{Kustomization, Patch, PatchSource, Target, is_kustomization};
use super::{merge, pointer, transform};
use crate::document::split;
use crate::field::quoted;
use crate::object::{Object, group_of};
use crate::value::from_yaml;

/// How deep a kustomization may lead to others.
const MAX_DEPTH: usize = 16;

/// What is known of the files.
pub(crate) trait Sources {
    /// The kustomization in a file.
    fn kustomization(&self, path: &str) -> Option<&Kustomization>;
    /// The objects of a file, as they are written; `None` for a file that is not there.
    fn objects(&self, path: &str) -> Option<&[Object]>;
    /// The text of a file.
    fn text(&self, path: &str) -> Option<&str>;
    /// The path of the kustomization in a folder.
    fn in_folder(&self, folder: &str) -> Option<String>;
}

/// What a kustomization makes.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub(crate) objects: Vec<Object>,
    /// Every file that it reads, itself included.
    pub(crate) files: BTreeSet<String>,
    /// Those of them that are patches.
    pub(crate) patches: BTreeSet<String>,
}

/// Why a kustomization is not built.
#[derive(Debug)]
pub(crate) enum Unbuilt {
    /// Only kustomize itself can build it.
    NotSimple(String),
    /// Kustomize would refuse it.
    Wrong(String),
}

/// Builds the kustomization in a file. The files that it lists are known also if it cannot be built.
pub(crate) fn build(sources: &dyn Sources, path: &str) -> (Built, Option<Unbuilt>) {
    let mut builder = Builder { sources, files: BTreeSet::new(), patches: BTreeSet::new() };
    let (objects, why) = match builder.build(path, 0) {
        Ok(objects) => (objects, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    (Built { objects, files: builder.files, patches: builder.patches }, why)
}

/// The kustomizations that one has among its resources.
pub(crate) fn bases(sources: &dyn Sources, path: &str) -> Vec<String> {
    let resources = sources.kustomization(path).map_or(&[][..], |kustomization| &kustomization.resources);
    let paths = resources.iter().filter_map(|resource| join(folder_of(path), resource));
    paths.filter_map(|path| sources.in_folder(&path)).collect()
}

struct Builder<'s> {
    sources: &'s dyn Sources,
    files: BTreeSet<String>,
    patches: BTreeSet<String>,
}

impl Builder<'_> {
    fn build(&mut self, path: &str, depth: usize) -> Result<Vec<Object>, Unbuilt> {
        self.files.insert(path.to_owned());
        let kustomization = self.sources.kustomization(path);
        let Some(kustomization) = kustomization else {
            return Err(Unbuilt::Wrong(format!("{path} cannot be read")));
        };
        let folder = folder_of(path);
        // The files count as read whatever else is wrong, so all are gone through first.
        let patches =
            kustomization.merges.iter().chain(&kustomization.patches).chain(&kustomization.json_patches);
        for patch in patches {
            if let PatchSource::File(file) = &patch.source {
                self.files.extend(join(folder, file));
                self.patches.extend(join(folder, file));
            }
        }
        let (mut objects, mut fault) = (Vec::new(), None);
        for resource in &kustomization.resources {
            match self.resource(folder, resource, depth) {
                Ok(more) => objects.extend(more),
                Err(why) => {
                    fault.get_or_insert(why);
                }
            }
        }
        if let Some(why) = &kustomization.unbuilt {
            return Err(Unbuilt::NotSimple(why.clone()));
        }
        if let Some(why) = fault {
            return Err(why);
        }
        for patch in &kustomization.merges {
            self.patch(&mut objects, folder, patch)?;
        }
        for patch in &kustomization.patches {
            self.patch(&mut objects, folder, patch)?;
        }
        if let Some(namespace) = &kustomization.namespace {
            transform::namespace(&mut objects, namespace);
        }
        if !kustomization.prefix.is_empty() || !kustomization.suffix.is_empty() {
            transform::names(&mut objects, &kustomization.prefix, &kustomization.suffix);
        }
        for labels in &kustomization.labels {
            transform::labels(&mut objects, labels);
        }
        for patch in &kustomization.json_patches {
            self.patch(&mut objects, folder, patch)?;
        }
        transform::replicas(&mut objects, kustomization).map_err(Unbuilt::Wrong)?;
        Ok(objects)
    }

    fn resource(&mut self, folder: &str, resource: &str, depth: usize) -> Result<Vec<Object>, Unbuilt> {
        let shown = quoted(&resource.into());
        let Some(path) = join(folder, resource) else {
            return Err(Unbuilt::Wrong(format!("{shown} is no path")));
        };
        if let Some(inner) = self.sources.in_folder(&path) {
            if depth >= MAX_DEPTH || self.files.contains(&inner) {
                return Err(Unbuilt::Wrong(format!("{shown} leads back to what it is a resource of")));
            }
            return self.build(&inner, depth + 1);
        }
        if is_kustomization(&path) {
            return Err(Unbuilt::Wrong(format!("{shown} is a kustomization: name its folder")));
        }
        match self.sources.objects(&path) {
            Some(objects) => {
                self.files.insert(path);
                Ok(objects.to_vec())
            }
            None => Err(Unbuilt::NotSimple(format!("{shown} is not among the files that are read"))),
        }
    }

    fn patch(&self, objects: &mut Vec<Object>, folder: &str, patch: &Patch) -> Result<(), Unbuilt> {
        let (name, text) = match &patch.source {
            PatchSource::Text(text) => ("a patch".to_owned(), text.clone()),
            PatchSource::File(file) => {
                let name = format!("the patch {}", quoted(&file.as_str().into()));
                let text = join(folder, file).and_then(|path| self.sources.text(&path));
                match text {
                    Some(text) => (name, text.to_owned()),
                    None => {
                        return Err(Unbuilt::NotSimple(format!(
                            "{name} is not among the files that are read"
                        )));
                    }
                }
            }
        };
        let wrong = |why: String| Unbuilt::Wrong(format!("{name}: {why}"));
        for document in split(&text) {
            let value = from_yaml(document.text).map_err(|error| wrong(error.to_string()))?;
            match &value {
                Value::Null => {}
                Value::Array(operations) => {
                    let target = patch.target.clone().ok_or_else(|| wrong("it has no target".to_owned()))?;
                    let chosen = chosen(objects, &target).map_err(&wrong)?;
                    for index in chosen {
                        pointer::apply(&mut objects[index].value, operations).map_err(&wrong)?;
                        refresh(&mut objects[index]);
                    }
                }
                Value::Object(changes) => {
                    let target = match &patch.target {
                        Some(target) => target.clone(),
                        None => target_of(&value).ok_or_else(|| wrong("it names no object".to_owned()))?,
                    };
                    let mut chosen = chosen(objects, &target).map_err(&wrong)?;
                    // Those that are removed move what is behind them.
                    chosen.reverse();
                    for index in chosen {
                        let object = &mut objects[index];
                        let is_builtin =
                            !object.key.group.contains('.') || object.key.group.ends_with(".k8s.io");
                        let mut changes = changes.clone();
                        // What names the object stays.
                        for name in ["apiVersion", "kind"] {
                            changes.remove(name);
                        }
                        if let Some(metadata) = changes.get_mut("metadata").and_then(Value::as_object_mut) {
                            metadata.remove("name");
                            metadata.remove("namespace");
                        }
                        let is_kept = object
                            .value
                            .as_object_mut()
                            .is_none_or(|object| merge::merge(object, &changes, is_builtin));
                        if is_kept {
                            refresh(object);
                        } else {
                            objects.remove(index);
                        }
                    }
                }
                _ => return Err(wrong("it is neither a mapping nor a list".to_owned())),
            }
        }
        Ok(())
    }
}

/// The object that a patch without a target is for.
fn target_of(patch: &Value) -> Option<Target> {
    let text = |pointer: &str| patch.pointer(pointer).and_then(Value::as_str);
    let (api_version, kind, name) = (text("/apiVersion")?, text("/kind")?, text("/metadata/name")?);
    Some(Target {
        group: Some(group_of(api_version).to_owned()),
        version: None,
        kind: Some(kind.to_owned()),
        name: Some(regex::escape(name)),
        namespace: text("/metadata/namespace").map(regex::escape),
        labels: None,
    })
}

/// The objects of a target.
///
/// # Errors
///
/// When there is none, or the target is no pattern.
fn chosen(objects: &[Object], target: &Target) -> Result<Vec<usize>, String> {
    let pattern = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => Regex::new(&format!("^(?:{text})$"))
            .map(Some)
            .map_err(|_| format!("{text:?} is no regular expression")),
    };
    let (kind, name, namespace) =
        (pattern(&target.kind)?, pattern(&target.name)?, pattern(&target.namespace)?);
    let labels: Vec<&str> = target.labels.iter().flat_map(|labels| labels.split(',')).collect();
    let is =
        |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
    let fits = |object: &Object| {
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        let has = |wanted: &&str| {
            let (label, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            let found = object.value.pointer("/metadata/labels").and_then(|labels| labels.get(label.trim()));
            found.and_then(Value::as_str) == Some(value.trim().trim_start_matches('='))
        };
        target.group.as_ref().is_none_or(|group| *group == object.key.group)
            && target.version.as_ref().is_none_or(|wanted| wanted == version)
            && is(&kind, &object.key.kind)
            && is(&name, &object.key.name)
            && is(&namespace, &object.key.namespace)
            && labels.iter().all(has)
    };
    let found: Vec<usize> = (0..objects.len()).filter(|index| fits(&objects[*index])).collect();
    if found.is_empty() { Err("it is for no resource".to_owned()) } else { Ok(found) }
}

/// Reads the name of an object again, which a patch may have changed.
fn refresh(object: &mut Object) {
    let text = |pointer: &str| object.value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    if let Some(name) = name {
        object.key.name = name;
    }
    if let Some(namespace) = namespace.filter(|_| !object.key.namespace.is_empty()) {
        object.key.namespace = namespace;
    }
}
