//! The conformance suite of the release before, for figures beside those of others: `make conformance` alone runs it.
//! `main.rs` beside it says what the environment does.

mod environment;
mod run;
mod told;
mod traffic;

use pilothouse_tests::conformance::Release;

#[tokio::test]
async fn v1_6_3() -> anyhow::Result<()> {
    run::conforms(Release::V1_6_3).await.map(drop)
}

#[tokio::test]
async fn v1_6_3_gateway() -> anyhow::Result<()> {
    traffic::conforms(Release::V1_6_3).await
}
