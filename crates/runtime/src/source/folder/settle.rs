//! Decides which files are complete and which are in the middle of being saved.

use super::stamp::Stamp;
use super::tree::{Found, Tree};
use super::watch::Marks;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file that is held open for writing must stay as it is before it is read.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// How long a file stays active after it vanished or became empty.
pub(super) const GRACE: Duration = Duration::from_millis(50);

/// How long a file that is empty and held open stays active: a shell empties a file long before
/// the program that it runs writes its output.
const EMPTY_AND_OPEN: Duration = Duration::from_secs(30);

/// What to do with a file, by the path that users know it by.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read(String),
    Remove(String),
}

/// A file that was read.
struct Known {
    target: PathBuf,
    stamp: Stamp,
}

/// What is known of the files that were read, and of those that are being saved.
pub(super) struct Settling {
    known: BTreeMap<String, Known>,
    /// The files that are held open for writing, with the time of the last write.
    writing: BTreeMap<PathBuf, Instant>,
    /// Since when files are missing or empty.
    lost: BTreeMap<String, Instant>,
    /// Files that changed without a signal: what they were like and since when.
    unexplained: BTreeMap<String, (Stamp, Instant)>,
    /// Whether the system signals changes.
    pub(super) watched: bool,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            writing: BTreeMap::new(),
            lost: BTreeMap::new(),
            unexplained: BTreeMap::new(),
            watched: true,
        }
    }
}

impl Settling {
    /// Says what can be done now, and when to look again at what cannot. On the `first` look every
    /// file is taken as it is.
    pub(super) fn decide(
        &mut self,
        tree: &Tree,
        marks: &Marks,
        first: bool,
        now: Instant,
    ) -> (Vec<Step>, Option<Instant>) {
        for path in marks.writing() {
            self.writing.insert(path.to_owned(), now);
        }
        for path in marks.settled().chain(marks.gone()) {
            self.writing.remove(path);
        }
        let closed = marks.attributes().filter(|path| !self.writing.contains_key(*path));
        let settled: BTreeSet<PathBuf> = marks.settled().chain(closed).map(PathBuf::from).collect();
        let mut steps = Vec::new();
        let mut deadline: Option<Instant> = None;
        let mut wait = |until: Instant| deadline = Some(deadline.map_or(until, |other| other.min(until)));

        for (path, found) in &tree.files {
            let touched = found.is_at(&settled);
            if !touched && self.known.get(path).is_some_and(|known| known.stamp == found.stamp) {
                self.lost.remove(path);
                self.unexplained.remove(path);
            } else {
                match self.ready_at(path, found, touched, first, now) {
                    None => steps.push(Step::Read(path.clone())),
                    Some(until) => wait(until),
                }
            }
        }

        let inodes: BTreeSet<(u64, u64)> = tree.files.values().map(|found| found.stamp.inode).collect();
        for (path, known) in &self.known {
            if tree.files.contains_key(path) || tree.is_unknown(path) {
                continue;
            }
            // Another is there under its name: it does not come back.
            let became_folder = tree.named_folders.contains(path);
            // Renamed within the folder, or gone with the folder around it: no editor is at work.
            let renamed = known.stamp.inode != (0, 0) && inodes.contains(&known.stamp.inode);
            let swapped = known.target.parent().is_none_or(|parent| !tree.holds(parent));
            let until = *self.lost.entry(path.clone()).or_insert(now) + GRACE;
            if became_folder || renamed || swapped || now >= until {
                steps.push(Step::Remove(path.clone()));
            } else {
                wait(until);
            }
        }
        // What is written elsewhere, or to files that are not read, is of no concern.
        self.writing.retain(|path, _| {
            tree.files.values().any(|found| found.listing == *path || found.target == *path)
        });
        (steps, deadline)
    }

    /// `None` if a changed or new file can be read now, else when to look again.
    fn ready_at(
        &mut self,
        path: &str,
        found: &Found,
        touched: bool,
        first: bool,
        now: Instant,
    ) -> Option<Instant> {
        if first {
            return None;
        }
        let known = self.known.get(path);
        let writing = self.writing.get(&found.listing).or_else(|| self.writing.get(&found.target));
        if let Some(since) = writing {
            let until = *since + if found.stamp.len == 0 { EMPTY_AND_OPEN } else { QUIET };
            if now < until {
                return Some(until);
            }
        }
        if found.stamp.len == 0 && known.is_some_and(|known| known.stamp.len > 0) {
            let until = *self.lost.entry(path.to_owned()).or_insert(now) + GRACE;
            return (now < until).then_some(until);
        }
        self.lost.remove(path);
        let replaced =
            known.is_none_or(|known| known.target != found.target || known.stamp.inode != found.stamp.inode);
        if touched || writing.is_some() || (replaced && self.watched) {
            return None;
        }
        let seen = self.unexplained.entry(path.to_owned()).or_insert((found.stamp, now));
        if seen.0 != found.stamp {
            *seen = (found.stamp, now);
        }
        let until = seen.1 + GRACE;
        (now < until).then_some(until)
    }

    /// A file was read, when it was as `stamp` says.
    pub(super) fn read(&mut self, path: &str, found: &Found, stamp: Stamp) {
        self.unmark(path);
        self.writing.remove(&found.listing);
        self.writing.remove(&found.target);
        self.known.insert(path.to_owned(), Known { target: found.target.clone(), stamp });
    }

    /// A file changed while it was read; returns when to try again.
    pub(super) fn changing(&mut self, found: &Found, now: Instant) -> Instant {
        self.writing.insert(found.target.clone(), now);
        now + QUIET
    }

    /// Tells whether a file at this path, or below it, was read.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.known.keys().any(|known| Path::new(known).starts_with(path))
    }

    /// A file was removed.
    pub(super) fn forget(&mut self, path: &str) {
        self.unmark(path);
        self.known.remove(path);
    }

    fn unmark(&mut self, path: &str) {
        self.lost.remove(path);
        self.unexplained.remove(path);
    }
}
