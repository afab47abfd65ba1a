//! HTTP/2 connections and the calls on them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Ads;
use super::message::Status;

/// Most connections at once.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// Most calls at once on a connection.
const MAX_STREAMS: u32 = 64;
/// Longest header list, in bytes; a service account token is about 1 KiB.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// What a client may send ahead on one call, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What a client may send ahead on a connection, in bytes.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What the transport takes ahead of a client's reading, in bytes for each call.
const SEND_BUFFER: usize = 256 * 1024;
/// How often a silent client is asked whether it lives, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How long a connection may live without a first call.
const FIRST_CALL: Duration = Duration::from_secs(30);
/// Pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long calls may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The gRPC services of one port.
#[derive(Debug, Clone)]
pub struct Service {
    ads: Ads,
}

impl Service {
    /// Serves discovery.
    pub fn new(ads: Ads) -> Self {
        Self { ads }
    }

    /// Answers one call; `drain` ends it when it is long-lived.
    pub fn call<B>(
        &self,
        request: Request<B>,
        peer: Option<SocketAddr>,
        drain: &CancellationToken,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if request.method() != Method::POST || !grpc {
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let opened = match request.uri().path() {
            proto::rpc_path::DELTA_AGGREGATED_RESOURCES => {
                self.ads.open(request.into_body(), peer, drain).map(BodyExt::boxed_unsync)
            }
            path => Err(Status::new(Status::UNIMPLEMENTED, format!("no such method: {path}"))),
        };
        let (body, headers) = match opened {
            Ok(body) => (body, None),
            Err(status) => (Empty::new().boxed_unsync(), Some(status.headers())),
        };
        let mut response = Response::new(body);
        response.headers_mut().extend(headers.unwrap_or_default());
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }

    /// Serves one connection until it ends; new calls are refused once `drain` is cancelled.
    pub async fn serve_connection<I>(&self, io: I, peer: Option<SocketAddr>, drain: CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let called = CancellationToken::new();
        let calls = {
            let (service, drain, called) = (self.clone(), drain.clone(), called.clone());
            service_fn(move |request: Request<Incoming>| {
                called.cancel();
                let response = service.call(request, peer, &drain);
                async move { Ok::<_, Infallible>(response) }
            })
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(io), calls);
        tokio::pin!(connection);
        // The transport asks for signs of life only once it is set up: one that never is must not
        // keep its place.
        let idle = async {
            if tokio::time::timeout(FIRST_CALL, called.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = idle => return debug!(?peer, "connection made no call"),
            () = drain.cancelled() => {
                // GOAWAY; the streams see the same token and end by themselves.
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return debug!(?peer, "connection did not end in time"),
                }
            }
        };
        if let Err(error) = ended {
            debug!(?peer, %error, "connection broke");
        }
    }

    /// Serves plaintext HTTP/2 on a listener until `drain` is cancelled and the calls have ended.
    ///
    /// # Errors
    /// When the listener itself is lost; a failed accept only pauses.
    pub async fn serve(&self, listener: TcpListener, drain: CancellationToken) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "cannot switch off delays");
            }
            let (service, drain) = (self.clone(), drain.clone());
            connections.spawn(async move {
                service.serve_connection(stream, Some(peer), drain).await;
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }
}
