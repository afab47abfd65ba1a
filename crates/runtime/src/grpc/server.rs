//! HTTP/2 connections and the calls on them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Ads;
use super::bounds::{Bound, Bounds, Refusals};
use super::ca::create_certificate;
use super::guard::StreamGuard;
use super::message::Status;
use super::reading::Reading;
use crate::identity::{Connection, Gate, client_identity};
use crate::tally::Tally;

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
/// Pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Streams that a client resets before they are taken: more end the connection.
const MAX_PENDING_RESETS: usize = 32;
/// Streams that are reset for errors of the client: more end the connection.
const MAX_ERROR_RESETS: usize = 256;

/// How long a client may take for what keeps a place occupied.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first call of a connection.
    pub first_call: Duration,
    /// How long it may be silent before it is asked for a sign of life.
    pub silence: Duration,
    /// For that sign.
    pub sign_of_life: Duration,
    /// For reading a piece of a response.
    pub reading: Duration,
    /// For the end of its calls, when the server stops.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(10),
            reading: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The gRPC services of one port.
#[derive(Clone)]
pub struct Service {
    ads: Ads,
    gate: Option<Arc<Gate>>,
    bounds: Bounds,
    patience: Patience,
}

impl Service {
    /// Serves discovery to anybody.
    pub fn new(ads: Ads) -> Self {
        Self { ads, gate: None, bounds: Bounds::default(), patience: Patience::default() }
    }

    /// Serves discovery and certificates to whom `gate` lets in.
    #[must_use]
    pub fn guarded(self, gate: Arc<Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Lets one client take so much.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Has this patience with clients.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Answers one call; `drain` ends it when it is long-lived.
    pub async fn call<B>(
        &self,
        request: Request<B>,
        from: &Connection,
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
        let (body, headers) = match self.open(request, from, drain).await {
            Ok(body) => (body, None),
            Err(status) => (Empty::new().boxed_unsync(), Some(status.headers())),
        };
        let mut response = Response::new(body);
        response.headers_mut().extend(headers.unwrap_or_default());
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }

    async fn open<B>(
        &self,
        request: Request<B>,
        from: &Connection,
        drain: &CancellationToken,
    ) -> Result<ResponseBody, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &self.gate) {
            (proto::rpc_path::DELTA_AGGREGATED_RESOURCES, gate) => {
                let guard = match gate {
                    Some(gate) => Some(StreamGuard::open(gate, self.refusals(), &head.headers, from).await?),
                    None => None,
                };
                Ok(self.ads.open(body, from.address, drain, guard)?.boxed_unsync())
            }
            (proto::rpc_path::CREATE_CERTIFICATE, Some(gate)) => {
                let message = create_certificate(gate, self.refusals(), &head.headers, body, from).await?;
                let trailers = Status::new(Status::OK, "").headers();
                let end = async move { Some(Ok(trailers)) };
                Ok(Full::new(message).with_trailers(end).boxed_unsync())
            }
            (path, _) => Err(Status::new(Status::UNIMPLEMENTED, format!("no such method: {path}"))),
        }
    }

    /// Serves one connection until it ends; new calls are refused once `drain` is cancelled.
    pub async fn serve_connection<I>(&self, io: I, from: Connection, drain: CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = from.address;
        let patience = self.patience;
        let called = CancellationToken::new();
        let reading = Arc::new(Reading::default());
        let calls = {
            let (service, drain, called) = (self.clone(), drain.clone(), called.clone());
            let reading = Arc::clone(&reading);
            service_fn(move |request: Request<Incoming>| {
                called.cancel();
                let (service, from, drain) = (service.clone(), from.clone(), drain.clone());
                let reading = Arc::clone(&reading);
                async move {
                    let response = service.call(request, &from, &drain).await;
                    Ok::<_, Infallible>(response.map(|body| reading.watch(body)))
                }
            })
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(patience.silence)
            .keep_alive_timeout(patience.sign_of_life)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .serve_connection(TokioIo::new(io), calls);
        tokio::pin!(connection);
        // The transport asks for signs of life only once it is set up: one that never is must not
        // keep its place.
        let idle = async {
            if timeout(patience.first_call, called.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = idle => return debug!(?peer, "connection made no call"),
            () = reading.stalled(patience.reading) => {
                // Its streams end with it, and with them what they hold of the log.
                self.ads.clients().count_unread();
                let limit = patience.reading.as_secs();
                return info!(?peer, "ended a connection: its client did not read for {limit} s");
            }
            () = drain.cancelled() => {
                // GOAWAY; the streams see the same token and end by themselves.
                connection.as_mut().graceful_shutdown();
                match timeout(patience.drain, connection).await {
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
        self.accept(listener, drain.clone(), |stream, peer| {
            let (service, drain) = (self.clone(), drain.clone());
            let from = Connection { address: Some(peer), certificate: None };
            async move { service.serve_connection(stream, from, drain).await }
        })
        .await
    }

    /// Serves HTTP/2 over TLS on a listener until `drain` is cancelled and the calls have ended.
    ///
    /// # Errors
    /// When the listener itself is lost; a failed accept only pauses.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: TlsAcceptor,
        drain: CancellationToken,
    ) -> io::Result<()> {
        // Half-open ones of one address leave room for others.
        let handshakes = Arc::new(Tally::new(self.bounds.handshakes_of_address));
        self.accept(listener, drain.clone(), |stream, peer| {
            let (service, drain, tls, handshakes) =
                (self.clone(), drain.clone(), tls.clone(), Arc::clone(&handshakes));
            async move {
                let Some(place) = handshakes.take(peer.ip()) else {
                    service.count_handshake("too_many");
                    return service.refusals().add(Bound::HandshakesOfAddress, &peer.ip());
                };
                let stream = match timeout(service.patience.handshake, tls.accept(stream)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        service.count_handshake(if is_revoked(&error) { "revoked" } else { "failed" });
                        return debug!(%peer, %error, "handshake failed");
                    }
                    Err(_) => {
                        service.count_handshake("timed_out");
                        return debug!(%peer, "handshake did not end in time");
                    }
                };
                drop(place);
                service.count_handshake("ok");
                let certificate = client_identity(stream.get_ref().1);
                let from = Connection { address: Some(peer), certificate };
                service.serve_connection(stream, from, drain).await;
            }
        })
        .await
    }

    fn count_handshake(&self, outcome: &'static str) {
        if let Some(gate) = &self.gate {
            gate.stats().handshakes.add(outcome);
        }
    }

    fn refusals(&self) -> &Refusals {
        self.ads.clients().refusals()
    }

    /// Takes connections until `drain` is cancelled, and waits for them to end.
    async fn accept<F, C>(&self, listener: TcpListener, drain: CancellationToken, serve: F) -> io::Result<()>
    where
        F: Fn(TcpStream, SocketAddr) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.bounds.connections));
        let of_address = Tally::new(self.bounds.connections_of_address);
        let connections = TaskTracker::new();
        loop {
            if places.available_permits() == 0 {
                self.refusals().add(Bound::Connections, &"the next of this port");
            }
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
            let Some(own) = of_address.take(peer.ip()) else {
                self.refusals().add(Bound::ConnectionsOfAddress, &peer.ip());
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "cannot switch off delays");
            }
            let connection = serve(stream, peer);
            connections.spawn(async move {
                connection.await;
                drop((place, own));
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

/// Tells whether a handshake failed since the client's certificate is revoked.
fn is_revoked(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked)))
}
