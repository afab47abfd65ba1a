//! What the system signals about files, and which folders it is asked about.

use super::stamp::Stamp;
use model::{Diagnostic, Severity};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The most paths with a mark; beyond it the whole tree is looked at.
const MAX_MARKS: usize = 10_000;

/// Whether the system tells when a writer closes a file.
const TELLS_CLOSE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What was signalled last about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is being written.
    Writing,
    /// It is complete: closed by its writer, or put in place by a rename.
    Settled,
    /// It is no longer there.
    Gone,
    /// Its attributes changed, which says nothing of whoever writes it.
    Attributes,
}

/// What was signalled since the last look.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: BTreeMap<PathBuf, Mark>,
    /// Signals were lost: everything may have changed.
    pub(super) rescan: bool,
    closed: bool,
}

impl Marks {
    /// Every path with a mark.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.marks.keys().map(PathBuf::as_path)
    }

    /// The paths that are being written.
    pub(super) fn writing(&self) -> impl Iterator<Item = &Path> {
        self.with(Mark::Writing)
    }

    /// The paths that are complete.
    pub(super) fn settled(&self) -> impl Iterator<Item = &Path> {
        self.with(Mark::Settled)
    }

    /// The paths that are no longer there.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Path> {
        self.with(Mark::Gone)
    }

    /// The paths whose attributes alone changed.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &Path> {
        self.with(Mark::Attributes)
    }

    fn with(&self, wanted: Mark) -> impl Iterator<Item = &Path> {
        self.marks.iter().filter(move |(_, mark)| **mark == wanted).map(|(path, _)| path.as_path())
    }

    /// Puts a mark on a path, in place of an earlier one.
    pub(super) fn put(&mut self, path: PathBuf, mark: Mark) {
        if self.marks.len() >= MAX_MARKS && !self.marks.contains_key(&path) {
            // Marks of writers are not lost by this: files that change are looked at again.
            self.marks.clear();
            self.rescan = true;
        }
        self.marks.insert(path, mark);
    }

    fn note(&mut self, event: notify::Event) {
        self.rescan |= event.need_rescan();
        let mark = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Mark::Settled,
            // Reading changes nothing, ours included.
            EventKind::Access(_) => return,
            EventKind::Create(CreateKind::Folder) => Mark::Settled,
            // A link is complete once it is there; nobody will close it.
            EventKind::Create(_) if event.paths.first().is_some_and(|path| is_link(path)) => Mark::Settled,
            EventKind::Create(_) => Mark::Writing,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Mark::Gone,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Mark::Settled,
            // Told before as the two halves.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if TELLS_CLOSE => return,
            EventKind::Modify(ModifyKind::Name(_)) => Mark::Settled,
            EventKind::Modify(ModifyKind::Metadata(_)) => {
                for path in event.paths {
                    if !self.marks.contains_key(&path) {
                        self.put(path, Mark::Attributes);
                    }
                }
                return;
            }
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Mark::Writing,
        };
        for path in event.paths {
            self.put(path, mark);
        }
    }
}

fn is_link(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    #[cfg(unix)]
    let hard_links = std::os::unix::fs::MetadataExt::nlink(&metadata);
    #[cfg(not(unix))]
    let hard_links = 1;
    metadata.is_symlink() || (metadata.is_file() && hard_links > 1)
}

/// Where the watcher's thread leaves marks for the thread that follows the folders.
#[derive(Default)]
pub(super) struct Signals {
    marks: Mutex<Marks>,
    wake: Condvar,
}

impl Signals {
    /// Waits for marks, until `deadline` at most; `None` once the signals are closed.
    pub(super) fn wait(&self, deadline: Instant) -> Option<Marks> {
        let mut marks = self.marks.lock();
        while marks.marks.is_empty() && !marks.rescan && !marks.closed {
            if self.wake.wait_until(&mut marks, deadline).timed_out() {
                break;
            }
        }
        if marks.closed { None } else { Some(std::mem::take(&mut *marks)) }
    }

