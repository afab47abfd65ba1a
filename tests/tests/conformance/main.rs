//! The conformance suite of the Gateway API, for each release that it is held to: `make conformance`.
//!
//! It is no part of `make test` yet: what it asks of statuses is being built. Environment:
//!
//! * `PILOTHOUSE`: the program of the control plane, else `target/debug/pilothouse`.
//! * `CONFORMANCE_TESTS`: names of tests, comma-separated; `status` (also if unset): those that need no
//!   traffic; `all`.
//! * `CONFORMANCE_CHANNEL`: `experimental` (also if unset) or `standard`.
//! * `CONFORMANCE_FLAGS`: further flags of the suite, separated by spaces.

use anyhow::{bail, ensure};
use pilothouse_tests::conformance::{Channel, Release, Run};
use std::path::{Path, PathBuf};

#[tokio::test]
async fn v1_7_0() -> anyhow::Result<()> {
    conforms(Release::V1_7_0).await
}

#[tokio::test]
async fn v1_6_3() -> anyhow::Result<()> {
    conforms(Release::V1_6_3).await
}

async fn conforms(release: Release) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let control_plane =
        root.join(variable("PILOTHOUSE").map_or("target/debug/pilothouse".into(), PathBuf::from));
    let channel = match variable("CONFORMANCE_CHANNEL").as_deref() {
        None | Some("experimental") => Channel::Experimental,
        Some("standard") => Channel::Standard,
        Some(other) => bail!("CONFORMANCE_CHANNEL={other}: it is standard or experimental"),
    };
    let tests = variable("CONFORMANCE_TESTS");
    let only = match tests.as_deref() {
        None | Some("status") => release.status_tests(),
        Some("all") => Vec::new(),
        Some(names) => names.split(',').collect(),
    };
    let further = variable("CONFORMANCE_FLAGS").unwrap_or_default();
    let claims = match tests.as_deref() {
        None | Some("status") => {
            Some(format!("--supported-features={}", release.status_features().join(",")))
        }
        Some(_) => None,
    };
    let flags: Vec<String> =
        claims.into_iter().chain(further.split_whitespace().map(str::to_owned)).collect();
    println!(
        "Gateway API {}, {channel:?}: {}",
        release.tag(),
        if only.is_empty() { "all" } else { "these:" }
    );
    for name in &only {
        println!("  {name}");
    }

    let run = Run { release, channel, control_plane: &control_plane, only: &only, flags: &flags };
    let outcome = run.outcome().await?;
    println!("{outcome}");
    // What a class does not claim is skipped, and so a claim cannot be forgotten in silence.
    let left_out: Vec<_> = only.iter().filter(|&&name| outcome.skipped.contains(name)).collect();
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    ensure!(left_out.is_empty(), "not run, since the class claims no such feature: {left_out:?}");
    ensure!(only.is_empty() || outcome.passed.len() == only.len(), "not all tests were run");
    Ok(())
}
