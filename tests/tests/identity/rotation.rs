//! Rotation of the root under live workloads.

use crate::certificates::{channel_showing, renew_on};
use crate::clock::FakeClock;
use crate::plane::{Plane, Site, UNAUTHENTICATED, with_renewals};
use crate::workloads::{TTL_SECONDS, Workloads};
use anyhow::Context;
use identity::ROTATE;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::request_certificate;
use pilothouse_tests::client::{Client, Node, Options};
use runtime::config::ServeArgs;
use serde_json::json;
use std::time::Duration;

/// How long both roots are trusted before and after the switch; certificates live for less.
const OVERLAP: Duration = Duration::from_secs(720);

fn settings(site: &Site) -> anyhow::Result<ServeArgs> {
    let mut args = site.settings()?;
    args.identity.root_overlap = Some(OVERLAP);
    args.identity.default_cert_ttl = Duration::from_secs(TTL_SECONDS);
    Ok(args)
}

/// The number of roots, and whether the old one signs.
fn phase(plane: &Plane, old: &str) -> anyhow::Result<(usize, bool)> {
    let signer = plane.identity.authority.current().context("no key material")?;
    let signs = signer.certificate().map(ca::Certificate::to_pem);
    Ok((signer.trust().roots().len(), signs.as_deref() == Some(old)))
}

/// A stream of the ztunnel of a node that has received its resources.
async fn stream(site: &Site, plane: &Plane, node: &str, token: &str) -> anyhow::Result<Client> {
    let node = Node { namespace: site.system.clone(), ..Node::ztunnel(node) };
    let client = Client::connect(Options { node, ..plane.client_options(token)? }).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn root_is_replaced_without_failed_handshakes_or_closed_streams() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let args = with_renewals(settings(&site)?);
    let clock = FakeClock::running();
    let replicas = [Plane::open_at(&args, &clock).await?, Plane::open_at(&args, &clock).await?];
    let old = replicas[0].roots()?;
    assert_eq!(replicas[1].roots()?, old);
    let mut workloads = Workloads::new(&clock);
    let mut streams = Vec::new();
    for (node, plane) in ["n1", "n2"].into_iter().zip(&replicas) {
        let token = site.ztunnel(node).await?;
        workloads.start(plane.target(&token)?).await?;
        streams.push(stream(&site, plane, node, &token).await?);
    }
    // A client whose certificate outlives the overlap, on a long-lived connection.
    let outlives = replicas[0].target(&site.ztunnel("n3").await?)?;
    let outlives = request_certificate(&outlives, None, 3600).await?;
    let outlives = channel_showing(&replicas[0], &outlives).await?;
    assert_eq!(renew_on(&outlives, 0).await?.err(), None);
    let secrets = Api::<Secret>::namespaced(site.server.client().await?, &site.system);
    let ask = json!({"metadata": {"annotations": {ROTATE: "now"}}});
    secrets.patch("istio-ca-secret", &PatchParams::default(), &Patch::Merge(ask)).await?;

    let mut seen: [Vec<(usize, bool)>; 2] = Default::default();
    for (expected, wait) in [((2, true), Duration::ZERO), ((2, false), OVERLAP), ((1, false), OVERLAP)] {
        workloads.advance(wait).await?;
        let reached = until(LIMIT, async || {
            workloads.connect_all().await?;
            for (seen, plane) in seen.iter_mut().zip(&replicas) {
                let phase = phase(plane, &old)?;
                if seen.last() != Some(&phase) {
                    seen.push(phase);
                }
            }
            Ok(seen.iter().all(|seen| seen.last() == Some(&expected)).then_some(()))
        });
        reached.await.with_context(|| format!("{expected:?} after phases {seen:?}"))?;
    }
    // The new root is announced, signs, and is the only one.
    let phases = [(2, true), (2, false), (1, false)];
    for seen in &mut seen {
        // The first check may come before the announcement.
        seen.retain(|phase| *phase != (1, true));
        assert_eq!(*seen, phases, "(roots, the old one signs)");
    }
    assert_eq!(replicas[0].roots()?, replicas[1].roots()?);
    workloads.renew_all().await?;
    let roots = replicas[0].roots()?;
    assert!(workloads.chains().all(|chain| chain.last() == Some(&roots)), "all have the new root");
    let code = until(LIMIT, async || Ok(renew_on(&outlives, 0).await?.err())).await?;
    assert_eq!((code, replicas[0].refused("certificate_untrusted")), (UNAUTHENTICATED, 1));
    let stored = secrets.get("istio-ca-secret").await?;
    assert!(!stored.metadata.annotations.unwrap_or_default().contains_key(ROTATE));

    // The streams stay open and receive updates.
    let late = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "late", "namespace": site.shop},
        "spec": {"ports": [{"port": 80}]},
    });
    site.server.apply(&late.to_string()).await?;
    let name = format!("{0}/late.{0}.svc.cluster.local", site.shop);
    for client in &streams {
        client.until(&name, |state| state.services().any(|(found, _)| found == name)).await?;
        assert_eq!(client.with(|state| state.streams()), 1, "the stream stays open");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_root_is_renewed_once_by_two_replicas_under_live_workloads() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = settings(&site)?;
    // Renewed when a fifth of its lifetime is left.
    args.identity.root_ttl = Duration::from_secs(2400);
    let clock = FakeClock::running();
    let replicas = [Plane::open_at(&args, &clock).await?, Plane::open_at(&args, &clock).await?];
    let first = replicas[0].roots()?;
    let mut workloads = Workloads::new(&clock);
    for (node, plane) in ["n1", "n2"].into_iter().zip(&replicas) {
        workloads.start(plane.target(&site.ztunnel(node).await?)?).await?;
    }
    let all_roots = || replicas.iter().map(Plane::roots).collect::<anyhow::Result<Vec<_>>>();
    let changed = |from: &str| {
        let all = all_roots()?;
        Ok(all[0] != from && all[0] == all[1])
    };
    workloads.advance(Duration::from_secs(1950)).await?;
    workloads.connect_until(|| changed(&first)).await.with_context(|| format!("{:#?}", all_roots()))?;
    let renewed = replicas[0].roots()?;
    workloads.advance(OVERLAP).await?;
    workloads.connect_until(|| changed(&renewed)).await.with_context(|| format!("{:#?}", all_roots()))?;
    let last = replicas[0].roots()?;
    let read = |pem: &str| ca::Certificate::all_from_pem(pem.as_bytes());
    let (old, both, new) = (read(&first)?, read(&renewed)?, read(&last)?);
    assert_eq!((old.len(), both.len(), new.len()), (1, 2, 1), "it was renewed by one of them");
    assert!(both.contains(&old[0]) && both.contains(&new[0]) && old != new);
    assert_eq!(old[0].subject(), new[0].subject());
    // With the same key each verifies what the other signed, including itself.
    ca::verify_chain(&new[0], &[], &old, old[0].validity().not_after)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn overlap_shorter_than_certificates_live_is_an_error_at_start() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.default_cert_ttl = Duration::from_secs(48 * 3600);
    Plane::start(&args).await?.stop().await?;
    args.identity.root_overlap = Some(Duration::from_secs(24 * 3600));
    let refused = Plane::start(&args).await.err().context("it starts")?.to_string();
    assert_eq!(
        refused,
        "overlap of roots of 86400 s is shorter than the default validity of certificates of 172800 s; \
         certificates of a root that is replaced would be refused before they end; \
         raise --root-overlap, or lower --default-cert-ttl"
    );
    Ok(())
}
