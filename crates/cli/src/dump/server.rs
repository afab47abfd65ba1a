//! Asks a control plane over xDS, as a ztunnel that follows everything does.

use super::resources::{Collector, Resources};
use crate::grpc::deepest;
use anyhow::{anyhow, bail};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};
use proto::type_url;
use std::error::Error;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// The largest response that is decoded, in bytes; a ztunnel decodes as much.
const RESPONSE_LIMIT: usize = 200 * 1024 * 1024;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the server may take for its next response.
const ANSWER: Duration = Duration::from_secs(30);
/// Flow control windows of a stream and of the connection, in bytes: a whole mesh flows without pauses.
const WINDOWS: (u32, u32) = (4 << 20, 8 << 20);
/// Policies first: a workload is judged by policies that are known.
const TYPES: [&str; 2] = [type_url::AUTHORIZATION, type_url::ADDRESS];

/// Returns all resources that the control plane at `host:port` serves.
///
/// # Errors
/// When it cannot be reached, is not ready, or does not speak xDS: one sentence with the way out.
pub async fn resources(server: &str) -> anyhow::Result<Resources> {
    let channel = connect(server).await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(RESPONSE_LIMIT);
    grpc.ready().await.map_err(|error| unreached(server, &error))?;
    let requests = tokio_stream::iter(TYPES.map(request)).chain(tokio_stream::pending());
    let path = PathAndQuery::from_static(proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
    let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let opened = in_time(server, grpc.streaming(Request::new(requests), path, codec)).await?;
    let mut responses = opened.map_err(|status| refused(server, &status))?.into_inner();

    let mut collector = Collector::default();
    let mut missing = TYPES.to_vec();
    while !missing.is_empty() {
        let message = in_time(server, responses.message()).await?;
        match message.map_err(|status| broken(server, &status))? {
            Some(response) => {
                take(&mut collector, &response)?;
                missing.retain(|url| *url != response.type_url);
            }
            None => bail!("the control plane at {server} is stopping; ask again once it is back"),
        }
    }
    Ok(collector.finish())
}

/// The first response of a type holds all of it; a later one what has changed meanwhile.
fn take(collector: &mut Collector, response: &DeltaDiscoveryResponse) -> anyhow::Result<()> {
    for bytes in &response.resources {
        let resource = Resource::decode(bytes.clone())
            .map_err(|error| anyhow!("a resource of type {} cannot be read: {error}", response.type_url))?;
        let body = resource.resource.map(|any| any.value).unwrap_or_default();
        collector.put(&response.type_url, &resource.name, &body)?;
    }
    for name in &response.removed_resources {
        collector.remove(&response.type_url, name);
    }
    Ok(())
}

fn request(type_url: &str) -> DeltaDiscoveryRequest {
    let id = "ztunnel~127.0.0.1~pilothouse-dump.istio-system~istio-system.svc.cluster.local";
    DeltaDiscoveryRequest {
        node: Some(Node { id: id.to_owned(), ..Node::default() }),
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

async fn connect(server: &str) -> anyhow::Result<Channel> {
    let malformed = || anyhow!("{server:?} is no address of a control plane: write --server host:port");
    // A name without a port is a URI too, and would lead to port 80.
    let (host, port) = server.rsplit_once(':').ok_or_else(malformed)?;
    if host.is_empty() || port.parse::<u16>().is_err() || host.contains('/') {
        return Err(malformed());
    }
    Endpoint::from_shared(format!("http://{server}"))
        .map_err(|_| malformed())?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .connect()
        .await
        .map_err(|error| unreached(server, &error))
}

async fn in_time<T>(server: &str, answer: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER, answer).await.map_err(|_| {
        let limit = ANSWER.as_secs();
        anyhow!(
            "the control plane at {server} has said nothing for {limit} s; check that this is its xDS address"
        )
    })
}

fn unreached(server: &str, error: &dyn Error) -> anyhow::Error {
    let cause = deepest(error);
    anyhow!(
        "cannot reach a control plane at {server}: {cause}; start one by `pilothouse serve`, \
         name its plaintext xDS address by --server, or read a folder by --from"
    )
}

/// Tells why the server, or what stands in its place, refused the call.
fn refused(server: &str, status: &Status) -> anyhow::Error {
    let message = status.message();
    match (status.code(), status.source()) {
        (_, Some(source)) => anyhow!(
            "what listens at {server} does not speak xDS: {}; \
             name the plaintext xDS address of a control plane by --server",
            deepest(source)
        ),
        (Code::Unavailable, None) => anyhow!(
            "the control plane at {server} serves nothing yet: {message}; try again once its /ready answers 200"
        ),
        (Code::Unimplemented, None) => anyhow!(
            "what listens at {server} serves no incremental discovery; \
             name the plaintext xDS address of a control plane by --server"
        ),
        (Code::Unauthenticated | Code::PermissionDenied, None) => anyhow!(
            "the control plane at {server} wants to know who asks: {message}; name its plaintext xDS address by --server"
        ),
        (code, None) => {
            anyhow!(
                "the control plane at {server} refuses to answer: {message} ({code:?}); its log tells more"
            )
        }
    }
}

/// Tells why a stream that was open has ended.
fn broken(server: &str, status: &Status) -> anyhow::Error {
    let cause = status.source().map_or_else(|| status.message().to_owned(), deepest);
    match status.code() {
        // What an HTTP server says that knows nothing of gRPC.
        Code::Unimplemented => refused(server, status),
        Code::OutOfRange | Code::ResourceExhausted => anyhow!(
            "the mesh at {server} is larger than the {} MiB of one response that a client takes: {cause}",
            RESPONSE_LIMIT >> 20
        ),
        _ => anyhow!("the control plane at {server} broke off: {cause}; ask again once it is back"),
    }
}
