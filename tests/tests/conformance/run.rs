//! One run of the suite of a release.

use anyhow::{bail, ensure};
use pilothouse_tests::conformance::{Channel, Outcome, PROFILES, Release, Run};
use pilothouse_tests::program::program;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Of tests without claims: it wants a listener refused that is accepted, since its feature is built, and not
/// claimed while no traffic shows it.
const WANTS_NO_SUPPORT: &str = "TLSRouteListenerTerminateNotSupported";

/// Reads a variable of the environment; one that is empty is not set.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

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
    let mut only = release.status_tests();
    let mut flags = Vec::new();
    let mut may_skip = false;
    match tests.as_deref() {
        None | Some("status") => {
            let built: Vec<&str> = plane::FEATURES.iter().map(|feature| feature.name).collect();
            flags.push(format!("--supported-features={}", built.join(",")));
        }
        Some("claimed") => {
            only.retain(|name| *name != WANTS_NO_SUPPORT);
            may_skip = true;
        }
        Some("all") => {
            only.clear();
            may_skip = true;
        }
        Some(names) => only = names.split(',').collect(),
    }
    flags.extend(
        variable("CONFORMANCE_FLAGS").iter().flat_map(|all| all.split_whitespace()).map(str::to_owned),
    );
    let run = Run { release, channel, control_plane: &control_plane, only: &only, flags: &flags };
    let outcome = run.outcome().await?;
    tell(&told(release, channel, &only, &outcome)?)?;
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    if !may_skip {
        // What is not claimed is skipped, and so a claim cannot be forgotten in silence.
        let left_out: Vec<_> = only.iter().filter(|&&name| !outcome.passed.contains(name)).collect();
        ensure!(left_out.is_empty(), "not run, since no such feature is claimed: {left_out:?}");
    }
    ensure!(!outcome.passed.is_empty(), "no test passed");
    Ok(outcome)
}

/// Writes past the capture of the test harness: what is left out is told also where nothing fails.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes())?)
}

/// What was run, and what was not and why.
fn told(release: Release, channel: Channel, only: &[&str], outcome: &Outcome) -> anyhow::Result<String> {
    let mut text =
        format!("\nGateway API {}, {channel:?}; profiles {}\n", release.tag(), PROFILES.join(", "));
    let mut left_out = BTreeMap::<&str, Vec<&str>>::new();
    for (name, features) in outcome.tests.iter().filter(|(name, _)| outcome.skipped.contains(*name)) {
        left_out.entry(why(name, features, only)).or_default().push(name);
    }
    for (why, names) in left_out {
        writeln!(text, "not run ({}), {why}: {}", names.len(), names.join(", "))?;
    }
    writeln!(text, "passed ({}): {}", outcome.passed.len(), names(&outcome.passed))?;
    writeln!(text, "features that the class claims: {}", outcome.claimed.join(", "))?;
    writeln!(text, "{outcome}")?;
    Ok(text)
}

fn names(all: &std::collections::BTreeSet<String>) -> String {
    all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Why a test was not run.
fn why(name: &str, features: &[String], only: &[&str]) -> &'static str {
    let needs = |feature: &str| features.iter().any(|one| one == feature);
    match () {
        () if needs("Mesh") => "they test a mesh, with traffic",
        () if needs("UDPRoute") => "UDPRoute is not supported",
        () if name == WANTS_NO_SUPPORT => "it is for those who do not support what is built here",
        () if only.is_empty() || only.contains(&name) => "a feature that they need is not claimed",
        () => "they need traffic, or were not asked for",
    }
}
