//! Streams end with the credential that opened them, in a way that brings the client back at once.

use crate::laptop::{Laptop, token};
use crate::plane::{Plane, Site};
use crate::streams::refusal;
use anyhow::Context;
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
