//! The folder: the last good version of every file, and what they make together.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Severity;

use crate::cluster;
use crate::field::{Flaw, Step};
use crate::load::{is_json, load};
use crate::locate::locate;
use crate::{Object, Objects, Origin, Problem, code};

/// What a folder makes.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Every object that the cluster would hold, declared and generated.
    pub objects: Objects,
    /// What is wrong, ordered by file, line and column.
    pub problems: Vec<Problem>,
}

/// The files of a folder. The caller reads them; this keeps the last good version of each.
#[derive(Default)]
pub struct Folder {
    files: BTreeMap<Arc<str>, File>,
}

#[derive(Default)]
struct File {
    /// The text that the objects come from.
    text: Arc<str>,
    objects: Vec<Arc<Object>>,
    /// The problems of the newest version, which the objects may be older than.
    problems: Vec<Problem>,
    /// Whether the objects are those of a version that could be read to its end.
    whole: bool,
}

impl Folder {
    /// Takes a new version of a file.
    ///
    /// If a document of it cannot be read, the file keeps the objects of its last good version; if
    /// there is none, the documents that can be read count, and policies in the others are kept by
    /// their names, with a `spec` that no reader accepts: they fail closed. A controller with an invalid value
    /// keeps its own last good version, the other objects of the file are taken.
    pub fn set(&mut self, path: &str, text: &str) {
        let path: Arc<str> = Arc::from(path);
        let loaded = load(&path, text);
        let file = self.files.entry(Arc::clone(&path)).or_default();
        file.problems = loaded.problems;
        if loaded.broken && file.whole {
            for problem in &mut file.problems {
                // An earlier version was good, so this is no file that was never meant to be read.
                if problem.severity == Severity::Warning {
                    problem.severity = Severity::Error;
                }
            }
            if let Some(problem) =
                file.problems.iter_mut().find(|problem| problem.severity == Severity::Error)
            {
                problem.message.push_str("; the last good version of this file stays in force");
            }
            return;
        }
        for (index, policy) in loaded.refused {
            if let Some(problem) = file.problems.get_mut(index) {
                problem.message.push_str(&format!("; {policy} is refused, so it denies what it may select"));
            }
        }
        let mut objects = Vec::with_capacity(loaded.objects.len());
        for object in loaded.objects {
            match cluster::check(&object) {
                Ok(()) => objects.push(Arc::new(object)),
                Err(flaw) => {
                    let before = file.objects.iter().find(|before| before.key == object.key);
                    file.problems.push(flaw_problem(&path, text, &object, flaw, before.is_some()));
                    objects.extend(before.cloned());
                }
            }
        }
        file.text = Arc::from(text);
        file.objects = objects;
        file.whole = !loaded.broken;
    }

    /// Says that a file is there but cannot be read (`why`, such as `permission denied`); it keeps
    /// the objects of its last good version.
    pub fn set_unreadable(&mut self, path: &str, why: &str) {
        let path: Arc<str> = Arc::from(path);
        let file = self.files.entry(Arc::clone(&path)).or_default();
        let kept =
            if file.objects.is_empty() { "" } else { "; the last good version of this file stays in force" };
        file.problems = vec![Problem {
            file: path,
            line: 1,
            column: 1,
            severity: Severity::Error,
            code: code::UNREADABLE,
            object: None,
            message: format!("cannot be read: {why}{kept}"),
            help: String::new(),
        }];
    }

    /// Removes a file and its objects; tells whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// The paths of the files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(AsRef::as_ref)
    }

    /// Plays the cluster: gives every object that it would hold, and every problem.
    ///
    /// An object that is written twice is taken from the first file, in order of paths.
    pub fn resolve(&self) -> Resolved {
        let mut declared = Objects::new();
        let mut problems = Vec::new();
        for file in self.files.values() {
            problems.extend(file.problems.iter().cloned());
            for object in &file.objects {
                match declared.get(&object.key) {
                    None => {
                        declared.insert(object.key.clone(), Arc::clone(object));
                    }
                    Some(first) => problems.extend(twice(first, object)),
                }
            }
        }
        let objects = cluster::simulate(&declared, &mut problems);
        problems.sort();
        problems.dedup();
        Resolved { objects, problems }
    }

    /// The line and column, from 1, of a field of an object, such as `spec.ports[0].port`; of the
    /// nearest field around it if there is none of that name. `None` if the file is gone, or if the
    /// document is too large to be read again.
    pub fn locate(&self, origin: &Origin, field: &str) -> Option<(u32, u32)> {
        let file = self.files.get(&origin.file)?;
        place(&file.text, origin, &Step::parse_path(field))
    }
}

/// The line and column of a field in the text of a file.
fn place(text: &str, origin: &Origin, field: &[Step]) -> Option<(u32, u32)> {
    let json = is_json(&origin.file);
    let document = if json { text.get(origin.start..)? } else { crate::document::at(text, origin.start)? };
    let mut path = Vec::new();
    for item in &origin.items {
        path.extend([Step::Key("items".to_owned()), Step::Index(*item)]);
    }
    path.extend_from_slice(field);
    let (line, column) = locate(document, json, &path)?;
    Some((line.saturating_add(origin.lines_before), column))
}

fn flaw_problem(path: &Arc<str>, text: &str, object: &Object, flaw: Flaw, kept: bool) -> Problem {
    let (line, column) = object
        .origin
        .as_ref()
        .map_or((1, 1), |origin| place(text, origin, &flaw.path).unwrap_or((origin.line, 1)));
    let fate = if kept { "its last good version stays in force" } else { "it makes no pods" };
    Problem {
        file: Arc::clone(path),
        line,
        column,
        severity: Severity::Error,
        code: code::CONTROLLER,
        object: Some(object.key.clone()),
        message: format!("{}; {fate}", flaw.message),
        help: flaw.help,
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
        message: format!("written twice: {taken} is taken, {ignored} is ignored"),
        help: "remove one of the two".to_owned(),
    })
}
