//! A real Envoy takes what waypoints are sent, by the way that it is sent.

use super::cases;
use super::proxy::{Authority, Control, Envoy};
use model::{Name, Str};
use plane::Plane;
use proto::Scope;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_all_that_each_case_sends() {
    let authority = Authority::new().unwrap();
    let mut failures = Vec::new();
    for (case, input) in cases() {
        let mesh = input.apply_at_once(input.events.clone());
        let scopes = mesh.resources().into_iter().map(|of| of.scope).filter(|of| *of != Scope::Mesh);
        // Those of places are for instances that have that of their waypoint, too.
        let of_waypoint = |of: Scope| of.to_string().split('@').next().unwrap_or_default().to_owned();
        let waypoints: BTreeSet<String> = scopes.map(of_waypoint).collect();
        for waypoint in waypoints {
            for places in instances(&mesh, &waypoint) {
                if let Err(error) = takes(&mesh, &Scope::proxy(&waypoint), &places, &authority).await {
                    failures.push(format!("{case}, {waypoint} at {places:?}: {error:#}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The places of each instance of a waypoint; of none, if there is none.
fn instances(mesh: &Plane, waypoint: &str) -> Vec<Vec<Str>> {
    let of = |name: &Name| {
        let instance = mesh.identity().instance(&name.ns, &name.name)?;
        (format!("{}/{}", &*name.ns, instance.gateway) == waypoint).then(|| instance.places.to_vec())
    };
    let mut all: Vec<Vec<Str>> = mesh.identity().pods().filter_map(|(name, _)| of(name)).collect();
    if all.is_empty() {
        all.push(Vec::new());
    }
    all.sort();
    all
}

/// Runs an Envoy with the resources of one scope, and of places, until it has all of them.
async fn takes(mesh: &Plane, scope: &Scope, places: &[Str], authority: &Authority) -> anyhow::Result<()> {
    let mut control = Control::start(scope, authority).await?;
    control.publish(&mesh.resources())?;
    let mut envoy = Envoy::start(&control, places)?;
    control.until_taken(&mut envoy).await
}
