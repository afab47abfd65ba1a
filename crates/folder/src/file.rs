//! One file of the folder: its last good version, and what is wrong with the newest.

use std::sync::Arc;

use model::Severity;
use serde_json::Value;

use crate::admit::admit;
use crate::code;
use crate::document::{SyntaxError, split};
use crate::key::Key;
use crate::kustomize::{self, Kustomization};
use crate::load::{Loaded, load};
use crate::object::Object;
use crate::problem::Problem;

/// What is kept of a file.
#[derive(Default)]
pub(crate) struct File {
    /// The text that the objects come from.
    pub(crate) text: Arc<str>,
    /// The objects as they are written: what a kustomization builds from.
    pub(crate) written: Vec<Object>,
    /// The objects as an API server would hold them.
    pub(crate) objects: Vec<Arc<Object>>,
    /// The problems of reading the newest version, which the objects may be older than.
    pub(crate) problems: Vec<Problem>,
    /// What an API server would say to the objects.
    pub(crate) findings: Vec<Problem>,
    /// The objects of the newest version that are refused, and why.
    pub(crate) refused: Vec<(Key, Problem)>,
    /// Whether the objects are those of a version that could be read to its end.
    pub(crate) whole: bool,
    /// What it had before it had nothing any more.
    pub(crate) emptied: Vec<Key>,
    /// Whether it is called as kustomizations are.
    pub(crate) is_kustomization: bool,
    pub(crate) kustomization: Option<Kustomization>,
    /// Whether it describes a Helm chart.
    pub(crate) is_chart: bool,
}

impl File {
    /// Takes a new version.
    pub(crate) fn set(&mut self, path: &Arc<str>, text: &str) {
        if kustomize::is_kustomization(path) {
            return self.set_kustomization(path, text);
        }
        if path.rsplit('/').next() == Some("Chart.yaml") && is_chart(text) {
            *self = Self { text: Arc::from(text), whole: true, is_chart: true, ..Self::default() };
            return;
        }
        let mut loaded = load(path, text);
        if loaded.broken && self.whole {
            self.keep(loaded.problems);
            return;
        }
        loaded.name_refused(|key| self.objects.iter().any(|o| o.key == *key && o.refused.is_none()));
        let emptied = self.emptied_by(&loaded);
        loaded.problems.extend(emptied_problem(path, &emptied));
        let text: Arc<str> = Arc::from(text);
        let (mut objects, mut findings, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for object in &loaded.objects {
            let before = self.objects.iter().find(|before| before.key == object.key);
            let admitted = admit(object.clone(), before, &text);
            objects.extend(admitted.object);
            refused.extend(admitted.refused.map(|why| (object.key.clone(), why)));
            findings.extend(admitted.problems);
        }
        *self = Self {
            text,
            written: loaded.objects,
            objects,
            problems: loaded.problems,
            findings,
            refused,
            whole: !loaded.broken,
            emptied,
            ..Self::default()
        };
    }

    /// The objects that are gone since a version has none at all, and nothing that was meant to be one.
    fn emptied_by(&self, loaded: &Loaded) -> Vec<Key> {
        if !(loaded.objects.is_empty() && loaded.problems.is_empty()) {
            return Vec::new();
        }
        match self.written.as_slice() {
            [] => self.emptied.clone(),
            written => written.iter().map(|object| object.key.clone()).collect(),
        }
    }

    /// Keeps the last good version, with the problems of the newest.
    fn keep(&mut self, problems: Vec<Problem>) {
        self.problems = problems;
        for problem in &mut self.problems {
            // An earlier version was good, so this is no file that was never meant to be read.
            if problem.severity == Severity::Warning {
                problem.severity = Severity::Error;
            }
        }
        if let Some(problem) = self.problems.iter_mut().find(|problem| problem.severity == Severity::Error) {
            problem.message.push_str("; the last good version of this file stays active");
        }
    }

    fn set_kustomization(&mut self, path: &Arc<str>, text: &str) {
        self.is_kustomization = true;
        let problem = |line: u32, column: u32, code: &'static str, message: String, help: String| Problem {
            file: Arc::clone(path),
            line,
            column,
            severity: Severity::Error,
            code,
            object: None,
            field: String::new(),
            message,
            help,
        };
        let documents = split(text);
        let document = match documents.first().map(|document| document.read()) {
            None => Ok(Value::Object(serde_json::Map::new())),
            Some(Ok(value)) => Ok(value),
            Some(Err(SyntaxError { line, column, message, help })) => {
                Err(problem(line, column, code::SYNTAX, message, help.to_owned()))
            }
        };
        let line = documents.first().map_or(1, |document| document.line);
        let read = match document {
            Err(problem) => Err(problem),
            Ok(value) => match kustomize::read(&value) {
                Ok(kustomization) => Ok(kustomization),
                Err((message, help)) => Err(problem(line, 1, code::KUSTOMIZATION, message, help)),
            },
        };
        match read {
            Ok(kustomization) => {
                let (text, whole) = (Arc::from(text), true);
                let kustomization = Some(kustomization);
                *self = Self { text, whole, kustomization, is_kustomization: true, ..Self::default() };
            }
            Err(problem) if self.kustomization.is_some() => self.keep(vec![problem]),
            Err(problem) => self.problems = vec![problem],
        }
    }
}

/// Says which objects a file had that has none any more.
fn emptied_problem(path: &Arc<str>, emptied: &[Key]) -> Option<Problem> {
    let (first, more) = (emptied.first()?, emptied.len() - 1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(Problem {
        file: Arc::clone(path),
        line: 1,
        column: 1,
        severity: Severity::Warning,
        code: code::EMPTIED,
        object: None,
        field: String::new(),
        message: format!("holds no object any more, so what it held is removed: {first}{more}"),
        help: "write it anew, or remove the file if that was meant".to_owned(),
    })
}

/// Tells whether a text describes a Helm chart.
fn is_chart(text: &str) -> bool {
    let value = split(text).first().and_then(|document| document.read().ok()).unwrap_or_default();
    let version = value.get("apiVersion").and_then(Value::as_str);
    matches!(version, Some("v1" | "v2")) && value.get("name").is_some() && value.get("kind").is_none()
}
