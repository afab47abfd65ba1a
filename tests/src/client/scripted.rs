//! A control plane whose every answer a test writes: to try clients, not servers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// A server in clear text on a loopback port; dropping it ends it with its streams.
pub struct ScriptedServer {
    /// Where it listens.
    pub address: SocketAddr,
    streams: Mutex<mpsc::UnboundedReceiver<ScriptedStream>>,
    task: tokio::task::JoinHandle<()>,
}

/// One stream as the server sees it.
pub struct ScriptedStream {
    /// The metadata of the call.
    pub metadata: MetadataMap,
    /// The client's requests.
    pub requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>,
}

impl ScriptedServer {
    /// Starts a server that takes every stream.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts a server that refuses every stream with this status.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn refusing(status: Status) -> std::io::Result<Self> {
        Self::start_with(Some(status)).await
    }

    async fn start_with(refusal: Option<Status>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (accepted, streams) = mpsc::unbounded_channel();
        let service = Service { accepted, refusal };
        let incoming = TcpListenerStream::new(listener);
        let task = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            // ends with the task: there is nobody to tell
            let _ = server.serve_with_incoming(incoming).await;
        });
        Ok(Self { address, streams: Mutex::new(streams), task })
    }

    /// The next stream that a client opens; none once the server ended.
    pub async fn accept(&self) -> Option<ScriptedStream> {
        self.streams.lock().await.recv().await
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedStream {
    /// The client's next request; none after its end of the stream.
    ///
    /// # Errors
    /// If the stream broke.
    pub async fn request(&mut self) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        self.requests.message().await
    }

    /// Sends a response; a client that is gone does not matter.
    pub fn respond(&self, response: DeltaDiscoveryResponse) {
        let _ = self.responses.send(Ok(response));
    }

    /// Ends the stream with an error.
    pub fn fail(self, status: Status) {
        let _ = self.responses.send(Err(status));
    }
}

#[derive(Clone)]
struct Service {
    accepted: mpsc::UnboundedSender<ScriptedStream>,
    refusal: Option<Status>,
}

impl NamedService for Service {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
            Ok(Grpc::new(codec).streaming(service, request).await)
        })
    }
}

impl StreamingService<DeltaDiscoveryRequest> for Service {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = UnboundedReceiverStream<Result<DeltaDiscoveryResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let Self { accepted, refusal } = self.clone();
        Box::pin(async move {
            if let Some(status) = refusal {
                return Err(status);
            }
            let metadata = request.metadata().clone();
            let (responses, outbound) = mpsc::unbounded_channel();
            let stream = ScriptedStream { metadata, requests: request.into_inner(), responses };
            accepted.send(stream).map_err(|_| Status::unavailable("nobody accepts streams"))?;
            Ok(Response::new(UnboundedReceiverStream::new(outbound)))
        })
    }
}
