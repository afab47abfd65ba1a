//! The folder: the last good version of every file, and what they make together.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Severity;
use serde_json::Value;

use crate::admit::admit;
use crate::analysis::analyse;
use crate::cluster;
use crate::code;
use crate::field::Step;
use crate::file::File;
use crate::key::Key;
use crate::layout::{Layout, Reported, layout};
use crate::locate::place;
use crate::object::{Object, Objects, Origin, group_of};
use crate::places::Places;
use crate::problem::Problem;

/// What a folder makes.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Every object that the cluster would hold, declared and generated.
    pub objects: Objects,
    /// Why an API server would refuse the newest version of an object: the first problem of each. The
    /// object is not there, or its last good version is, unless it is a policy that fails closed.
    pub refused: BTreeMap<Key, Problem>,
    /// What is wrong, ordered by file, line and column.
    pub problems: Vec<Problem>,
}

/// An object that is deployed for one of the folder's, as a control plane applies it to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    /// What it is deployed for.
    pub cause: Key,
    /// The object, with `apiVersion`, `kind` and `metadata`.
    pub value: Value,
}

/// The files of a folder. The caller reads them; this keeps the last good version of each.
pub struct Folder {
    files: BTreeMap<Arc<str>, File>,
    /// Where the settings of the mesh are.
    system_namespace: String,
    /// What each kustomization made last, by its path.
    built: BTreeMap<Arc<str>, Vec<Arc<Object>>>,
    /// What is deployed for objects of the folder.
    deployed: Vec<Deployed>,
}

impl Default for Folder {
    /// A folder without files, whose mesh has its settings in `istio-system`.
    fn default() -> Self {
        Self::new("istio-system")
    }
}

impl Folder {
    /// Makes a folder without files, whose mesh has its settings in this namespace.
    pub fn new(system_namespace: &str) -> Self {
        let system_namespace = system_namespace.to_owned();
        Self { files: BTreeMap::new(), system_namespace, built: BTreeMap::new(), deployed: Vec::new() }
    }

    /// Takes a new version of a file.
    ///
    /// If a document of it cannot be read, the file keeps the objects of its last good version; if
    /// there is none, the documents that can be read count, and policies in the others are kept by
    /// their names, refused: they fail closed. An object that an API server would refuse keeps its
    /// own last good version, the other objects of the file are taken.
    pub fn set(&mut self, path: &str, text: &str) {
        let path: Arc<str> = Arc::from(path);
        self.files.entry(Arc::clone(&path)).or_default().set(&path, text);
    }

    /// Says that a file is there but cannot be read (`why`, such as `permission denied`); it keeps
    /// the objects of its last good version.
    pub fn set_unreadable(&mut self, path: &str, why: &str) {
        let path: Arc<str> = Arc::from(path);
        let file = self.files.entry(Arc::clone(&path)).or_default();
        let kept =
            if file.objects.is_empty() { "" } else { "; the last good version of this file stays active" };
        file.problems = vec![Problem {
            file: path,
            line: 1,
            column: 1,
            severity: Severity::Error,
            code: code::UNREADABLE,
            object: None,
            field: String::new(),
            message: format!("cannot be read: {why}{kept}"),
            help: String::new(),
        }];
    }

    /// Removes a file and its objects; tells whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// Says what is deployed for objects of the folder; tells whether that is something else than before.
    /// Controllers play over it as over what the folder declares, which goes before what has its name.
    pub fn set_deployed(&mut self, deployed: Vec<Deployed>) -> bool {
        let is_new = self.deployed != deployed;
        self.deployed = deployed;
        is_new
    }

