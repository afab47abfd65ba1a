//! The programs of this workspace, built.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns the path of the `pilothouse` command: of the profile of the test that calls this, in its target folder.
///
/// # Errors
/// When it cannot be built.
pub fn program() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, "pilothouse")
}

/// Returns the path of the program of the node, likewise; the `pilothouse` command is beside it.
///
/// # Errors
/// When one of both cannot be built.
pub fn node() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    program()?;
    once(&BUILT, "pilothouse-node")
}

fn once(built: &'static OnceLock<Result<PathBuf, String>>, name: &str) -> anyhow::Result<&'static Path> {
    let built = built.get_or_init(|| build(name).map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile_folder = test.ancestors().nth(2).context("a test lies in PROFILE/deps")?;
    let target = profile_folder.parent().context("a profile lies in the target folder")?;
    let profile = profile_folder.file_name().and_then(OsStr::to_str).context("a profile has a name")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // With the features of the whole workspace, which the tests were built with: nothing is built twice.
        .args(["build", "--locked", "--workspace", "--bin", name])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "`cargo build --workspace --bin {name}` failed: {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executables.next_back().context("cargo names no executable")
}
