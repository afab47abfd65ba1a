//! Which files are objects by themselves, which belong to a kustomization, and which to a chart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Severity;

use crate::code;
use crate::file::File;
use crate::kustomize::{Kustomization, Sources, Unbuilt, bases, build, folder_of, join};
use crate::object::Object;
use crate::problem::Problem;

/// What becomes of the files.
#[derive(Default)]
pub(crate) struct Layout {
    /// The files whose objects do not count by themselves, and how much is reported of them.
    pub(crate) within: BTreeMap<Arc<str>, Reported>,
    /// What each kustomization that is no part of another makes; `None` if it cannot be built.
    pub(crate) built: Vec<(Arc<str>, Option<Vec<Object>>)>,
    pub(crate) problems: Vec<Problem>,
}

/// Which problems of a file are reported that counts as a part of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Those of reading it.
    Reading,
    /// That it is not YAML.
    Syntax,
    Nothing,
}

/// Looks at all files together.
pub(crate) fn layout(files: &BTreeMap<Arc<str>, File>) -> Layout {
    let mut layout = Layout::default();
    let charts = charts(files, &mut layout);
    let view = View::new(files, &charts);
    let all: Vec<&String> = view.in_folder.values().collect();
    let inner: BTreeSet<String> = all.iter().flat_map(|path| bases(&view, path)).collect();
    // One that only leads to itself is looked at, too.
    let (roots, others): (Vec<&String>, Vec<&String>) =
        all.iter().copied().partition(|path| !inner.contains(*path));
    let mut seen = BTreeSet::new();
    for path in roots.into_iter().chain(others) {
        if !seen.contains(path) {
            layout.add(&view, path, &mut seen);
        }
    }
    layout.leave_out_neighbours(&view, &seen);
    layout
}

/// Finds the charts, and leaves out what is in them; gives their folders.
fn charts(files: &BTreeMap<Arc<str>, File>, layout: &mut Layout) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for (path, _) in files.iter().filter(|(_, file)| file.is_chart) {
        let folder = folder_of(path).to_owned();
        if folders.iter().any(|outer| is_below(path, outer)) {
            continue;
        }
        let shown = if folder.is_empty() { "." } else { folder.as_str() };
        layout.problems.push(problem(
            path,
            (code::TEMPLATE, Severity::Warning),
            "a Helm chart, which is left out".to_owned(),
            format!("render it: helm template {shown} | pilothouse dump --from -"),
        ));
        folders.push(folder);
    }
    for path in files.keys().filter(|path| folders.iter().any(|folder| is_below(path, folder))) {
        layout.within.insert(Arc::clone(path), Reported::Nothing);
    }
    folders
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Layout {
    fn add(&mut self, view: &View<'_>, path: &str, seen: &mut BTreeSet<String>) {
        let Some(file) = view.paths.get(path).map(|file| Arc::clone(file)) else { return };
        let (built, unbuilt) = build(view, path);
        for name in &built.files {
            let Some(file) = view.paths.get(name) else { continue };
            let reported = if built.patches.contains(name) { Reported::Syntax } else { Reported::Reading };
            self.within.entry(Arc::clone(file)).or_insert(reported);
        }
        seen.extend(built.files);
        let folder = folder_of(&file);
        let pipe = format!(
            "build it: kubectl kustomize {} | pilothouse dump --from -",
            if folder.is_empty() { "." } else { folder }
        );
        match unbuilt {
            None => self.built.push((file, Some(built.objects))),
            Some(why) => {
                // Why a kustomization cannot be read is reported where it is read.
                let is_read = view.files.get(&file).is_some_and(|file| file.kustomization.is_some());
                let (severity, message) = match why {
                    Unbuilt::NotSimple(why) => (Severity::Warning, format!("cannot be built here: {why}")),
                    Unbuilt::Wrong(why) => (Severity::Error, format!("cannot be built: {why}")),
                };
                if is_read {
                    self.problems.push(problem(&file, (code::KUSTOMIZATION, severity), message, pipe));
                }
                self.built.push((file, None));
            }
        }
    }

    /// Leaves out the files beside a kustomization that it does not list: `kubectl apply -k` would not
    /// read them either.
    fn leave_out_neighbours(&mut self, view: &View<'_>, seen: &BTreeSet<String>) {
        for (path, file) in &view.paths {
            let Some(kustomization) = view.in_folder.get(folder_of(path)) else { continue };
            if seen.contains(path) || self.within.contains_key(*file) {
                continue;
            }
            self.within.insert(Arc::clone(file), Reported::Nothing);
            self.problems.push(problem(
                file,
                (code::KUSTOMIZATION, Severity::Info),
                format!("no resource of {kustomization:?} beside it, left out"),
                "list it there, or move it".to_owned(),
            ));
        }
    }
}

fn problem(
    file: &Arc<str>,
    (code, severity): (&'static str, Severity),
    message: String,
    help: String,
) -> Problem {
    Problem {
        file: Arc::clone(file),
        line: 1,
        column: 1,
        severity,
        code,
        object: None,
        field: String::new(),
        message,
        help,
    }
}

/// The files by their paths with `.` and `..` followed.
struct View<'f> {
    files: &'f BTreeMap<Arc<str>, File>,
    paths: BTreeMap<String, &'f Arc<str>>,
    /// The path of the kustomization in each folder that has one.
    in_folder: BTreeMap<String, String>,
}

impl<'f> View<'f> {
    fn new(files: &'f BTreeMap<Arc<str>, File>, charts: &[String]) -> Self {
        let mut view = Self { files, paths: BTreeMap::new(), in_folder: BTreeMap::new() };
        for (path, file) in files {
            let Some(plain) = join("", path) else { continue };
            let plain = if path.starts_with('/') { format!("/{plain}") } else { plain };
            if file.is_kustomization && !charts.iter().any(|chart| is_below(path, chart)) {
                view.in_folder.entry(folder_of(&plain).to_owned()).or_insert_with(|| plain.clone());
            }
            view.paths.insert(plain, path);
        }
        view
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.get(*self.paths.get(path)?)
    }
}

impl Sources for View<'_> {
    fn kustomization(&self, path: &str) -> Option<&Kustomization> {
        self.file(path)?.kustomization.as_ref()
    }

    fn objects(&self, path: &str) -> Option<&[Object]> {
        self.file(path).map(|file| file.written.as_slice())
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.file(path).map(|file| &*file.text)
    }

    fn in_folder(&self, folder: &str) -> Option<String> {
        self.in_folder.get(folder).cloned()
    }
}
