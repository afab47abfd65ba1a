//! Impersonation while pods are created and deleted: decisions match the pods during the call.

use crate::clock::FakeClock;
use crate::plane::{Plane, Site, UNAUTHENTICATED};
use crate::token::{Parts, bound_token};
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{RequestError, request_certificate};
use pilothouse_tests::client::{Client, Node, Options, Reconnect};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const NODES: [&str; 2] = ["n1", "n2"];

/// How often the pod is created on each node.
const ROUNDS: usize = 4;

/// A call: its start and end, and whether a certificate was issued.
struct Call {
    began: Instant,
    ended: Instant,
    issued: bool,
}

/// The interval from the creation of a pod until requests for it are refused.
struct Stay {
    began: Instant,
    ended: Instant,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_is_of_a_pod_that_was_on_the_callers_node_during_the_call() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.certificates_per_second = 100_000;
    let plane = Arc::new(Plane::open(&args).await?);
    let web = site.identity("web");
    let done = Arc::new(AtomicBool::new(false));
    let mut tokens = Vec::new();
    let mut callers = Vec::new();
    for node in NODES {
        let token = site.ztunnel(node).await?;
        for _ in 0..3 {
            let (plane, token, web, done) =
                (Arc::clone(&plane), token.clone(), web.clone(), Arc::clone(&done));
            let asking = tokio::spawn(async move {
                let target = plane.target(&token)?;
                let mut calls = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let issued = match request_certificate(&target, Some(&web), 0).await {
                        Ok(_) => true,
                        Err(RequestError::Refused { code: UNAUTHENTICATED, .. }) => false,
                        Err(other) => return Err(anyhow::Error::from(other)),
                    };
                    calls.push(Call { began, ended: Instant::now(), issued });
                }
                Ok(calls)
            });
            callers.push((node, asking));
        }
        tokens.push(token);
    }

    // One pod, on one node after the other.
    let mut stays = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (i, node) in NODES.into_iter().enumerate() {
            let began = Instant::now();
            site.pod(&site.shop, "web", "web", node).await?;
            let is_issued = async || Ok(plane.certificate(&tokens[i], Some(&web)).await.ok());
            until(LIMIT, is_issued).await.with_context(|| format!("never on {node}"))?;
            site.delete(&site.shop, "web").await?;
            let is_refused =
                async || Ok(plane.certificate(&tokens[i], Some(&web)).await.is_err().then_some(()));
            until(LIMIT, is_refused).await.with_context(|| format!("never gone from {node}"))?;
            stays[i].push(Stay { began, ended: Instant::now() });
        }
    }
    done.store(true, Ordering::Relaxed);

    let (mut issued, mut refused) = (0, 0);
    for (node, asking) in callers {
        let of_node = NODES.iter().position(|n| *n == node).context("a node")?;
        for call in asking.await?? {
            if !call.issued {
                refused += 1;
                continue;
            }
            issued += 1;
            let was_there =
                stays[of_node].iter().any(|stay| stay.began <= call.ended && call.began <= stay.ended);
            assert!(was_there, "a certificate was issued to {node}, which had no such pod");
        }
    }
    assert!(issued > 0 && refused > 0, "{issued} issued, {refused} refused: there was no race");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_a_deleted_or_replaced_ztunnel_is_refused() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    site.pod(&site.shop, "web", "web", "n1").await?;
    let web = site.identity("web");
    let old = site.ztunnel("n1").await?;
    plane.certificate(&old, Some(&web)).await?;

    site.delete(&site.system, "ztunnel-n1").await?;
    until(LIMIT, async || Ok(plane.certificate(&old, Some(&web)).await.is_err().then_some(()))).await?;
    let before = plane.refused("pod_unknown");
    assert_eq!(plane.refusal(&old, Some(&web)).await?, UNAUTHENTICATED);
    assert_eq!(plane.refused("pod_unknown"), before + 1);

    let new = site.ztunnel("n1").await?;
    plane.certificate(&new, Some(&web)).await?;
    assert_eq!(plane.refusal(&old, Some(&web)).await?, UNAUTHENTICATED);
    assert_eq!(plane.refused("pod_replaced"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_ends_is_gone_a_minute_after_its_time() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&site.settings()?, &clock).await?;
    let (one, two) = (site.ztunnel("n1").await?, site.ztunnel("n2").await?);
    let pod = site.pod(&site.shop, "web", "web", "n1").await?;
    let (token, web) = (bound_token(site.server, &pod, &["istio-ca"]).await?, site.identity("web"));
    let stream = Client::connect(Options {
        node: Node { namespace: site.system.clone(), ..Node::ztunnel("n2") },
        reconnect: Reconnect::Manual,
        ..plane.client_options(&two)?
    })
    .await?;
    stream.until("both types answered", |state| state.is_ready()).await?;
    for (namespace, name) in [(&site.shop, "web"), (&site.system, "ztunnel-n2")] {
        site.begin_to_delete(namespace, name, 120).await?;
    }
    // It may still be ending: the time of its deletion is ahead, or less than a minute past.
    clock.advance_seconds(125);
    plane.certificate(&one, Some(&web)).await?;
    for token in [&token, &two] {
        plane.certificate(token, None).await?;
    }
    assert!(stream.with(|state| state.is_connected()));

    clock.advance_seconds(60);
    stream.until("the end of the stream", |state| !state.is_connected()).await?;
    until(LIMIT, async || Ok(plane.certificate(&one, Some(&web)).await.is_err().then_some(()))).await?;
    let before = (plane.refused("not_on_node"), plane.refused("pod_deleted"));
    assert_eq!(plane.refusal(&one, Some(&web)).await?, UNAUTHENTICATED);
    for token in [&token, &two] {
        assert_eq!(plane.refusal(token, None).await?, UNAUTHENTICATED);
    }
    assert_eq!((plane.refused("not_on_node"), plane.refused("pod_deleted")), (before.0 + 1, before.1 + 2));
    // The pod is there all the same, and another one has the account again.
    assert!(plane.identity.uid_of(&site.shop, "web").is_some());
    site.pod(&site.shop, "web-2", "web", "n1").await?;
    plane.certificate(&one, Some(&web)).await?;
    assert_eq!(plane.refusal(&token, None).await?, UNAUTHENTICATED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn token_with_claims_that_contradict_the_pod_is_refused() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    for (name, node) in [("web-1", "n1"), ("web-2", "n2")] {
        site.pod(&site.shop, name, "web", node).await?;
    }
    let web = site.identity("web");
    let ztunnel = site.ztunnel("n1").await?;
    plane.certificate(&ztunnel, Some(&web)).await?;
    let other = site.pod(&site.system, "other", "other", "n1").await?;
    let other = bound_token(site.server, &other, &["istio-ca"]).await?;

    // Even with the key of the API server, a token cannot change the node or the account of a pod.
    let mut moved = Parts::of(&ztunnel)?;
    moved.claims["kubernetes.io"]["node"] = json!({"name": "n2", "uid": "u"});
    let mut posing = Parts::of(&other)?;
    posing.claims["sub"] = json!(format!("system:serviceaccount:{}:ztunnel", site.system));
    posing.claims["kubernetes.io"]["serviceaccount"]["name"] = json!("ztunnel");
    for (reason, token) in [("pod_node", &moved), ("pod_account", &posing)] {
        let token = token.sign(site.server)?;
        for identity in [Some(web.as_str()), None] {
            let before = plane.refused(reason);
            assert_eq!(plane.refusal(&token, identity).await?, UNAUTHENTICATED, "{reason}");
            assert_eq!(plane.refused(reason), before + 1, "{reason}: {:?}", plane.stats().refused.list());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_is_refused_where_no_account_is_trusted() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.trusted_node_accounts = Some(String::new());
    let plane = Plane::open(&args).await?;
    site.pod(&site.shop, "web", "web", "n1").await?;
    let ztunnel = site.ztunnel("n1").await?;
    plane.certificate(&ztunnel, None).await?;
    assert_eq!(plane.refusal(&ztunnel, Some(&site.identity("web"))).await?, UNAUTHENTICATED);
    assert_eq!(plane.refused("impersonation_disabled"), 1);
    Ok(())
}
