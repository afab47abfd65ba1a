//! Floods of unauthenticated peers, and authenticated clients meanwhile.

use crate::laptop::{Laptop, token};
use crate::plane::Plane;
use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::transport::dial;
use pilothouse_tests::client::{Client, Node, Options, Target};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, Node as Proxy};
use server::{CloseReason, Timeouts};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Status codes of gRPC.
const INVALID_ARGUMENT: &str = "3";
const RESOURCE_EXHAUSTED: &str = "8";
const UNIMPLEMENTED: &str = "12";
const UNAUTHENTICATED: &str = "16";

/// What a stream may say before anybody reads it, in bytes.
const WINDOW: u32 = 8 << 20;

/// An HTTP/2 connection over TLS that answers every PING.
struct Http2 {
    calls: SendRequest<Bytes>,
    driving: JoinHandle<()>,
}

impl Http2 {
    async fn connect(plane: &Plane) -> anyhow::Result<Self> {
        Self::connect_from([127, 0, 0, 1], plane).await
    }

    async fn connect_from(from: [u8; 4], plane: &Plane) -> anyhow::Result<Self> {
        let address = plane.secure.to_string();
        let tls = plane.client_options("")?.tls;
        let target = Target { address, tls, from: Some(from.into()), ..Target::default() };
        // Room for what a stream says first, which nobody reads here.
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(8 * WINDOW);
        let (calls, connection) = builder.handshake(dial(&target).await?).await?;
        let driving = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { calls, driving })
    }

    /// Calls a method with or without a token, and sends this data; returns the status.
    async fn call(&self, path: &str, token: Option<&str>, data: Vec<Bytes>) -> anyhow::Result<String> {
        let mut request = Request::post(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut calls = self.calls.clone().ready().await?;
        let (answer, mut requests) = calls.send_request(request.body(())?, false)?;
        for piece in data {
            requests.send_data(piece, false)?;
        }
        let answer = answer.await?;
        if let Some(status) = answer.headers().get("grpc-status") {
            return Ok(status.to_str()?.to_owned());
        }
        let trailers = answer.into_body().trailers().await?.context("no trailers")?;
        Ok(trailers.get("grpc-status").context("no status")?.to_str()?.to_owned())
    }

    /// Requests a certificate with an empty body; returns the status of the refusal.
    async fn ask(&self, token: &str) -> anyhow::Result<String> {
        let request = Request::post(format!("https://localhost{CERTIFICATE}"))
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"));
        let mut calls = self.calls.clone().ready().await?;
        let (answer, _) = calls.send_request(request.body(())?, true)?;
        let answer = answer.await?;
        Ok(answer.headers().get("grpc-status").context("no status")?.to_str()?.to_owned())
    }

    /// Waits until the server has closed the connection.
    async fn ended(self) -> anyhow::Result<()> {
        Ok(timeout(LIMIT, self.driving).await.context("the connection stays")??)
    }
}

