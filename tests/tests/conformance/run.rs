//! One run of the suite of a release.

use super::environment::{self, variable};
use super::told::{tell, told};
use anyhow::{bail, ensure};
use pilothouse_tests::conformance::{Channel, Outcome, Release, Run};
use pilothouse_tests::program::program;
use std::path::{Path, PathBuf};

/// Runs what the environment asks for, tells what came of it and fails where a test does.
pub async fn conforms(release: Release) -> anyhow::Result<Outcome> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let control_plane = match variable("PILOTHOUSE") {
        Some(path) => root.join(path),
        None => tokio::task::spawn_blocking(|| program().map(PathBuf::from)).await??,
    };
    let channel = match variable("CONFORMANCE_CHANNEL").as_deref() {
        None | Some("experimental") => Channel::Experimental,
        Some("standard") => Channel::Standard,
        Some(other) => bail!("CONFORMANCE_CHANNEL={other}: it is standard or experimental"),
    };
    let tests = variable("CONFORMANCE_TESTS");
    let only = match tests.as_deref() {
        None => release.status_tests(),
        Some(names) => names.split(',').collect(),
    };
    let flags = environment::flags();
    let run = Run { release, channel, control_plane: &control_plane, only: &only, flags: &flags };
    let outcome = run.outcome().await?;
    tell(&told(&format!("Gateway API {}, {channel:?}", release.tag()), &only, &outcome)?)?;
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    // What is not claimed is skipped, and so a claim cannot be forgotten in silence.
    let left_out: Vec<_> = only.iter().filter(|&&name| !outcome.passed.contains(name)).collect();
    ensure!(left_out.is_empty(), "not run, since no such feature is claimed: {left_out:?}");
    ensure!(!outcome.passed.is_empty(), "no test passed");
    Ok(outcome)
}
