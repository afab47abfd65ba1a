//! Programs that Python packages publish, each installed into an environment of its own.

use anyhow::{Context, bail, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package that has a program.
pub(crate) struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where its program is, below the environment; one star stands for a folder of any name.
    pub program: &'static str,
}

impl Package {
    /// Returns the program, installed below `target/python` when it is not there yet.
    ///
    /// # Errors
    /// When Python is absent or the package cannot be had.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        let Self { name, version, program } = self;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python").join(name);
        fs::create_dir_all(&folder)?;
        // Another test may be at it.
        let lock = File::create(folder.join("lock"))?;
        lock.lock().context("cannot lock the folder of a Python package")?;
        let environment = folder.join(version);
        let is_done = environment.join("installed");
        if !is_done.exists() {
            // Past the capture of the test harness.
            let _ = writeln!(std::io::stderr(), "installing {name} {version} (some seconds, once)");
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(&environment);
            run(venv).with_context(|| format!("{name} is a Python package: Python 3 with venv is needed"))?;
            let mut pip = Command::new(environment.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
            pip.arg(format!("{name}=={version}"));
            run(pip).with_context(|| format!("cannot install the Python package {name}"))?;
            fs::write(&is_done, "")?;
        }
        let path = match program.split_once('*') {
            None => environment.join(program),
            Some((before, after)) => {
                let before = environment.join(before);
                let inner = fs::read_dir(&before)?.next().context("an empty folder")??;
                inner.path().join(after.trim_start_matches('/'))
            }
        };
        ensure!(path.exists(), "the Python package {name} has no {}", path.display());
        Ok(path)
    }
}

/// Runs a command and returns what it prints.
///
/// # Errors
/// With its own words when it fails.
pub(crate) fn run(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
