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
const UNAUTHENTICATED: &str = "16";

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
        let (calls, connection) = h2::client::handshake(dial(&target).await?).await?;
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
    Ok(())
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
async fn certificates_of_all_clients_together_are_bounded() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // A burst of four for each client, eighty for all.
    laptop.args.identity.certificates_per_second = 1;
    let plane = Plane::open(&laptop.args).await?;
    let connection = Http2::connect(&plane).await?;
    let mut accepted = 0;
    let last = 'clients: loop {
        let name = format!("client-{accepted}");
        let token = token(&laptop.state(), &name, Some("laptop"), 3600)?;
        for _ in 0..3 {
            match connection.ask(&token).await?.as_str() {
                INVALID_ARGUMENT => accepted += 1,
                refused => break 'clients refused.to_owned(),
            }
        }
    };
    assert!(accepted >= 80, "{accepted} were accepted");
    assert_eq!(last, RESOURCE_EXHAUSTED, "below the limit of one client");
    assert_eq!(plane.bounded("certificates_of_client"), 1);
    Ok(())
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
    let id = "ztunnel~10.0.0.1~ztunnel.istio-system~istio-system.svc".to_owned();
    let metadata = [("NAMESPACE", "istio-system"), ("SERVICE_ACCOUNT", "ztunnel"), ("NODE_NAME", "laptop")];
    let fields = metadata.into_iter().map(|(key, value)| {
        let kind = Some(prost_types::value::Kind::StringValue(value.to_owned()));
        (key.to_owned(), prost_types::Value { kind })
    });
    let metadata = Some(prost_types::Struct { fields: fields.collect() });
    let first = DeltaDiscoveryRequest {
        node: Some(Proxy { id, metadata, ..Proxy::default() }),
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
