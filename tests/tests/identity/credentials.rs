//! Nothing outlives its credential: streams end with it, in a way that brings the client back at once, and
//! each call on a connection that stands is judged anew.

use crate::certificates::{channel_showing, renew_on};
use crate::laptop::{Laptop, token};
use crate::plane::{INVALID_ARGUMENT, Plane, Site, UNAUTHENTICATED};
use crate::streams::refusal;
use crate::token::{Parts, bound_token};
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Node, OpenError, Options, Reconnect};
use tonic::Code;

/// A token is accepted for 10 s beyond its end, since clocks differ: this one ended 7 s ago.
const ALMOST_OVER: i64 = -7;

fn ended(plane: &Plane, reason: &'static str) -> u64 {
    plane.stats().streams_ended.list().iter().find(|(name, _)| *name == reason).map_or(0, |(_, n)| *n)
}

#[tokio::test(flavor = "multi_thread")]
async fn ztunnel_comes_back_at_once_with_its_next_token_when_one_expires() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let ends = token(&laptop.state(), "ztunnel", Some("laptop"), ALMOST_OVER)?;
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ends)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    // As the kubelet does, before the old one ends.
    client.use_token(&laptop.ztunnel()?);
    client.until("another stream", |state| state.streams() == 2 && state.is_connected()).await?;
    assert_eq!(ended(&plane, "credential_expired"), 1);
    // A clean end: after any status a ztunnel would wait.
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None);
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_opens_no_other_stream() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let ends = token(&laptop.state(), "ztunnel", Some("laptop"), ALMOST_OVER)?;
    let options = Options {
        node: Node::ztunnel("laptop"),
        reconnect: Reconnect::Manual,
        ..plane.client_options(&ends)?
    };
    let client = Client::connect(options).await?;
    client.until("the end of the stream", |state| !state.is_connected()).await?;
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None, "a clean end");
    // It ends no sooner than its token: else a client would come back with it again and again.
    let refused = client.reconnect().await.err().context("the token is still good")?;
    let refused = refused.downcast_ref::<OpenError>().context("no refusal")?;
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_with_its_token_also_where_the_api_server_judged_that() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.always_review_tokens = true;
    let plane = Plane::open(&args).await?;
    let mut token = Parts::of(&site.ztunnel("n1").await?)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    token.claims["exp"] = serde_json::json!(now + 5);
    let options = Options {
        node: Node { namespace: site.system.clone(), ..Node::ztunnel("n1") },
        reconnect: Reconnect::Manual,
        ..plane.client_options(&token.sign(site.server)?)?
    };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    client.until("the end of the stream", |state| !state.is_connected()).await?;
    assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None, "a clean end");
    assert_eq!(ended(&plane, "credential_expired"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_a_ztunnel_opens_no_stream_since_it_names_no_node() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let new = plane.certificate(&token, None).await?;
    // Whoever has taken it from one node could else be heard as the ztunnel of any other.
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
async fn certificate_that_ends_is_refused_on_a_connection_that_stands() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let target = plane.target(&site.ztunnel("n1").await?)?;
    let (ends, stays) = (
        pilothouse_tests::certificates::request_certificate(&target, None, 10).await?,
        pilothouse_tests::certificates::request_certificate(&target, None, 3600).await?,
    );
    let (ends, stays) = (channel_showing(&plane, &ends).await?, channel_showing(&plane, &stays).await?);
    assert_eq!(renew_on(&ends, 0).await?.err(), None);
    // A new connection would be refused in its handshake, and give no code.
    let code = until(LIMIT, async || Ok(renew_on(&ends, 0).await?.err())).await?;
    assert_eq!((code, plane.refused("credential_expired")), (UNAUTHENTICATED, 1));
    assert_eq!(renew_on(&stays, 0).await?.err(), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_renews_itself_while_a_pod_has_its_account_and_never_for_longer_than_the_default()
-> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
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
    for (asked, lives) in [(600, 600), (0, 24 * 3600), (month, 24 * 3600)] {
        let renewed = renew_on(&channel, asked).await?.map_err(|code| anyhow::anyhow!("refused: {code}"))?;
        // It is dated back a little.
        assert_eq!(life(&renewed), lives + 120, "asked for {asked} s");
    }
    assert_eq!(renew_on(&channel, i64::MAX).await?.err(), Some(INVALID_ARGUMENT), "over the maximum");

    site.pod(&site.shop, "another", "web", "n2").await?;
    // Known by the time that its node's ztunnel gets a certificate for it.
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
async fn certificate_of_a_workload_outside_is_renewed_while_its_entry_is_there() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    let held = plane.certificate(&laptop.ztunnel()?, Some(web)).await?;
    let channel = channel_showing(&plane, &held).await?;
    assert_eq!(renew_on(&channel, 0).await?.err(), None);
    laptop.write("pods.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")?;
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