    /// The paths of the files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(AsRef::as_ref)
    }

    /// Plays the cluster: gives every object that it would hold, and every problem.
    ///
    /// An object that is written twice is taken from the first file, in order of paths.
    pub fn resolve(&mut self) -> Resolved {
        let Layout { within, built, mut problems } = layout(&self.files);
        let mut all: Vec<Arc<Object>> = Vec::new();
        let mut refused = BTreeMap::new();
        for (path, file) in &self.files {
            let reported = within.get(path);
            problems.extend(file.problems.iter().filter(|problem| is_reported(problem, reported)).cloned());
            if reported.is_none() {
                problems.extend(file.findings.iter().cloned());
                all.extend(file.objects.iter().cloned());
                refused.extend(file.refused.iter().cloned());
            }
        }
        let mut before = std::mem::take(&mut self.built);
        for (path, objects) in built {
            let before = before.remove(&path).unwrap_or_default();
            let made = match objects {
                Some(objects) => self.admit(objects, &before, &mut problems, &mut refused),
                None => {
                    say_kept(&path, &before, &mut problems);
                    before
                }
            };
            all.extend(made.iter().cloned());
            self.built.insert(path, made);
        }
        let mut declared = Objects::new();
        for object in all {
            match declared.get(&object.key) {
                None => {
                    declared.insert(object.key.clone(), object);
                }
                Some(first) => problems.extend(twice(first, &object)),
            }
        }
        let objects = cluster::simulate(&self.with_deployed(&declared), &mut problems);
        let mut doubts = Vec::new();
        analyse(&declared, &objects, &self.system_namespace, &mut doubts);
        problems.extend(doubts.into_iter().map(|doubt| self.placed(doubt, &declared)));
        problems.sort();
        problems.dedup();
        Resolved { objects, refused, problems }
    }

    /// The declared objects, and those that are deployed for one of them.
    fn with_deployed(&self, declared: &Objects) -> Objects {
        let mut all = declared.clone();
        for Deployed { cause, value } in &self.deployed {
            let Some(cause) = declared.get(cause) else { continue };
            let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let api_version = text("/apiVersion");
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            let key = Key::new(group_of(api_version), text("/kind"), namespace, name);
            let object = Object {
                key: key.clone(),
                api_version: api_version.to_owned(),
                value: value.clone(),
                origin: cause.origin.clone(),
                made_for: Some(cause.key.clone()),
                refused: None,
            };
            all.entry(key).or_insert_with(|| Arc::new(object));
        }
        all
    }

    /// Gives a doubt about a field its place.
    fn placed(&self, doubt: Problem, declared: &Objects) -> Problem {
        let object = doubt.object.as_ref().and_then(|key| declared.get(key));
        let place = object
            .and_then(|object| object.origin.as_ref())
            .and_then(|origin| self.locate(origin, &doubt.field));
        let (line, column) = place.unwrap_or((doubt.line, doubt.column));
        Problem { line, column, ..doubt }
    }

    /// Takes the objects that a kustomization makes.
    fn admit(
        &self,
        objects: Vec<Object>,
        before: &[Arc<Object>],
        problems: &mut Vec<Problem>,
        refused: &mut BTreeMap<Key, Problem>,
    ) -> Vec<Arc<Object>> {
        let mut made = Vec::with_capacity(objects.len());
        for object in objects {
            let key = object.key.clone();
            let file = object.origin.as_ref().and_then(|origin| self.files.get(&origin.file));
            let text = file.map_or("", |file| &file.text);
            let before = before.iter().find(|before| before.key == key);
            let admitted = admit(object, before, text);
            made.extend(admitted.object);
            problems.extend(admitted.problems);
            refused.extend(admitted.refused.map(|why| (key, why)));
        }
        made
    }

    /// Where the objects of an answer are written: the texts are those of the files as they are now.
    pub fn places(&self, objects: Arc<Objects>) -> Places {
        let texts = self.files.iter().map(|(path, file)| (Arc::clone(path), Arc::clone(&file.text)));
        Places { objects, texts: texts.collect() }
    }

    /// The line and column, from 1, of a field of an object, such as `spec.ports[0].port`; of the
    /// nearest field around it if there is none of that name. `None` if the file is gone, or if the
    /// document is too large to be read again.
    pub fn locate(&self, origin: &Origin, field: &str) -> Option<(u32, u32)> {
        let file = self.files.get(&origin.file)?;
        place(&file.text, origin, &Step::parse_path(field))
    }
}

/// Tells whether a problem of reading a file is reported, given what the file is a part of.
fn is_reported(problem: &Problem, within: Option<&Reported>) -> bool {
    match within {
        None | Some(Reported::Reading) => true,
        Some(Reported::Syntax) => problem.code == code::SYNTAX || problem.code == code::UNREADABLE,
        Some(Reported::Nothing) => false,
    }
}

/// Says of a kustomization that cannot be built any more that what it made stays.
fn say_kept(path: &Arc<str>, made: &[Arc<Object>], problems: &mut [Problem]) {
    let is_of = |problem: &&mut Problem| problem.file == *path && problem.severity != Severity::Info;
    if let (false, Some(problem)) = (made.is_empty(), problems.iter_mut().find(is_of)) {
        problem.message.push_str("; what it made last stays active");
    }
}

fn twice(first: &Object, second: &Object) -> Option<Problem> {
    let (taken, ignored) = (first.origin.as_ref()?, second.origin.as_ref()?);
    Some(Problem {
        file: Arc::clone(&ignored.file),
        line: ignored.line,
        column: 1,
        severity: Severity::Warning,
        code: code::TWICE,
        object: Some(second.key.clone()),
        field: String::new(),
        message: format!("written twice: {taken} is taken, {ignored} is ignored"),
        help: "remove one of the two".to_owned(),
    })
}
