//! The Go command, for what of these tests is published as Go modules.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The toolchain of every module, which the Go command fetches: packages that they share are compiled once, and the
/// conformance suite needs this one.
const TOOLCHAIN: &str = "go1.27.3";

/// A Go module of this repository, which pins what it requires. Modules that are built require one version each of
/// what they share, so that it is compiled once.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// Its folder, from the root of the repository.
    pub folder: &'static str,
    /// The file of the module.
    pub file: &'static str,
}

impl Module {
    /// Returns the module of a folder.
    pub const fn of(folder: &'static str) -> Self {
        Self { folder, file: "go.mod" }
    }

    /// Returns `go` with these arguments, to be run in the module.
    fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(repository().join(self.folder)).stdin(Stdio::null());
        command.env("GOTOOLCHAIN", TOOLCHAIN).env("CGO_ENABLED", "0");
        if self.file != "go.mod" {
            command.arg(format!("-modfile={}", self.file));
        }
        command
    }

    /// Returns the program of the module's main package, built in `target/FOLDER` of the repository under this name
    /// unless it is there and its source is the same.
    ///
    /// # Errors
    /// When Go is absent or the build fails; the output of the build has gone to standard error.
    pub fn program(self, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
        self.built(&["build"], ".", folder, name)
    }

    /// Returns the program of a package that the module requires, as [`Module::program`] does.
    ///
    /// # Errors
    /// As of [`Module::program`].
    pub fn program_of(self, package: &str, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
        self.built(&["build"], package, folder, name)
    }

    /// Returns the program that runs the module's tests, as [`Module::program`] does.
    ///
    /// # Errors
    /// As of [`Module::program`].
    pub fn tests(self, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
        self.built(&["test", "-c", "-vet=off"], ".", folder, name)
    }

    fn built(self, subcommand: &[&str], package: &str, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
        let out = repository().join("target").join(folder);
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let program = out.join(name);
        let stamp = self.fingerprint()?;
        let stamp_path = out.join(format!("{name}.stamp"));
        let is_current = || program.exists() && fs::read(&stamp_path).is_ok_and(|of| of == stamp);
        if is_current() {
            return Ok(program);
        }
        // Held until this function returns; who waited finds the program built.
        let lock = File::create(out.join("lock"))?;
        lock.lock().with_context(|| format!("cannot lock target/{folder}/lock"))?;
        if is_current() {
            return Ok(program);
        }
        // Past the capture of the test harness: minutes of silence would look like a hang.
        let _ = writeln!(std::io::stderr(), "building {name} (some minutes, once)");
        let new = out.join(format!("{name}.new"));
        let status = self
            .command(subcommand)
            // Without what only a debugger reads, which would be written and thrown away.
            .args(["-trimpath", "-gcflags", "all=-dwarf=false", "-ldflags", "-s -w", "-o"])
            .args([new.as_os_str(), package.as_ref()])
            .status()
            .with_context(|| {
                format!("cannot run `go`: {name} is built with it, see {}/{}", self.folder, self.file)
            })?;
        ensure!(status.success(), "`go {}` in {} failed: {status}", subcommand.join(" "), self.folder);
        fs::rename(&new, &program)?;
        fs::write(&stamp_path, &stamp)?;
        Ok(program)
    }

    /// Returns what the module is built from, file by file: what differs needs a build.
    fn fingerprint(self) -> anyhow::Result<Vec<u8>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(repository().join(self.folder))? {
            let path = entry?.path();
            let is_source = path.extension().is_some_and(|e| e == "go" || e == "mod" || e == "sum");
            if is_source && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let mut all = format!("{TOOLCHAIN}\n").into_bytes();
        for path in paths {
            all.extend_from_slice(path.file_name().unwrap_or_default().as_encoded_bytes());
            all.push(b'\n');
            all.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(all)
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
