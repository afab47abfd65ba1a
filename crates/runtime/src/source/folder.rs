//! The folder source: manifests in folders, watched, as if they were applied to a cluster.
//!
//! [`folder::Folder`] plays the cluster; what is here reads files and knows when they changed:
//!
//! ```text
//!  notify ──marks──▶ Signals ─wake─▶ walk the tree ──▶ Settling: which files are ready? ──▶ read
//!                                                        │ not yet: look again then          │
//!                                                        ▼                                   ▼
//!                                                     deadline             Folder::resolve, one batch
//! ```
//!
//! One save is one batch, and no timer stands between a finished save and its batch. What a save
//! looks like differs between editors, so three rules keep half a save from being taken for one:
//!
//! * A file that is being written is read when its writer closes it; if it is held open and stays
//!   as it is for [`settle::QUIET`], it is read all the same.
//! * A file that vanished or became empty counts as such only [`settle::GRACE`] later: editors
//!   remove or truncate a file before they write it anew.
//! * A file that was replaced by a rename, or by the swap of a symbolic link around it, is complete
//!   at that moment and is read at once.
//!
//! A folder that is missing or cannot be listed keeps what was read from it. Hidden files are
//! skipped; symbolic links are followed to what is in one of the folders, each real file and folder is read once.

mod addresses;
mod answers;
mod batch;
mod gateways;
mod settings;
mod settle;
mod stamp;
#[cfg(test)]
mod tests;
mod tree;
mod watch;

use super::Places;
use crate::log::MeshLog;
use batch::Emitter;
use cluster::{Batch, Batches};
use folder::Folder;
use model::Event;
use model::{Diagnostic, Place, Severity};
use plane::Findings;
pub use settings::FolderSettings;
use settle::{Settling, Step};
use stamp::Stamp;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch as latest;
use tree::Tree;
use watch::{Marks, Signals, Watches};

/// How often the tree is looked through when nothing was signalled: network file systems tell
/// nothing of what others write.
const PATROL: Duration = Duration::from_secs(10);

/// The same where the system refuses to watch at all.
const PATROL_UNWATCHED: Duration = Duration::from_secs(1);

/// The largest file that is read, in bytes.
pub const LARGEST_FILE: u64 = folder::MAX_FILE_BYTES as u64;

/// What places in standard input begin with, where files have their path.
const INPUT: &str = "standard input";

/// Reads the folders once, without watching them: a full listing of every kind, and what is wrong
/// with the files (what is wrong with single objects is in the events).
pub fn load_once(settings: &FolderSettings) -> (Vec<Event>, Vec<Diagnostic>) {
    let (events, problems, _) = load_once_with(settings, None);
    (events, problems)
}

/// The same with the text of standard input as one more file, and with the places of the objects.
pub fn load_once_with(
    settings: &FolderSettings,
    input: Option<&str>,
) -> (Vec<Event>, Vec<Diagnostic>, Places) {
    let mut follower = Follower::new(settings.clone());
    if let Some(text) = input {
        follower.folder.set(INPUT, text);
    }
    let tree = tree::walk(&settings.folders, &mut |_| {});
    follower.look(&tree, &Marks::default(), true);
    let (batch, _) = follower.batch(&tree, None).unwrap_or_default();
    (batch, follower.problems, follower.places)
}

/// Takes texts as if they were the files of a folder, each by the name that findings call it by: what
/// is there when there are no files, such as on standard input. Returns what [`load_once`] does.
pub fn load_texts<'t>(
    settings: &FolderSettings,
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> (Vec<Event>, Vec<Diagnostic>) {
    let mut folder = Folder::new(&settings.config_namespace);
    for (name, text) in texts {
        folder.set(name, text);
    }
    Emitter::new(settings).next(&mut folder)
}

/// A source that follows folders of manifests.
pub struct FolderSource {
    settings: FolderSettings,
    problems: latest::Sender<Arc<[Diagnostic]>>,
    start: watch::Start,
    log: Option<Arc<MeshLog>>,
}

impl FolderSource {
    /// Prepares to follow folders; nothing is read yet.
    pub fn new(settings: FolderSettings) -> Self {
        Self { settings, problems: latest::Sender::new(Arc::from([])), start: watch::start, log: None }
    }

