//! The Go command, for what of these tests is published as Go modules.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A Go module of this repository, which pins what it requires.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// Its folder, from the root of the repository.
    pub folder: &'static str,
    /// The file of the module, unless it is `go.mod`.
    pub file: Option<&'static str>,
    /// The toolchain that it needs, as in `go1.27.3`, unless it is the one that is installed.
    pub toolchain: Option<&'static str>,
}

impl Module {
    /// Returns the module of a folder with nothing special.
    pub const fn of(folder: &'static str) -> Self {
        Self { folder, file: None, toolchain: None }
    }

    /// Returns `go` with a subcommand, of one or two words, to be run in the module.
    pub fn command(self, subcommand: &[&str]) -> Command {
        let mut command = Command::new("go");
        command.args(subcommand).current_dir(repository().join(self.folder)).stdin(Stdio::null());
        if let Some(file) = self.file {
            command.arg(format!("-modfile={file}"));
        }
        if let Some(toolchain) = self.toolchain {
            command.env("GOTOOLCHAIN", toolchain);
        }
        command
    }

    /// Returns the program of this name, built in `target/FOLDER` of the repository when its source is newer: the
    /// Go command finds out, once for each test binary.
    ///
    /// # Errors
    /// When Go is absent or the build fails; the output of the build has gone to standard error.
    pub fn program(self, folder: &str, name: &'static str) -> anyhow::Result<PathBuf> {
        static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut built = BUILT.lock().map_err(|_| anyhow::anyhow!("a build failed before"))?;
        if let Some(program) = built.get(name) {
            return Ok(program.clone());
        }
        let out = repository().join("target").join(folder);
        fs::create_dir_all(&out)?;
        let program = out.join(name);
        // Another run of this binary may be at it.
        let lock = File::create(out.join("lock"))?;
        lock.lock().with_context(|| format!("cannot lock target/{folder}/lock"))?;
        if !program.exists() {
            // Past the capture of the test harness: minutes of silence would look like a hang.
            let _ = writeln!(std::io::stderr(), "building {name} (some minutes, once)");
        }
        let status = self
            .command(&["build"])
            .args(["-trimpath", "-ldflags", "-s -w", "-o"])
            .args([program.as_os_str(), ".".as_ref()])
            .status()
            .with_context(|| {
                format!("cannot run `go`: {name} is built with it, see {}/go.mod", self.folder)
            })?;
        ensure!(status.success(), "`go build` in {} failed: {status}", self.folder);
        built.insert(name, program.clone());
        Ok(program)
    }

    /// Returns the folder of a module that this one pins, fetched when it is not on this machine yet.
    ///
    /// # Errors
    /// When Go is absent or the module cannot be fetched.
    pub fn pinned(self, name: &str) -> anyhow::Result<PathBuf> {
        let output = self
            .command(&["mod", "download"])
            .args(["-json", name])
            .output()
            .context("cannot run `go`: the well-known definitions of kinds come from Go modules")?;
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Download {
            dir: Option<PathBuf>,
            error: Option<String>,
        }
        match serde_json::from_slice(&output.stdout) {
            Ok(Download { dir: Some(dir), error: None }) => Ok(dir),
            Ok(Download { error: Some(error), .. }) => bail!("cannot fetch the Go module {name}: {error}"),
            _ => bail!("cannot fetch the Go module {name}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Returns the root folder of the repository.
pub(crate) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}
