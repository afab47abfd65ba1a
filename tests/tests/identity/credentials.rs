//! Expired credentials: streams end with their credential, cleanly, so that clients reconnect at once; and
//! each call on an established connection is authenticated again.

use crate::certificates::{channel_showing, renew_on};
use crate::clock::FakeClock;
use crate::laptop::{Laptop, token};
use crate::plane::{INVALID_ARGUMENT, Plane, Site, UNAUTHENTICATED, with_renewals};
use crate::streams::refusal;
use crate::token::{Parts, bound_token};
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Node, OpenError, Options, Reconnect};
use tonic::Code;

/// Lifetime of a token, in seconds, and when its stream ends: a token is accepted for 10 s after it expires,
/// to tolerate clock skew.
const TTL: i64 = 600;
const STREAM_ENDS: u64 = 611;

fn ended(plane: &Plane, reason: &'static str) -> u64 {
    plane.stats().streams_ended.list().iter().find(|(name, _)| *name == reason).map_or(0, |(_, n)| *n)
}

#[tokio::test(flavor = "multi_thread")]
async fn ztunnel_reconnects_at_once_with_its_next_token_when_one_expires() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let ends = token(&laptop.state(), "ztunnel", Some("laptop"), TTL)?;
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ends)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    // The kubelet rotates the token before the old one expires.
    client.use_token(&laptop.ztunnel()?);
    clock.advance_seconds(STREAM_ENDS);
    client.until("another stream", |state| state.streams() == 2 && state.is_connected()).await?;
    assert_eq!(ended(&plane, "credential_expired"), 1);
    // A clean end: after an error status a ztunnel would back off.
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None);
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_cannot_open_another_stream() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let ends = token(&laptop.state(), "ztunnel", Some("laptop"), TTL)?;
    let options = Options {
        node: Node::ztunnel("laptop"),
        reconnect: Reconnect::Manual,
        ..plane.client_options(&ends)?
    };
    let client = Client::connect(options).await?;
    // A few seconds before: the clock runs on, and the stream ends no sooner than its token. Otherwise a
    // client would reconnect with it repeatedly.
    clock.advance_seconds(STREAM_ENDS - 6);
    client.until("the end of the stream", |state| !state.is_connected()).await?;
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None, "a clean end");
    let refused = client.reconnect().await.err().context("the token is still valid")?;
    let refused = refused.downcast_ref::<OpenError>().context("no refusal")?;
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_with_a_reviewed_token_ends_when_the_token_expires() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.always_review_tokens = true;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&args, &clock).await?;
    let mut token = Parts::of(&site.ztunnel("n1").await?)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    token.claims["exp"] = serde_json::json!(now + 600);
    let options = Options {
        node: Node { namespace: site.system.clone(), ..Node::ztunnel("n1") },
        reconnect: Reconnect::Manual,
        ..plane.client_options(&token.sign(site.server)?)?
    };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    clock.advance_seconds(STREAM_ENDS);
    client.until("the end of the stream", |state| !state.is_connected()).await?;
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None, "a clean end");
    assert_eq!(ended(&plane, "credential_expired"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_a_ztunnel_cannot_open_a_stream_as_it_names_no_node() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&with_renewals(site.settings()?)).await?;
    let token = site.ztunnel("n1").await?;
    let new = plane.certificate(&token, None).await?;
    // Otherwise a certificate stolen from one node would be accepted as the ztunnel of any other.
    for node_name in ["n1", "n2", ""] {
        let options = Options {
            node: Node { namespace: site.system.clone(), ..Node::ztunnel(node_name) },
            token: None,
            certificate: Some((new.chain.concat().into_bytes(), new.key_pem.clone().into_bytes())),
            ..plane.client_options("")?
        };
        let error = refusal(options).await?;
        assert!(error.contains("proves no node"), "{node_name}: {error}");
    }
    assert!(plane.stats().streams_refused.list().contains(&("node_unproven", 3)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_refused_on_an_established_connection() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&with_renewals(site.settings()?), &clock).await?;
    let target = plane.target(&site.ztunnel("n1").await?)?;
    let (ends, stays) = (
        pilothouse_tests::certificates::request_certificate(&target, None, 600).await?,
        pilothouse_tests::certificates::request_certificate(&target, None, 3600).await?,
    );
    let (ends, stays) = (channel_showing(&plane, &ends).await?, channel_showing(&plane, &stays).await?);
    assert_eq!(renew_on(&ends, 0).await?.err(), None);
    clock.advance_seconds(601);
    // A new connection would fail in its handshake, without a status code.
    assert_eq!(renew_on(&ends, 0).await?.err(), Some(UNAUTHENTICATED));
    assert_eq!(plane.refused("credential_expired"), 1);
    assert_eq!(renew_on(&stays, 0).await?.err(), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_that_is_set_a_certificate_renews_itself_while_a_pod_has_its_account_for_at_most_the_default_lifetime()
-> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&with_renewals(site.settings()?)).await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let token = bound_token(site.server, &web, &["istio-ca"]).await?;
    let month = 30 * 24 * 3600;
    let held =
        pilothouse_tests::certificates::request_certificate(&plane.target(&token)?, None, month).await?;
    let channel = channel_showing(&plane, &held).await?;
    let life = |of: &ca::Certificate| {
        let validity = of.validity();
        validity.not_after.as_secs() - validity.not_before.as_secs()
    };
    let longest = ca::Certificate::all_from_pem(held.chain[0].as_bytes())?;
    assert!(life(&longest[0]) > month as u64);
    for (requested, lives) in [(600, 600), (0, 24 * 3600), (month, 24 * 3600)] {
        let renewed =
            renew_on(&channel, requested).await?.map_err(|code| anyhow::anyhow!("refused: {code}"))?;
        // Certificates are backdated by two minutes.
        assert_eq!(life(&renewed), lives + 120, "requested for {requested} s");
    }
    assert_eq!(renew_on(&channel, i64::MAX).await?.err(), Some(INVALID_ARGUMENT), "over the maximum");

    site.pod(&site.shop, "another", "web", "n2").await?;
    // It is known once the ztunnel of its node gets a certificate for it.
    plane.certificate(&site.ztunnel("n2").await?, Some(&site.identity("web"))).await?;
    site.delete(&site.shop, "web").await?;
    until(LIMIT, async || Ok(plane.certificate(&token, None).await.is_err().then_some(()))).await?;
    assert_eq!(renew_on(&channel, 0).await?.err(), None, "another pod has the account");
    site.delete(&site.shop, "another").await?;
    let code = until(LIMIT, async || Ok(renew_on(&channel, 0).await?.err())).await?;
    assert_eq!((code, plane.refused("account_gone")), (UNAUTHENTICATED, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_an_external_workload_is_renewed_while_its_workload_entry_exists() -> anyhow::Result<()>
{
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    let held = plane.certificate(&laptop.ztunnel()?, Some(web)).await?;
    let channel = channel_showing(&plane, &held).await?;
    // A pod has the account, and a token: it needs no certificate to get another.
    assert_eq!(renew_on(&channel, 0).await?.err(), Some(UNAUTHENTICATED));
    assert_eq!(plane.refused("account_of_pods"), 1);
    laptop.write("pods.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")?;
    until(LIMIT, async || {
        renew_on(&channel, 0).await?.err().context("a certificate is renewed")?;
        Ok((plane.refused("account_gone") > 0).then_some(()))
    })
    .await?;
    let code = until(LIMIT, async || Ok(renew_on(&channel, 0).await?.err())).await?;
    assert_eq!(code, UNAUTHENTICATED);
    laptop.write(
        "machine.yaml",
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: vm, namespace: shop}, \
         spec: {address: 10.9.9.9, serviceAccount: web}}",
    )?;
    until(LIMIT, async || Ok(renew_on(&channel, 0).await?.ok())).await?;
    laptop.write("machine.yaml", "")?;
    let code = until(LIMIT, async || Ok(renew_on(&channel, 0).await?.err())).await?;
    assert_eq!(code, UNAUTHENTICATED);
    Ok(())
}
