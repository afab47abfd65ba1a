//! A folder that stores key material where there is no cluster.
//!
//! ```text
//!  <state>/ca/               0700: ca-cert.pem, ca-key.pem, root-cert.pem … (0600), as in the Secret
//!  <state>/token-key.pem     0600: signs development tokens
//! ```
//!
//! Both are created atomically: written under a temporary name and then renamed. If two processes do so at
//! the same time, the second uses what the first has created. A renewed root keeps its key, so that its
//! files are consistent in whichever order they are replaced.

use ca::token::DevelopmentIssuer;
use ca::{KeyError, Root, RootError, RootState, RotationError, RotationPolicy, SecretError, SystemEntropy};
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The issuer of development tokens.
pub const DEVELOPMENT_ISSUER: &str = "pilothouse-development";

/// Maximum size of a file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why key material cannot be stored or loaded. No new key material is created then.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}; choose a folder of your own by --state-dir", path = path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Others could read a private key.
    #[error("{path} can be read by others (mode {mode:o}); make it private: chmod {expected} {path}", path = path.display())]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        expected: &'static str,
    },
    /// A file is too large to be key material.
    #[error("{path} has more than 1 MiB; it cannot be key material", path = .0.display())]
    TooLong(PathBuf),
    /// The stored root is invalid.
    #[error("{path}: {source}; restore the folder, or remove it to start with a new root", path = path.display())]
    Content {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: SecretError,
    },
    /// The signing key of development tokens is invalid.
    #[error("{path}: {source}; remove it to start with a new key", path = path.display())]
    TokenKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The folder does not exist, and must not be created.
    #[error("there is no folder {path}; name the --state-dir of a control plane that has run", path = .0.display())]
    NoFolder(PathBuf),
    /// There is no key of development tokens, and none must be created.
    #[error("{path} holds no key for tokens; name the --state-dir of a control plane that has run", path = .0.display())]
    NoTokenKey(PathBuf),
    /// No root can be created.
    #[error("cannot create a root certificate: {0}")]
    Root(#[from] RootError),
    /// The root cannot be renewed.
    #[error("cannot renew the root: {0}")]
    Renew(#[from] RotationError),
}

/// An existing state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Creates the folder and its parents unless they exist.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|source| StateError::Io { what: "create", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens an existing folder, to read what a control plane has stored in it.
    ///
    /// # Errors
    /// [`StateError::NoFolder`]; [`StateError::Io`] when the folder cannot be accessed.
    pub fn existing(path: &Path) -> Result<Self, StateError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self { path: path.to_owned() }),
            Ok(_) => Err(StateError::NoFolder(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StateError::NoFolder(path.to_owned())),
            Err(source) => Err(StateError::Io { what: "read", path: path.to_owned(), source }),
        }
    }

    /// Returns the folder of the root.
    pub fn root_folder(&self) -> PathBuf {
        self.path.join("ca")
    }

    /// Returns the file with the roots that clients should trust.
    pub fn root_file(&self) -> PathBuf {
        self.root_folder().join("root-cert.pem")
    }

    /// Loads the root, or creates one. A new root is created only if the folder does not exist: a folder
    /// that cannot be read, or holds something else, is an error.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn root(&self, trust_domain: &str, life: Duration, now: UnixTime) -> Result<RootState, StateError> {
        if let Some(found) = self.load_root()? {
            return Ok(found);
        }
        let created = RootState::new(Root::create(trust_domain, life, now, &SystemEntropy)?);
        let folder = self.root_folder();
        let content = |source| StateError::Content { path: folder.clone(), source };
        self.save_root(&files(created.to_secret(false).map_err(content)?))?;
        // Load what is stored: another process may have been first.
        self.load_root()?.ok_or_else(|| StateError::Io {
            what: "read",
            path: folder.clone(),
            source: ErrorKind::NotFound.into(),
        })
    }

    /// Performs the rotation steps that are due and stores the result; returns the state after them.
    ///
    /// # Errors
    /// [`StateError`]; the stored state is then either the one before or the one after.
    pub fn advance(
        &self,
        state: &RootState,
        policy: &RotationPolicy,
        now: UnixTime,
    ) -> Result<RootState, StateError> {
        let mut next = state.clone();
        while let Some(step) = next.due(policy, now) {
            tracing::info!(folder = %self.root_folder().display(), ?step, "performing a step of the root renewal");
            next = next.advance(policy, now, &SystemEntropy)?;
        }
        if next != *state {
            let folder = self.root_folder();
            let content = |source| StateError::Content { path: folder.clone(), source };
            let (old, new) =
                (state.to_secret(false).map_err(&content)?, next.to_secret(false).map_err(&content)?);
            self.replace_root(&old, &files(new))?;
        }
        Ok(next)
    }

    /// Loads the root if it exists.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load_root(&self) -> Result<Option<RootState>, StateError> {
        let folder = self.root_folder();
        let read = |source| StateError::Io { what: "read", path: folder.clone(), source };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        check_private(&folder, "700")?;
        let mut data = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(read)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(content) = read_private(&path)? {
                data.insert(name, content);
            }
        }
        RootState::from_secret(&data)
            .map(Some)
            .map_err(|source| StateError::Content { path: folder.clone(), source })
    }

    fn save_root(&self, data: &BTreeMap<String, Vec<u8>>) -> Result<(), StateError> {
        let fresh = self.path.join(format!("ca.new-{}", unique()));
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { what, path, source }
        };
        DirBuilder::new().mode(0o700).create(&fresh).map_err(io("create", &fresh))?;
        let folder = self.root_folder();
        let fill = || {
            data.iter().try_for_each(|(name, content)| write_private(&fresh.join(name), content))?;
            File::open(&fresh).and_then(|f| f.sync_all()).map_err(io("save", &fresh))?;
            match fs::rename(&fresh, &folder) {
                // A rename does not replace a folder that has content: another process was first.
                Err(error)
                    if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) =>
                {
                    Err(io("save", &folder)(error))
                }
                moved => Ok(moved.is_ok()),
            }
        };
        let filled = fill();
        if !matches!(filled, Ok(true)) {
            // Nothing that is half written stays.
            let removed = fs::remove_dir_all(&fresh).map_err(io("remove", &fresh));
            filled.and(removed)?;
        }
        File::open(&self.path).and_then(|f| f.sync_all()).map_err(io("save", &self.path))
    }

    /// Replaces the files of a root by those of one with the same key, each atomically.
    fn replace_root(
        &self,
        old: &BTreeMap<String, Vec<u8>>,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), StateError> {
        let folder = self.root_folder();
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { what, path, source }
        };
        for (name, content) in data {
            let (fresh, path) = (self.path.join(format!("{name}.new-{}", unique())), folder.join(name));
            write_private(&fresh, content)?;
            let renamed = fs::rename(&fresh, &path).inspect_err(|_| drop(fs::remove_file(&fresh)));
            renamed.map_err(io("save", &path))?;
        }
        for name in old.keys().filter(|name| !data.contains_key(*name)) {
            let path = folder.join(name);
            match fs::remove_file(&path) {
                // Another process may have removed it at the same time.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &path)(error)),
                _ => {}
            }
        }
        File::open(&folder).and_then(|f| f.sync_all()).map_err(io("save", &folder))
    }

    /// Returns the issuer of development tokens; its key is created at the first use.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn development_issuer(&self) -> Result<DevelopmentIssuer, StateError> {
        let path = self.token_key_file();
        let broken = |source| StateError::TokenKey { path: path.clone(), source };
        let text = match read_private(&path)? {
            Some(text) => text,
            None => {
                let created = DevelopmentIssuer::generate(DEVELOPMENT_ISSUER).map_err(broken)?;
                let fresh = self.path.join(format!("token-key.new-{}", unique()));
                write_private(&fresh, created.to_pem().as_bytes())?;
                // A hard link, unlike a rename, does not replace the key of another process.
                let linked = fs::hard_link(&fresh, &path);
                let removed = fs::remove_file(&fresh);
                match linked {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(StateError::Io { what: "save", path, source: error });
                    }
                    _ => removed.map_err(|source| StateError::Io { what: "remove", path: fresh, source })?,
                }
                read_private(&path)?.unwrap_or_default()
            }
        };
        issuer_of(text).map_err(broken)
    }

    /// Returns the issuer of development tokens with its existing key; none is created.
    ///
    /// # Errors
    /// [`StateError::NoTokenKey`] when there is no key; another [`StateError`] when it cannot be used.
    pub fn existing_development_issuer(&self) -> Result<DevelopmentIssuer, StateError> {
        let path = self.token_key_file();
        let text = read_private(&path)?.ok_or_else(|| StateError::NoTokenKey(self.path.clone()))?;
        issuer_of(text).map_err(|source| StateError::TokenKey { path, source })
    }

    fn token_key_file(&self) -> PathBuf {
        self.path.join("token-key.pem")
    }
}