    /// Ends every wait.
    pub(super) fn close(&self) {
        self.marks.lock().closed = true;
        self.wake.notify_all();
    }

    fn note(&self, event: notify::Result<notify::Event>) {
        let mut marks = self.marks.lock();
        match event {
            Ok(event) => marks.note(event),
            Err(_) => marks.rescan = true,
        }
        self.wake.notify_all();
    }
}

/// Starts the watcher of the system, which signals to the given place.
pub(super) type Start = fn(Arc<Signals>) -> notify::Result<RecommendedWatcher>;

/// Starts the watcher that is best on this system.
pub(super) fn start(signals: Arc<Signals>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event| signals.note(event))
}

/// The folders that are watched, one by one: the watcher's own recursion would miss what is written
/// to a new folder before it gets there.
pub(super) struct Watches {
    watcher: Option<RecommendedWatcher>,
    /// The folders with their device and inode, and whether the current walk came by.
    watched: BTreeMap<PathBuf, ((u64, u64), bool)>,
    problem: Option<Diagnostic>,
    signals: Arc<Signals>,
    start: Start,
}

impl Watches {
    /// Starts without a folder.
    pub(super) fn new(signals: Arc<Signals>, start: Start) -> Self {
        Self { watcher: None, watched: BTreeMap::new(), problem: None, signals, start }
    }

    /// Begins a walk. A folder that was moved or removed is watched anew if it is there again.
    pub(super) fn begin(&mut self, marks: &Marks) {
        let gone: BTreeSet<&Path> = marks.gone().collect();
        let lost: Vec<PathBuf> =
            self.watched.keys().filter(|path| gone.contains(path.as_path())).cloned().collect();
        for path in lost {
            self.drop_watch(&path);
        }
        self.problem = None;
        for (_, seen) in self.watched.values_mut() {
            *seen = false;
        }
        if self.watcher.is_none() {
            match (self.start)(Arc::clone(&self.signals)) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.problem = Some(problem(&error)),
            }
        }
    }

    /// Watches a folder, if it is not watched already.
    pub(super) fn watch(&mut self, directory: &Path) {
        let Ok(metadata) = std::fs::metadata(directory) else { return };
        let inode = Stamp::of(&metadata).inode;
        if let Some((watched, seen)) = self.watched.get_mut(directory) {
            if *watched == inode {
                *seen = true;
                return;
            }
            self.drop_watch(directory);
        }
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(directory.to_owned(), (inode, true));
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => self.problem = Some(problem(&error)),
        }
    }

    /// Ends a walk: folders that it did not come by are no longer watched.
    pub(super) fn end(&mut self) {
        let left: Vec<PathBuf> =
            self.watched.iter().filter(|(_, (_, seen))| !seen).map(|(path, _)| path.clone()).collect();
        for path in left {
            self.drop_watch(&path);
        }
    }

    /// Why changes are not signalled; `None` if they are.
    pub(super) fn problem(&self) -> Option<&Diagnostic> {
        self.problem.as_ref()
    }

    fn drop_watch(&mut self, path: &Path) {
        self.watched.remove(path);
        if let Some(watcher) = &mut self.watcher {
            // The system drops the watch of a removed folder by itself, then there is none.
            drop(watcher.unwatch(path));
        }
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn problem(error: &notify::Error) -> Diagnostic {
    let (why, help) = match &error.kind {
        ErrorKind::MaxFilesWatch => (
            "the limit of watched folders of this system is reached".to_owned(),
            "raise fs.inotify.max_user_watches".to_owned(),
        ),
        ErrorKind::Io(error) => (
            error.to_string(),
            "raise fs.inotify.max_user_instances, or the limit of open files of this process".to_owned(),
        ),
        _ => (error.to_string(), String::new()),
    };
    Diagnostic {
        code: folder::code::WATCH,
        severity: Severity::Warning,
        object: None,
        field: String::new(),
        message: format!("changes are looked for once a second instead of being signalled: {why}"),
        help,
        place: None,
    }
}
