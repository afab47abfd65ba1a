//! Walks folders and tells what every file is like.
//!
//! Symbolic links are followed where they lead to what is in one of the roots. What is elsewhere is nobody's to name who
//! may only write there: it is neither listed nor opened.

use super::stamp::Stamp;
use super::watch::Marks;
use model::{Diagnostic, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// The most files that are read.
const MAX_FILES: usize = 100_000;

/// How deep folders may be nested.
const MAX_DEPTH: usize = 64;

/// A file of the tree.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its path through real folders; the file itself may be a symbolic link.
    pub(super) listing: PathBuf,
    /// The real file.
    pub(super) target: PathBuf,
    pub(super) stamp: Stamp,
}

impl Found {
    /// Tells whether one of these paths is this file, by itself or by what it links to.
    pub(super) fn is_at(&self, paths: &BTreeSet<PathBuf>) -> bool {
        paths.contains(&self.listing) || paths.contains(&self.target)
    }
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The files, by the path that users know them by.
    pub(super) files: BTreeMap<String, Found>,
    /// The real folders that were listed.
    pub(super) directories: BTreeSet<PathBuf>,
    /// The paths of the roots in the real folders around them: a root may be a symbolic link.
    roots: BTreeSet<PathBuf>,
    /// The real files.
    targets: BTreeSet<PathBuf>,
    /// Paths as users know them, at or below which nothing could be told.
    unknown: Vec<PathBuf>,
    /// Paths as users know them that are neither a file nor a folder, and why.
    lost: Vec<(PathBuf, String)>,
    /// Folders that are called as manifests are, as users know them.
    pub(super) named_folders: BTreeSet<String>,
    /// Whether there are more files than are read.
    cut: bool,
    pub(super) problems: Vec<Diagnostic>,
}

impl Tree {
    /// Tells whether a mark concerns this tree: folders around it are watched too, for roots and
    /// for the targets of links, and much may happen there.
    pub(super) fn concerns(&self, marks: &Marks) -> bool {
        marks.paths().any(|path| {
            path.parent().is_some_and(|parent| self.directories.contains(parent))
                || self.directories.contains(path)
                || self.roots.contains(path)
                || self.targets.contains(path)
        })
    }

    /// Tells whether a file that was not found may be there all the same.
    pub(super) fn is_unknown(&self, path: &str) -> bool {
        let lost = self.lost.iter().map(|(path, _)| path);
        self.cut || self.unknown.iter().chain(lost).any(|unknown| Path::new(path).starts_with(unknown))
    }

    /// What is wrong with paths that are neither a file nor a folder: those that are called as manifests
    /// are, and those that `was_read` knows files of, at them or below.
    pub(super) fn lost(&self, was_read: impl Fn(&Path) -> bool) -> Vec<Diagnostic> {
        let told = self.lost.iter().filter(|(path, _)| is_manifest(path) || was_read(path));
        told.map(|(path, why)| unreadable(path, why, "fix or remove it")).collect()
    }

    /// Tells whether files were found in this real folder.
    pub(super) fn holds(&self, directory: &Path) -> bool {
        self.directories.contains(directory)
            || self.targets.iter().any(|target| target.parent() == Some(directory))
    }
}

/// Walks the roots. `watch` is called with every real folder whose changes matter, before it is
/// listed, so that nothing is missed in between.
pub(super) fn walk(roots: &[PathBuf], watch: &mut dyn FnMut(&Path)) -> Tree {
    let within = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
    let mut walk = Walk { tree: Tree::default(), within, watch };
    for root in roots {
        walk.root(root);
    }
    walk.tree
}

struct Walk<'w> {
    tree: Tree,
    /// What the roots are, without links on the way.
    within: Vec<PathBuf>,
    watch: &'w mut dyn FnMut(&Path),
}