const STREAM: &str = proto::rpc_path::DELTA_AGGREGATED_RESOURCES;
const CERTIFICATE: &str = proto::rpc_path::CREATE_CERTIFICATE;

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_connection_is_closed_although_it_answers_pings() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let short = Duration::from_secs(3);
    let timeouts = Timeouts { first_call: short, keepalive_interval: short / 10, ..Timeouts::default() };
    let plane = Plane::open_with(&laptop.args, timeouts).await?;
    let good = laptop.ztunnel()?;
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&good)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    let before = plane.ended(CloseReason::NoCall);
    let unauthenticated = Http2::connect(&plane).await?;
    assert_eq!(unauthenticated.call(STREAM, None, Vec::new()).await?, UNAUTHENTICATED);
    unauthenticated.ended().await?;
    let counted = async || Ok((plane.ended(CloseReason::NoCall) > before).then_some(()));
    until(LIMIT, counted).await.context("it was closed for another reason")?;
    plane.certificate(&good, None).await.context("others are served")?;
    assert!(client.with(|state| state.is_connected()), "its stream stays open");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_with_many_refused_calls_is_closed() -> anyhow::Result<()> {
    let plane = Plane::open(&Laptop::new()?.args).await?;
    let unauthenticated = Http2::connect(&plane).await?;
    let mut refused = 0;
    while refused < 1000 {
        let path = if refused % 2 == 0 { STREAM } else { CERTIFICATE };
        match unauthenticated.call(path, (refused % 3 == 0).then_some("made.up.token"), Vec::new()).await {
            Ok(status) => assert_eq!(status, UNAUTHENTICATED),
            Err(_) => break,
        }
        refused += 1;
    }
    assert!((8..1000).contains(&refused), "{refused} calls were answered");
    assert_eq!(plane.stats().unauthenticated.get(), refused, "each is counted");
    unauthenticated.ended().await?;
    assert_eq!(plane.ended(CloseReason::Refused), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_exhaust_the_limit_of_their_own_address() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let forged = laptop.ztunnel()?.replacen('.', "x.", 1);
    let mut verified = 0;
    // Several connections, since each of them is closed.
    let refused = 'flood: loop {
        let connection = Http2::connect_from([127, 0, 0, 2], &plane).await?;
        while let Ok(status) = connection.call(STREAM, Some(&forged), Vec::new()).await {
            if status != UNAUTHENTICATED {
                break 'flood status;
            }
            verified += 1;
        }
    };
    assert_eq!(refused, RESOURCE_EXHAUSTED);
    assert!((200..4000).contains(&verified), "{verified} forged tokens were verified");
    assert_eq!(plane.bounded("tokens_of_address"), 1);
    assert_eq!(plane.stats().unauthenticated.get(), verified, "each is counted");
    plane
        .certificate(&laptop.ztunnel()?, None)
        .await
        .context("a new token of another address is accepted")?;
    // And so is one of the same address, which nobody has seen before: what signs it is what counts.
    let new = token(&laptop.state(), "ztunnel", Some("laptop"), 1800)?;
    let connection = Http2::connect_from([127, 0, 0, 2], &plane).await?;
    assert_eq!(connection.ask(&new).await?, INVALID_ARGUMENT, "it is known, and asks for nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_no_service_are_counted_and_end_their_connection() -> anyhow::Result<()> {
    let plane = Plane::open(&Laptop::new()?.args).await?;
    let unauthenticated = Http2::connect(&plane).await?;
    let mut refused = 0;
    while let Ok(status) = unauthenticated.call("/made.up.Service/Method", None, Vec::new()).await {
        assert_eq!(status, UNIMPLEMENTED);
        refused += 1;
        anyhow::ensure!(refused < 1000, "as many as it likes");
    }
    assert!(refused >= 8, "{refused} calls were answered");
    assert_eq!(plane.refused_calls(), refused, "each is counted");
    unauthenticated.ended().await?;
    assert_eq!(plane.ended(CloseReason::Refused), 1);
    Ok(())
}

/// A ztunnel's stream, its new connections and its certificates, while others do what they do.
async fn ztunnel_is_served(plane: &Plane, token: &str) -> anyhow::Result<()> {
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(token)? };
    let client = Client::connect(options).await.context("a stream")?;
    client.until("both types answered", |state| state.is_ready()).await?;
    for _ in 0..10 {
        plane.certificate(token, None).await.context("a certificate on a new connection")?;
    }
    assert!(client.with(|state| state.is_connected()), "its stream stays open");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_has_few_connections_from_however_many_addresses() -> anyhow::Result<()> {
    const OF_CLIENT: usize = 8;
    let mut laptop = Laptop::new()?;
    laptop.args.bounds.connections_per_client = OF_CLIENT as u32;
    let plane = Plane::open(&laptop.args).await?;
    let pod = token(&laptop.state(), "other", Some("laptop"), 3600)?;
    let mut held = Vec::new();
    for _ in 0..5 {
        for address in 2..18 {
            let connection = Http2::connect_from([127, 0, 0, address], &plane).await?;
            assert_eq!(connection.ask(&pod).await?, INVALID_ARGUMENT, "its newest is served");
            held.push(connection);
        }
    }
    let evicted = (held.len() - OF_CLIENT) as u64;
    assert_eq!(plane.bounded("connections_of_client"), evicted);
    for connection in held.drain(..evicted as usize) {
        connection.ended().await?;
    }
    assert_eq!(plane.ended(CloseReason::Evicted), evicted);
    for connection in &held {
        assert_eq!(connection.ask(&pod).await?, INVALID_ARGUMENT);
    }
    ztunnel_is_served(&plane, &laptop.ztunnel()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_its_own_address_leave_a_ztunnel_its_own() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    laptop.args.bounds.handshakes_per_address = 32;
    let plane = Plane::open(&laptop.args).await?;
    let token = laptop.ztunnel()?;
    // As behind a translated address: more than it may have, and more all the while.
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(plane.secure).await?);
    }
    let secure = plane.secure;
    let flood = tokio::spawn(async move {
        loop {
            if let Ok(stream) = TcpStream::connect(secure).await {
                silent.rotate_left(1);
                silent.pop();
                silent.push(stream);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let served = ztunnel_is_served(&plane, &token).await;
    flood.abort();
    assert!(plane.bounded("handshakes_of_address") >= 32, "the flood was one");
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_ztunnel_follows_take_bounded_memory() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let stolen = laptop.ztunnel()?;
    let connection = Http2::connect(&plane).await?;
    let mut streams = Vec::new();
    for stream in 0..8 {
        let names: Vec<String> = (0..30_000).map(|n| format!("{stream}{n:05}")).collect();
        let first = DeltaDiscoveryRequest {
            node: Some(proxy()),
            type_url: proto::type_url::ADDRESS.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        let mut data = BytesMut::from(&announcing(u32::try_from(first.encoded_len())?)[..]);
        first.encode(&mut data)?;
        let request = Request::post(format!("https://localhost{STREAM}"))
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {stolen}"));
        let mut calls = connection.calls.clone().ready().await?;
        let (answer, mut requests) = calls.send_request(request.body(())?, false)?;
        requests.send_data(data.freeze(), false)?;
        let mut answer = answer.await?.into_body();
        // That none of them is there: after that, most are forgotten.
        let received = timeout(LIMIT, answer.data()).await.context("no answer")?;
        assert!(!received.context("the stream ended")??.is_empty());
        streams.push((requests, answer));
    }
    let followed = plane.followed("ztunnels");
    assert!(followed > 0 && followed < 8 * (2 << 20), "{followed} bytes");
    let other = token(&laptop.state(), "ztunnel", Some("laptop"), 1800)?;
    ztunnel_is_served(&plane, &other).await
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_that_times_out_releases_its_permit() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let timeouts = Timeouts { handshake: Duration::from_secs(1), ..Timeouts::default() };
    let plane = Plane::open_with(&laptop.args, timeouts).await?;
    let before = plane.handshakes("timed_out");
    let mut silent = TcpStream::connect(plane.secure).await?;
    let ended = timeout(LIMIT, silent.read(&mut [0; 1])).await.context("it stays open")?;
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(plane.handshakes("timed_out") > before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_pods_together_are_bounded_and_take_none_from_ztunnels() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // A burst of four for each client, sixteen for all pods, and eighty for all ztunnels.
    laptop.args.identity.certificates_per_second = 1;
    let plane = Plane::open(&laptop.args).await?;
    let connection = Http2::connect(&plane).await?;
    let pod = |name: String| token(&laptop.state(), &name, Some("laptop"), 3600);
    // Requests that ask for nothing take nothing from others.
    for n in 0..30 {
        let token = pod(format!("empty-{n}"))?;
        for _ in 0..3 {
            assert_eq!(connection.ask(&token).await?, INVALID_ARGUMENT);
        }
    }
    let (mut issued, mut refused) = (0, None);
    while refused.is_none() && issued < 1000 {
        let token = pod(format!("client-{issued}"))?;
        refused = plane.certificate(&token, None).await.err();
        issued += 1;
    }
    let refused = refused.context("as many as they like")?.to_string();
    assert!(issued >= 16 && refused.contains("too many requests"), "{issued}: {refused}");
    assert_eq!(plane.bounded("certificates_of_client"), 1);
    for _ in 0..3 {
        plane.certificate(&laptop.ztunnel()?, None).await.context("a ztunnel's budget is its own")?;
    }
    Ok(())
}

/// What a ztunnel says of itself.
fn proxy() -> Proxy {
    let id = "ztunnel~10.0.0.1~ztunnel.istio-system~istio-system.svc".to_owned();
    let metadata = [("NAMESPACE", "istio-system"), ("SERVICE_ACCOUNT", "ztunnel"), ("NODE_NAME", "laptop")];
    let fields = metadata.into_iter().map(|(key, value)| {
        let kind = Some(prost_types::value::Kind::StringValue(value.to_owned()));
        (key.to_owned(), prost_types::Value { kind })
    });
    let metadata = Some(prost_types::Struct { fields: fields.collect() });
    Proxy { id, metadata, ..Proxy::default() }
}

/// The prefix of a message of this length.
fn announcing(bytes: u32) -> Bytes {
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(bytes);
    prefix.freeze()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_ztunnel_may_send_a_very_long_request() -> anyhow::Result<()> {
    const LONG: u32 = 60 << 20;
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let (ztunnel, other) = (laptop.ztunnel()?, token(&laptop.state(), "other", Some("laptop"), 3600)?);
    let connection = Http2::connect(&plane).await?;
    for _ in 0..4 {
        let status = connection.call(STREAM, Some(&other), vec![announcing(LONG)]).await?;
        assert_eq!(status, RESOURCE_EXHAUSTED);
    }
    // The resources of a long-lived client in a large mesh.
    let held = (0..150_000)
        .map(|n| (format!("Kubernetes//Pod/a-namespace/{n:0>100}"), "0123456789abcdef".to_owned()));
    let first = DeltaDiscoveryRequest {
        node: Some(proxy()),
        type_url: proto::type_url::ADDRESS.to_owned(),
        initial_resource_versions: held.collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let length = u32::try_from(first.encoded_len())?;
    assert!(length > 20 << 20, "{length}");
    let mut data = BytesMut::from(&announcing(length)[..]);
    first.encode(&mut data)?;
    let request = Request::post(format!("https://localhost{STREAM}"))
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {ztunnel}"));
    let (answer, mut requests) =
        connection.calls.clone().ready().await?.send_request(request.body(())?, false)?;
    requests.send_data(data.freeze(), false)?;
    let mut answer = answer.await?.into_body();
    let received = timeout(LIMIT, answer.data()).await.context("no answer")?;
    assert!(!received.context("the stream ended")??.is_empty());
    Ok(())
}
