//! Streams of the secure port.

use crate::plane::{Plane, Site};
use crate::token::bound_token;
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::transport::open;
use pilothouse_tests::client::{Client, Node, OpenError, Options, Reconnect, Target};
use proto::discovery::DeltaDiscoveryRequest;
use proto::type_url::{ADDRESS, AUTHORIZATION, CLUSTER, WORKLOAD};
use std::collections::BTreeMap;
use tonic::{Code, Status};

/// The ztunnel of a node, as it names itself.
fn node(site: &Site, name: &str) -> Node {
    Node { namespace: site.system.clone(), ..Node::ztunnel(name) }
}

/// Opens a stream that must be refused before any response, and returns the error.
pub async fn refusal(options: Options) -> anyhow::Result<String> {
    match Client::connect(Options { reconnect: Reconnect::Manual, ..options }).await {
        Err(error) => Ok(format!("{error:#}")),
        Ok(client) => {
            client.until("the end of the stream", |state| !state.is_connected()).await?;
            anyhow::ensure!(client.with(|state| state.received().is_empty()), "a response was sent");
            Ok(client.with(|state| state.last_error().unwrap_or_default().to_owned()))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ztunnel_gets_the_mesh_with_its_token() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let client =
        Client::connect(Options { node: node(&site, "n1"), ..plane.client_options(&token)? }).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_without_a_valid_token_is_refused_at_once() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let good = site.ztunnel("n1").await?;
    let mut none = plane.client_options(&good)?;
    none.token = None;
    let mut elsewhere = plane.client_options(&good)?;
    elsewhere.metadata = vec![("clusterid".to_owned(), "another".to_owned())];
    let made_up = plane.client_options("made.up.token")?;
    for (reason, options) in
        [("no_credential", none), ("token_malformed", made_up), ("unknown_cluster", elsewhere)]
    {
        let refused = Client::connect(Options { node: node(&site, "n1"), ..options }).await.err();
        let refused = refused.context("it was accepted")?;
        let open = refused.downcast_ref::<OpenError>().context("no refusal")?;
        assert_eq!(open.code(), Code::Unauthenticated, "{open}");
        let counted = plane.stats().streams_refused.list();
        assert!(counted.contains(&(reason, 1)), "{reason}: {counted:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_served_only_as_the_node_of_its_caller() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let web_token = bound_token(site.server, &web, &["istio-ca"]).await?;
    let of_shop = Node { namespace: site.shop.clone(), ..Node::ztunnel("n1") };
    for (reason, token, node) in [
        ("node_identity", &token, of_shop.clone()),
        ("not_ztunnel", &web_token, of_shop),
        ("other_node", &token, node(&site, "n2")),
    ] {
        let options = Options { node, ..plane.client_options(token)? };
        let error = refusal(options).await.context(reason)?;
        assert!(error.contains("PermissionDenied") || error.contains("permission"), "{reason}: {error}");
        let refused = plane.stats().streams_refused.list();
        assert!(refused.contains(&(reason, 1)), "{reason}: {refused:?}");
    }
    let nameless = Node { role: "agent".to_owned(), ..node(&site, "n1") };
    let error = refusal(Options { node: nameless, ..plane.client_options(&token)? }).await?;
    assert!(error.contains("unknown kind of proxy") && !error.contains("CSR"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_with_the_pod_that_opened_it() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let (one, two) = (site.ztunnel("n1").await?, site.ztunnel("n2").await?);
    let connect = async |token: &str, on: &str| {
        let options =
            Options { node: node(&site, on), reconnect: Reconnect::Manual, ..plane.client_options(token)? };
        let client = Client::connect(options).await?;
        client.until("both types answered", |state| state.is_ready()).await?;
        anyhow::Ok(client)
    };
    let (ends, stays) = (connect(&one, "n1").await?, connect(&two, "n2").await?);
    site.delete(&site.system, "ztunnel-n1").await?;
    ends.until("the end of the stream", |state| !state.is_connected()).await?;
    let error = ends.with(|state| state.last_error().unwrap_or_default().to_owned());
    assert!(error.contains("not authenticated"), "{error}");
    assert!(plane.stats().streams_ended.list().contains(&("pod_gone", 1)));
    assert!(ends.reconnect().await.is_err(), "its token cannot open another stream");
    assert!(plane.stats().streams_refused.list().contains(&("pod_unknown", 1)));

    // The other stream stays open.
    site.pod(&site.shop, "web", "web", "n1").await?;
    assert!(stays.with(|state| state.is_connected()));
    let issued = async || Ok(plane.certificate(&two, None).await.ok());
    until(LIMIT, issued).await?;
    Ok(())
}

/// Opens a stream of the pod `web` that says it is of a role, for one type, and returns the refusal.
async fn refused_as(plane: &Plane, site: &Site, token: &str, role: &str, of: &str) -> anyhow::Result<Status> {
    let target = Target {
        address: plane.secure.to_string(),
        tls: plane.client_options(token)?.tls,
        token: Some(token.to_owned()),
        ..Target::default()
    };
    let node = Node {
        namespace: site.shop.clone(),
        role: role.to_owned(),
        pod: "web".to_owned(),
        ..Node::ztunnel("n1")
    };
    // One type per stream: a stream ends with the first type that is refused.
    let type_url = of.to_owned();
    let first = DeltaDiscoveryRequest { node: Some(node.to_message()), type_url, ..Default::default() };
    let status = match open(&target, vec![first]).await {
        Ok(mut wire) => wire.responses.message().await.err(),
        Err(OpenError::Refused(status)) => Some(status),
        Err(other) => return Err(other.into()),
    };
    status.with_context(|| format!("a {role} was answered"))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_accounts_cannot_subscribe_to_the_types_of_ztunnels() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let token = bound_token(site.server, &web, &["istio-ca"]).await?;
    // Any account may claim one of these roles, but is served neither the mesh nor a gateway.
    let mut expected = BTreeMap::new();
    for (role, reason) in [("sidecar", "not_envoy"), ("waypoint", "no_gateway"), ("router", "no_gateway")] {
        for type_url in [ADDRESS, WORKLOAD, AUTHORIZATION, CLUSTER] {
            let status = refused_as(&plane, &site, &token, role, type_url).await?;
            assert_eq!(status.code(), Code::PermissionDenied, "{role}: {status}");
            *expected.entry(reason).or_insert(0) += 1;
            let counted = plane.stats().streams_refused.list();
            assert!(counted.contains(&(reason, expected[reason])), "{role}: {counted:?}");
        }
    }
    let ztunnel = site.ztunnel("n1").await?;
    let options = Options { node: node(&site, "n1"), ..plane.client_options(&ztunnel)? };
    Client::connect(options).await?.until("both types answered", |state| state.is_ready()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_configures_no_waypoints_serves_ztunnels_alone() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.mesh.configure_waypoints = Some(false);
    let plane = Plane::open(&args).await?;
    let web = site.pod(&site.shop, "web", "web", "n1").await?;
    let token = bound_token(site.server, &web, &["istio-ca"]).await?;
    for role in ["sidecar", "waypoint", "router"] {
        for type_url in [ADDRESS, AUTHORIZATION] {
            let status = refused_as(&plane, &site, &token, role, type_url).await?;
            assert_eq!(status.code(), Code::PermissionDenied, "{role}: {status}");
            assert!(status.message().contains(&format!("a {role} may not subscribe")), "{status}");
        }
        let status = refused_as(&plane, &site, &token, role, CLUSTER).await?;
        assert_eq!(status.code(), Code::Unimplemented, "{role}: {status}");
    }
    let counted = plane.stats().streams_refused.list();
    assert!(counted.contains(&("subscription", 6)), "{counted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_has_a_bounded_number_of_streams() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    // Each stream has a connection of its own here.
    args.bounds.connections_per_client = 64;
    let plane = Plane::open(&args).await?;
    let (token, other) = (site.ztunnel("n1").await?, site.ztunnel("n2").await?);
    let connect = async |token: &str, on: &str| {
        let options =
            Options { node: node(&site, on), reconnect: Reconnect::Manual, ..plane.client_options(token)? };
        Client::connect(options).await
    };
    let mut open = Vec::new();
    let refused = loop {
        match connect(&token, "n1").await {
            Ok(client) => open.push(client),
            Err(error) => break error,
        }
        anyhow::ensure!(open.len() < 100, "there is no bound");
    };
    let refused = refused.downcast_ref::<OpenError>().context("no refusal")?;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(open.len(), 32);
    connect(&other, "n2").await.context("another client has its own limit")?;
    // A stream that ends releases its permit.
    drop(open.pop());
    until(LIMIT, async || Ok(connect(&token, "n1").await.ok())).await?;
    Ok(())
}