    /// Tells this log what is wrong with the files, as it begins and ends.
    #[must_use]
    pub fn with_log(self, log: Arc<MeshLog>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Returns what is wrong with the files at the moment, ordered by place. What is wrong with
    /// single objects is told by [`Event::Reject`].
    pub fn problems(&self) -> latest::Receiver<Arc<[Diagnostic]>> {
        self.problems.subscribe()
    }

    /// Follows the folders until the receiver of `out` is dropped.
    ///
    /// The first batch lists every kind. The problems of a batch are published before it is sent.
    pub async fn run(self, out: Batches) {
        let signals = Arc::new(Signals::default());
        // Ends the thread below also when this future is dropped.
        let _close = CloseOnDrop(Arc::clone(&signals));
        let sender = out.clone();
        let thread = tokio::task::spawn_blocking(move || self.follow(&signals, &sender));
        tokio::select! {
            () = out.closed() => {}
            ended = thread => {
                if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn follow(self, signals: &Arc<Signals>, out: &Batches) {
        let mut follower = Follower::new(self.settings);
        if let Some(log) = &self.log {
            follower.places = log.places().clone();
        }
        let mut watches = Watches::new(Arc::clone(signals), self.start);
        let mut marks = Marks::default();
        let mut first = true;
        loop {
            let arrived = Instant::now();
            watches.begin(&marks);
            let tree = tree::walk(&follower.settings.folders, &mut |directory| watches.watch(directory));
            watches.end();
            let deadline = follower.look(&tree, &marks, first);
            if let Some((events, found)) = follower.batch(&tree, watches.problem()) {
                if let Some(log) = &self.log {
                    log.found(&found);
                }
                self.problems.send_replace(Arc::from(follower.problems.as_slice()));
                if (first || !events.is_empty()) && out.blocking_send(Batch { events, arrived }).is_err() {
                    return;
                }
            }
            first = false;
            follower.settling.watched = watches.problem().is_none();
            let patrol = if follower.settling.watched { PATROL } else { PATROL_UNWATCHED };
            let patrol = Instant::now() + patrol;
            let deadline = deadline.map_or(patrol, |deadline| deadline.min(patrol));
            marks = loop {
                let Some(marks) = signals.wait(deadline) else { return };
                if marks.rescan || Instant::now() >= deadline || tree.concerns(&marks) {
                    break marks;
                }
            };
        }
    }
}

struct CloseOnDrop(Arc<Signals>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What is known of the folders.
struct Follower {
    settings: FolderSettings,
    folder: Folder,
    settling: Settling,
    emitter: Emitter,
    /// Whether the files changed since the last batch.
    changed: bool,
    /// Files that were read, and are folders now.
    turned: BTreeSet<String>,
    /// Where the objects are that were sent last.
    places: Places,
    /// The problems of the folders and of watching them.
    outer: Vec<Diagnostic>,
    /// All problems.
    problems: Vec<Diagnostic>,
}

impl Follower {
    fn new(settings: FolderSettings) -> Self {
        let emitter = Emitter::new(&settings);
        Self {
            folder: Folder::new(&settings.config_namespace),
            settings,
            settling: Settling::default(),
            emitter,
            changed: true,
            turned: BTreeSet::new(),
            places: Places::default(),
            outer: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Reads the files that are ready; returns when to look again at those that are not.
    fn look(&mut self, tree: &Tree, marks: &Marks, first: bool) -> Option<Instant> {
        let (steps, mut deadline) = self.settling.decide(tree, marks, first, Instant::now());
        for step in steps {
            match step {
                Step::Remove(path) => {
                    self.settling.forget(&path);
                    self.changed |= self.folder.remove(&path);
                    if tree.named_folders.contains(&path) {
                        self.turned.insert(path);
                    }
                }
                Step::Read(path) => {
                    let Some(found) = tree.files.get(&path) else { continue };
                    match read(&found.target) {
                        Ok((text, stamp)) => {
                            self.folder.set(&path, &text);
                            self.settling.read(&path, found, stamp);
                            self.changed = true;
                        }
                        Err(Unread::Changing) => {
                            if first {
                                self.folder.set_unreadable(&path, "it is being written");
                            }
                            let again = self.settling.changing(found, Instant::now());
                            deadline = Some(deadline.map_or(again, |deadline| deadline.min(again)));
                        }
                        Err(Unread::Gone) => {}
                        Err(Unread::Failed(why)) => {
                            self.folder.set_unreadable(&path, &why);
                            self.settling.read(&path, found, found.stamp);
                            self.changed = true;
                        }
                    }
                }
            }
        }
        deadline
    }

    /// The events since the last batch, and which problems began and ended; `None` if neither files nor
    /// problems changed.
    fn batch(&mut self, tree: &Tree, problem: Option<&Diagnostic>) -> Option<(Vec<Event>, Findings)> {
        self.turned.retain(|path| tree.named_folders.contains(path));
        let outer: Vec<Diagnostic> = problem
            .into_iter()
            .chain(&tree.problems)
            .cloned()
            .chain(tree.lost(|path| self.settling.knows(path)))
            .chain(self.turned.iter().map(|path| turned(path)))
            .collect();
        if !self.changed && outer == self.outer {
            return None;
        }
        self.changed = false;
        let mut problems = outer.clone();
        self.outer = outer;
        let (batch, of_files) = self.emitter.next(&mut self.folder);
        self.places.set(self.emitter.places(&self.folder));
        problems.extend(of_files);
        let found = Findings::between(&self.problems, &problems);
        self.problems = problems;
        Some((batch, found))
    }
}

/// What is to be known of a file that is a folder now.
fn turned(path: &str) -> Diagnostic {
    Diagnostic {
        code: folder::code::FOLDER,
        severity: Severity::Warning,
        object: None,
        field: String::new(),
        message: "was a file and is a folder now: the objects of the file are removed".to_owned(),
        help: "rename the folder if that was not meant".to_owned(),
        place: Some(Place { file: path.to_owned(), line: 1, column: 0 }),
    }
}

/// Why a file was not read.
enum Unread {
    /// Its writer is not done.
    Changing,
    /// It was removed in the meantime.
    Gone,
    Failed(String),
}

/// Reads a file, and what it was like at that moment.
fn read(path: &Path) -> Result<(String, Stamp), Unread> {
    for _ in 0..2 {
        match read_once(path) {
            Err(Unread::Changing) => {}
            result => return result,
        }
    }
    read_once(path)
}

fn read_once(path: &Path) -> Result<(String, Stamp), Unread> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Gone,
        _ => Unread::Failed(error.to_string()),
    };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let before = file.metadata().map_err(fail)?;
    let limit = LARGEST_FILE;
    if before.len() > limit {
        return Err(Unread::Failed(format!(
            "it has {} bytes, more than the {limit} that are read",
            before.len()
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    let stamp = Stamp::of(&before);
    if Stamp::of(&file.metadata().map_err(fail)?) != stamp {
        return Err(Unread::Changing);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, stamp)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Unread::Failed(format!("line {line} is not UTF-8; save the file in this encoding")))
        }
    }
}
