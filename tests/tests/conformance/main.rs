//! The conformance suite of the Gateway API, for each release that it is held to.
//!
//! `make test` runs the tests of the newest release that need no traffic; `make conformance` both releases,
//! and whatever these variables of the environment say:
//!
//! * `PILOTHOUSE`: the program of the control plane, else the one that is built.
//! * `CONFORMANCE_TESTS`: names of tests, comma-separated; if unset, those that need no traffic.
//! * `CONFORMANCE_CHANNEL`: `experimental` (also if unset) or `standard`.
//! * `CONFORMANCE_FLAGS`: further flags of the suite, separated by spaces.

mod environment;
mod mesh;
mod run;
mod told;

use anyhow::ensure;
use environment::variable;
use pilothouse_tests::conformance::Release;
use run::conforms;

#[tokio::test]
async fn v1_7_0() -> anyhow::Result<()> {
    let outcome = conforms(Release::V1_7_0).await?;
    let claims: Vec<&str> = plane::supported_features().collect();
    ensure!(outcome.claimed == claims, "the class claims {:?}, not {claims:?}", outcome.claimed);
    if variable("CONFORMANCE_TESTS").is_none() {
        let by_statuses = plane::FEATURES.iter().filter(|of| of.shown_by == plane::ShownBy::Statuses);
        let by_statuses: Vec<&str> = by_statuses.map(|feature| feature.name).collect();
        let shown: Vec<&str> = outcome.shown().into_iter().collect();
        ensure!(shown == by_statuses, "statuses alone show {shown:?}, not {by_statuses:?}");
    }
    Ok(())
}
