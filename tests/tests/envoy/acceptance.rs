//! A real Envoy takes what waypoints are sent, by the way that it is sent.

use super::cases;
use super::proxy::{Authority, Control, Envoy};
use plane::Plane;
use proto::Scope;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_all_that_each_case_sends() {
    let authority = Authority::new().unwrap();
    let mut failures = Vec::new();
    for (case, input) in cases() {
        let mesh = input.apply_at_once(input.events.clone());
        let scopes: BTreeSet<Scope> =
            mesh.resources().into_iter().map(|of| of.scope).filter(|of| *of != Scope::Mesh).collect();
        for scope in scopes {
            if let Err(error) = takes(&mesh, &scope, &authority).await {
                failures.push(format!("{case}, {scope}: {error:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs an Envoy with the resources of one scope until it has all of them.
async fn takes(mesh: &Plane, scope: &Scope, authority: &Authority) -> anyhow::Result<()> {
    let mut control = Control::start(scope, authority).await?;
    control.publish(&mesh.resources())?;
    let mut envoy = Envoy::start(&control)?;
    control.until_taken(&mut envoy).await
}