/// Returns what of the data of a Secret is stored in files: the keys that are empty there are for other readers
/// of the Secret.
fn files(mut data: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    data.retain(|_, content| !content.is_empty());
    data
}

fn issuer_of(text: Vec<u8>) -> Result<DevelopmentIssuer, KeyError> {
    let text = String::from_utf8(text).map_err(|_| KeyError::Missing)?;
    DevelopmentIssuer::from_pem(DEVELOPMENT_ISSUER, &text)
}

/// Returns a name suffix that is unique among processes and calls.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn check_private(path: &Path, expected: &'static str) -> Result<(), StateError> {
    let metadata = fs::metadata(path);
    let metadata =
        metadata.map_err(|source| StateError::Io { what: "read", path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::Mode { path: path.to_owned(), mode, expected });
    }
    Ok(())
}

/// Reads a file that must be private; returns `None` if it does not exist.
fn read_private(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let io = |source| StateError::Io { what: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE_BYTES => return Err(StateError::TooLong(path.to_owned())),
        Ok(_) => check_private(path, "600")?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    }
    fs::read(path).map(Some).map_err(io)
}

/// Writes a file that is not there yet; one that cannot be written to its end is removed again.
fn write_private(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let failed = |source| StateError::Io { what: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(path))).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const LIFE: Duration = Duration::from_secs(3600);

    fn now() -> UnixTime {
        UnixTime::now()
    }

    #[test]
    fn root_is_created_once_and_stored_privately() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("a/b")).unwrap();
        let first = state.root("td", LIFE, now()).unwrap();
        assert_eq!(state.root("other", LIFE, now()).unwrap(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&state.root_folder()), 0o700);
        assert_eq!(mode(&state.root_folder().join("ca-key.pem")), 0o600);
        assert_eq!(mode(&dir.path().join("a/b")), 0o700);
        assert!(state.root_file().is_file());
        let mut files: Vec<_> =
            fs::read_dir(state.root_folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["ca-cert.pem", "ca-key.pem", "root-cert.pem"], "none is empty");
    }

    #[test]
    fn what_cannot_be_written_to_its_end_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        // A name that no file can have, after one that can be written.
        let data = BTreeMap::from([("a".to_owned(), vec![1]), ("b/c".to_owned(), vec![2])]);
        assert!(matches!(state.save_root(&data), Err(StateError::Io { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn reading_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(matches!(StateDir::existing(&missing), Err(StateError::NoFolder(path)) if path == missing));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(StateDir::existing(&dir.path().join("file")), Err(StateError::NoFolder(_))));
        fs::remove_file(dir.path().join("file")).unwrap();

        let state = StateDir::existing(dir.path()).unwrap();
        assert!(matches!(state.existing_development_issuer(), Err(StateError::NoTokenKey(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let created = state.development_issuer().unwrap();
        assert_eq!(state.existing_development_issuer().unwrap().to_pem(), created.to_pem());
    }

    #[test]
    fn processes_that_start_together_end_with_one_root_and_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let (roots, keys): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let root = state.root("td", LIFE, now()).unwrap();
                        (root, state.development_issuer().unwrap().to_pem().to_owned())
                    })
                })
                .collect();
            racing.into_iter().map(|t| t.join().unwrap()).unzip()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        assert!(keys.iter().all(|key| *key == keys[0]));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "no temporary file is left: {left:?}");
    }

    #[test]
    fn root_is_renewed_under_the_same_key_and_the_old_one_retired() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let policy = RotationPolicy { renew_below_percent: 20, overlap: Duration::from_secs(60), life: LIFE };
        let first = state.root("td", LIFE, now()).unwrap();
        assert_eq!(state.advance(&first, &policy, now()).unwrap(), first, "nothing is due");
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs() + seconds));
        let read = |name: &str| fs::read(state.root_folder().join(name));
        let key = read("ca-key.pem").unwrap();

        let renewed = state.advance(&first, &policy, at(3000)).unwrap();
        assert!(renewed.active().same_key(first.active()));
        assert_ne!(renewed.active(), first.active());
        assert_eq!(state.load_root().unwrap(), Some(renewed.clone()));
        assert_eq!(read("root-cert.pem").unwrap(), renewed.trust().unwrap().to_pem().into_bytes());
        assert_eq!(read("ca-key.pem").unwrap(), key);
        let mode = fs::metadata(state.root_folder().join("ca-cert.pem")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);

        let retired = state.advance(&renewed, &policy, at(3100)).unwrap();
        assert!(retired.retiring().is_empty());
        assert_eq!(state.load_root().unwrap(), Some(retired));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["ca"], "no temporary file is left");
    }

    #[test]
    fn invalid_root_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.root("td", LIFE, now()).unwrap();
        let key = state.root_folder().join("ca-key.pem");
        fs::write(&key, "not a key").unwrap();
        assert!(matches!(state.root("td", LIFE, now()), Err(StateError::Content { .. })));
        assert_eq!(fs::read(&key).unwrap(), b"not a key");
        fs::remove_file(&key).unwrap();
        assert!(matches!(state.root("td", LIFE, now()), Err(StateError::Content { .. })));
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.root("td", LIFE, now()).unwrap();
        let key = state.root_folder().join("ca-key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(state.root("td", LIFE, now()), Err(StateError::Mode { mode: 0o644, .. })));
    }
}