impl Walk<'_> {
    fn root(&mut self, root: &Path) {
        // The folder around the root tells when the root appears, or is another from now on.
        let around = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let (Ok(around), Some(name)) = (fs::canonicalize(around), root.file_name()) {
            (self.watch)(&around);
            self.tree.roots.insert(around.join(name));
        }
        let result = fs::canonicalize(root).and_then(|target| Ok((fs::metadata(&target)?, target)));
        match result {
            Ok((metadata, target)) if metadata.is_dir() => self.directory(root, &target, 0),
            Ok((metadata, target)) if metadata.is_file() => {
                self.file(root, target.clone(), target, &metadata);
            }
            Ok(_) => self.fail(root, "it is neither a folder nor a file", "point --from at a folder"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.fail(root, "it does not exist", "create it, or point --from at another folder");
            }
            Err(error) => self.fail(root, &error.to_string(), "let this process read it"),
        }
    }

    fn directory(&mut self, shown: &Path, real: &Path, depth: usize) {
        if !self.tree.directories.insert(real.to_owned()) {
            return;
        }
        if depth > MAX_DEPTH {
            let why = format!("it is nested more than {MAX_DEPTH} deep");
            return self.fail(shown, &why, "point --from at a folder further down");
        }
        (self.watch)(real);
        let entries = fs::read_dir(real).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            // It was removed just now; the folder around it tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return,
            Err(error) => return self.fail(shown, &error.to_string(), "let this process read it"),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.entry(&entry, shown.join(&name), real.join(&name), depth);
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, shown: PathBuf, listing: PathBuf, depth: usize) {
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let metadata = match fs::metadata(&listing) {
            Ok(metadata) => metadata,
            Err(error) if is_link => {
                let why = match fs::read_link(&listing) {
                    Ok(target) => format!("it is a link to {:?}: {error}", target.to_string_lossy()),
                    Err(_) => error.to_string(),
                };
                // What the link leads to may come back.
                if let Some(around) =
                    fs::read_link(&listing).ok().and_then(|target| real_parent(&listing, &target))
                    && self.is_within(&around)
                {
                    (self.watch)(&around);
                }
                return self.tree.lost.push((shown, why));
            }
            // It was removed just now; the folder around it tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.tree.lost.push((shown, error.to_string())),
        };
        if is_manifest(&shown) && metadata.is_dir() {
            self.tree.named_folders.insert(shown.to_string_lossy().into_owned());
        }
        if is_manifest(&shown) && !metadata.is_dir() && !metadata.is_file() {
            return self.tree.lost.push((shown, "it is neither a folder nor a file".to_owned()));
        }
        let is_wanted = metadata.is_dir() || (metadata.is_file() && is_manifest(&shown));
        if !is_wanted {
            return;
        }
        let target = if is_link { fs::canonicalize(&listing).ok() } else { Some(listing.clone()) };
        let Some(target) = target else { return };
        if !self.is_within(&target) {
            let why = format!(
                "it is a link to {:?}, which is outside of the folders that are read",
                target.to_string_lossy()
            );
            return self.fail(&shown, &why, "name what it leads to by --from as well, or copy it here");
        }
        if metadata.is_dir() {
            self.directory(&shown, &target, depth + 1);
        } else {
            if is_link && let Some(around) = target.parent() {
                (self.watch)(around);
            }
            self.file(&shown, listing, target, &metadata);
        }
    }

    fn file(&mut self, shown: &Path, listing: PathBuf, target: PathBuf, metadata: &Metadata) {
        if self.tree.files.len() >= MAX_FILES {
            if !std::mem::replace(&mut self.tree.cut, true) {
                let why = format!("there are more than {MAX_FILES} files");
                self.fail(shown, &why, "point --from at a smaller folder");
            }
            return;
        }
        if self.tree.targets.insert(target.clone()) {
            let found = Found { listing, target, stamp: Stamp::of(metadata) };
            self.tree.files.insert(shown.to_string_lossy().into_owned(), found);
        }
    }

    /// Tells whether a path without links on the way is in one of the roots.
    fn is_within(&self, real: &Path) -> bool {
        self.within.iter().any(|root| real.starts_with(root))
    }

    fn fail(&mut self, shown: &Path, why: &str, help: &str) {
        self.tree.unknown.push(shown.to_owned());
        self.tree.problems.push(unreadable(shown, why, help));
    }
}

/// The folder, through real folders, that the target of a link is in, if it is there.
fn real_parent(link: &Path, target: &Path) -> Option<PathBuf> {
    let around = link.parent()?.join(target.parent()?);
    fs::canonicalize(around).ok().filter(|around| around.is_dir())
}

fn unreadable(shown: &Path, why: &str, help: &str) -> Diagnostic {
    Diagnostic {
        code: folder::code::FOLDER,
        severity: Severity::Error,
        object: None,
        field: String::new(),
        // A folder has no line to point at.
        message: format!("{} cannot be read: {why}; what was read from it stays active", shown.display()),
        help: help.to_owned(),
        place: None,
    }
}

fn is_manifest(path: &Path) -> bool {
    let known =
        |extension: &OsStr| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    // The one manifest that may go without an extension.
    path.extension().is_some_and(known) || path.file_name() == Some(OsStr::new("Kustomization"))
}
