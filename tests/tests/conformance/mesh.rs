//! The profiles of meshes: requests through waypoints, on a node of processes.

use super::environment::flags;
use anyhow::ensure;
use pilothouse_tests::conformance::{MeshRun, Release};
use pilothouse_tests::{envoy, program};

#[tokio::test]
async fn v1_7_0_mesh() -> anyhow::Result<()> {
    let node = tokio::task::spawn_blocking(|| envoy::program().and_then(|_| program::node())).await??;
    let outcome = MeshRun { release: Release::V1_7_0, node, flags: &flags() }.outcome().await?;
    std::io::Write::write_all(&mut std::io::stderr(), format!("{outcome}\n").as_bytes())?;
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    ensure!(!outcome.passed.is_empty(), "no test passed");
    Ok(())
}
