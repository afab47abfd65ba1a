//! The folder: the last good version of every file, and what they make together.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Severity;

use crate::admit::admit;
use crate::cluster;
use crate::code;
use crate::field::Step;
use crate::key::Key;
use crate::load::load;
use crate::locate::place;
use crate::object::{Object, Objects, Origin};
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

/// The files of a folder. The caller reads them; this keeps the last good version of each.
#[derive(Default)]
pub struct Folder {
    files: BTreeMap<Arc<str>, File>,
}

#[derive(Default)]
struct File {
    /// The text that the objects come from.
    text: Arc<str>,
    /// The objects as an API server would hold them.
    objects: Vec<Arc<Object>>,
    /// The problems of the newest version, which the objects may be older than.
    problems: Vec<Problem>,
    /// The objects of the newest version that are refused, and why.
    refused: Vec<(Key, Problem)>,
    /// Whether the objects are those of a version that could be read to its end.
    whole: bool,
}

impl Folder {
    /// Takes a new version of a file.
    ///
    /// If a document of it cannot be read, the file keeps the objects of its last good version; if
    /// there is none, the documents that can be read count, and policies in the others are kept by
    /// their names, refused: they fail closed. An object that an API server would refuse keeps its
    /// own last good version, the other objects of the file are taken.
    pub fn set(&mut self, path: &str, text: &str) {
        let path: Arc<str> = Arc::from(path);
        let mut loaded = load(&path, text);
        let file = self.files.entry(Arc::clone(&path)).or_default();
        if loaded.broken && file.whole {
            file.problems = loaded.problems;
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
        loaded.name_refused();
        let text: Arc<str> = Arc::from(text);
        let (mut objects, mut refused) = (Vec::with_capacity(loaded.objects.len()), Vec::new());
        for object in loaded.objects {
            let key = object.key.clone();
            let before = file.objects.iter().find(|before| before.key == key);
            let admitted = admit(object, before, &text);
            objects.extend(admitted.object);
            refused.extend(admitted.refused.map(|why| (key, why)));
            loaded.problems.extend(admitted.problems);
        }
        *file = File { text, objects, problems: loaded.problems, refused, whole: !loaded.broken };
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
            field: String::new(),
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
        let mut refused = BTreeMap::new();
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
            for (key, why) in &file.refused {
                refused.entry(key.clone()).or_insert_with(|| why.clone());
            }
        }
        let objects = cluster::simulate(&declared, &mut problems);
        problems.sort();
        problems.dedup();
        Resolved { objects, refused, problems }
    }

    /// The line and column, from 1, of a field of an object, such as `spec.ports[0].port`; of the
    /// nearest field around it if there is none of that name. `None` if the file is gone, or if the
    /// document is too large to be read again.
    pub fn locate(&self, origin: &Origin, field: &str) -> Option<(u32, u32)> {
        let file = self.files.get(&origin.file)?;
        place(&file.text, origin, &Step::parse_path(field))
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
