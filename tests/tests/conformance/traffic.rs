//! One run of the suite of a release with traffic through gateways, which shows what their class claims.

use super::environment::{flags, variable};
use super::told::{tell, told};
use anyhow::ensure;
use pilothouse_tests::conformance::{GatewayRun, Release};
use pilothouse_tests::{envoy, program};

/// Runs what the environment asks for, or every test whose features the class claims, and fails where one does.
pub async fn conforms(release: Release) -> anyhow::Result<()> {
    let node = tokio::task::spawn_blocking(|| envoy::program().and_then(|_| program::node())).await??;
    let asked = variable("CONFORMANCE_TESTS");
    let only: Vec<&str> = asked.as_deref().map(|names| names.split(',').collect()).unwrap_or_default();
    let outcome = GatewayRun { release, node, only: &only, flags: &flags() }.outcome().await?;
    tell(&told(&format!("Gateway API {} with traffic", release.tag()), &only, &outcome)?)?;
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    ensure!(!outcome.passed.is_empty(), "no test passed");
    let claims: Vec<&str> = plane::supported_features().collect();
    ensure!(outcome.claimed == claims, "the class claims {:?}, not {claims:?}", outcome.claimed);
    if only.is_empty() {
        let is_claimed = |features: &[String]| features.iter().all(|of| claims.contains(&of.as_str()));
        let claimed = outcome.tests.iter().filter(|(_, features)| is_claimed(features));
        let not_shown: Vec<_> = claimed.filter(|(name, _)| !outcome.passed.contains(*name)).collect();
        ensure!(not_shown.is_empty(), "features are claimed, and not shown by these tests: {not_shown:?}");
    }
    Ok(())
}
