//! Builds the Go program of `tests/apiserver`, once per state of its source.

use crate::go::{Module, repository};
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Returns the path of the built program, building it when it is absent or older than its source.
///
/// Test binaries that come here together wait for one another. The result lies in
/// `target/apiserver/` of the repository whatever target folder cargo uses, since the build takes
/// minutes.
///
/// # Errors
/// When Go is absent or the build fails; the output of the build has gone to standard error.
pub fn binary() -> anyhow::Result<PathBuf> {
    let root = repository();
    let source = root.join("tests/apiserver");
    let out = root.join("target/apiserver");
    let binary = out.join("apiserver");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;

    let stamp = fingerprint(&source)?;
    let stamp_path = out.join("stamp");
    let is_current = || binary.exists() && fs::read(&stamp_path).is_ok_and(|s| s == stamp);
    if is_current() {
        return Ok(binary);
    }
    // Held until this function returns; who waited finds the program built.
    let lock = File::create(out.join("lock"))?;
    lock.lock().context("cannot lock target/apiserver/lock")?;
    if is_current() {
        return Ok(binary);
    }
    // Past the capture of the test harness: minutes of silence would look like a hang.
    let _ = writeln!(std::io::stderr(), "building the test API server (some minutes, once)");
    let new = out.join("apiserver.new");
    let status = Module::of("tests/apiserver")
        .command(&["build"])
        .args(["-trimpath", "-ldflags", "-s -w", "-o"])
        .args([new.as_os_str(), ".".as_ref()])
        .status()
        .context("cannot run `go`: the test API server is built with Go, see tests/apiserver/go.mod")?;
    if !status.success() {
        bail!("`go build` in tests/apiserver failed: {status}");
    }
    fs::rename(&new, &binary)?;
    fs::write(&stamp_path, &stamp)?;
    Ok(binary)
}

/// Returns what the program is built from, file by file: what differs needs a build.
fn fingerprint(source: &Path) -> anyhow::Result<Vec<u8>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let is_source = path.extension().is_some_and(|e| e == "go" || e == "mod" || e == "sum");
        if is_source && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend_from_slice(path.file_name().unwrap_or_default().as_encoded_bytes());
        all.push(b'\n');
        all.extend_from_slice(&fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(all)
}
