//! What came of a run, in words.

use pilothouse_tests::conformance::{Outcome, PROFILES};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Writes past the capture of the test harness: what is left out is told also where nothing fails.
pub fn tell(text: &str) -> anyhow::Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes())?)
}

/// What was run, and what was not and why.
pub fn told(title: &str, only: &[&str], outcome: &Outcome) -> anyhow::Result<String> {
    let mut text = format!("\n{title}; profiles {}\n", PROFILES.join(", "));
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

fn names(all: &BTreeSet<String>) -> String {
    all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Why a test was not run.
fn why(name: &str, features: &[String], only: &[&str]) -> &'static str {
    let needs = |feature: &str| features.iter().any(|one| one == feature);
    match () {
        () if needs("Mesh") => "they test a mesh, with traffic",
        () if needs("UDPRoute") => "UDPRoute is not supported",
        () if only.is_empty() || only.contains(&name) => "a feature that they need is not claimed",
        () => "they need traffic, or were not asked for",
    }
}
