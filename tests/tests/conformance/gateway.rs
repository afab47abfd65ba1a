//! The profiles of gateways with traffic, through real Envoys, on a node of processes: `make conformance` alone runs it.
//!
//! Of the variables of `main.rs` beside it, `CONFORMANCE_TESTS` and `CONFORMANCE_FLAGS` count. Without the first all tests
//! are run whose features the class claims, and so every claim is shown.

mod environment;
mod told;
mod traffic;

use pilothouse_tests::conformance::Release;

#[tokio::test]
async fn v1_7_0_gateway() -> anyhow::Result<()> {
    traffic::conforms(Release::V1_7_0).await
}
