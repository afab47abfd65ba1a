//! A server that tells what reached it: whatever is spoken at a port, by its first bytes.
//!
//! HTTP/1.1, HTTP/2 (in clear text too) and gRPC are answered with what was asked and by whom, a WebSocket and plain TCP
//! with what they send, and TLS with a certificate of nobody, and then as above. Some paths ask for another answer:
//! `/status/503` for a status, `/delay/250` for one after so many milliseconds, `/flaky/2` for a failure of every
//! request but each third.

mod tls;
mod websocket;

use anyhow::{Context, ensure};
use futures::future;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What begins a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2";
/// The first byte of TLS.
const HANDSHAKE: u8 = 22;
/// The port at which nothing else is answered by who has a certificate of its own.
const HTTPS: u16 = 443;

type Body = BoxBody<Bytes, Infallible>;

/// The server of a pod.
pub struct Echo {
    tls: TlsAcceptor,
    has_certificate: bool,
    /// What it says of itself.
    about: Map<String, Value>,
    requests: AtomicU64,
}

/// A connection as a request sees it.
#[derive(Clone, Copy)]
struct Connection {
    peer: SocketAddr,
    port: u16,
    is_tls: bool,
}

impl Echo {
    /// Makes one that says of itself what the variables of the environment say, and shows the certificate of files (of it,
    /// and of its key), or else one of nobody.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub fn new(certificate: Option<(&Path, &Path)>) -> anyhow::Result<Arc<Self>> {
        let names = ["POD_NAME", "POD_NAMESPACE", "POD_IP", "CONTAINER"];
        let mut about: Map<String, Value> = names
            .iter()
            .map(|name| (name.to_owned().to_lowercase(), std::env::var(name).unwrap_or_default().into()))
            .collect();
        about.insert("pid".to_owned(), std::process::id().into());
        Ok(Arc::new(Self {
            tls: tls::acceptor(certificate)?,
            has_certificate: certificate.is_some(),
            about,
            requests: AtomicU64::new(0),
        }))
    }

    /// Serves ports until one fails.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn serve(self: &Arc<Self>, ports: &[u16]) -> anyhow::Result<()> {
        if ports.is_empty() {
            return future::pending().await;
        }
        let all = ports.iter().map(|&port| async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
            let listener = listener.with_context(|| format!("port {port}"))?;
            println!("listening at port {port}");
            self.accept(listener).await
        });
        future::try_join_all(all).await.map(|_: Vec<Infallible>| ())
    }

    /// Serves a port until it fails.
    ///
    /// # Errors
    /// When it fails.
    pub async fn accept(self: &Arc<Self>, listener: TcpListener) -> anyhow::Result<Infallible> {
        let port = listener.local_addr()?.port();
        loop {
            let (stream, peer) = listener.accept().await?;
            let echo = Arc::clone(self);
            tokio::spawn(async move {
                // Who broke it knows.
                let _ = echo.connection(stream, Connection { peer, port, is_tls: false }).await;
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, of: Connection) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut first = [0; PREFACE.len()];
        let read = stream.peek(&mut first).await?;
        let first = first.get(..read).unwrap_or_default();
        if first.first() == Some(&HANDSHAKE) {
            let stream = self.tls.accept(stream).await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return self.http(stream, is_http2, Connection { is_tls: true, ..of }).await;
        }
        ensure!(!(self.has_certificate && of.port == HTTPS), "no TLS");
        // A method of HTTP is written in capitals.
        if first.iter().take(3).all(u8::is_ascii_uppercase) && !first.is_empty() {
            return self.http(stream, PREFACE.starts_with(first), of).await;
        }
        let (mut read, mut write) = split(stream);
        copy(&mut read, &mut write).await?;
        Ok(())
    }

    async fn http(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
        of: Connection,
    ) -> anyhow::Result<()> {
        let io = TokioIo::new(stream);
        let service = service_fn(move |request| {
            let echo = Arc::clone(&self);
            async move { Ok::<_, Infallible>(echo.answer(request, of).await) }
        });
        if is_http2 {
            http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await?;
        } else {
            let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service);
            connection.with_upgrades().await?;
        }
        Ok(())
    }

    async fn answer(&self, mut request: Request<Incoming>, of: Connection) -> Response<Body> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{} {} from {}", request.method(), request.uri(), of.peer);
        if let Some(response) = websocket::upgrade(&mut request) {
            return response.map(|body| body.boxed());
        }
        let about = self.request(&request, of, number);
        if is_grpc(request.headers()) {
            return grpc(&about.to_string());
        }
        let path = request.uri().path().to_owned();
        let asked = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(pause) = asked("/delay/") {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let status = match (asked("/status/"), asked("/flaky/")) {
            (Some(status), _) => {
                u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
            }
            (None, Some(failures)) if !number.is_multiple_of(failures + 1) => {
                Some(StatusCode::SERVICE_UNAVAILABLE)
            }
            _ => None,
        };
        let mut response = Response::new(Full::new(Bytes::from(about.to_string())).boxed());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// What is told of a request.
    fn request(&self, request: &Request<Incoming>, of: Connection, number: u64) -> Value {
        let mut about = self.about.clone();
        let mut headers = Map::new();
        for (name, value) in request.headers() {
            let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
            if let Some(values) = values.as_array_mut() {
                values.push(String::from_utf8_lossy(value.as_bytes()).into());
            }
        }
        let uri = request.uri();
        let host = uri.authority().map(ToString::to_string).or_else(|| {
            request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        });
        let protocol = match request.version() {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        about.extend([
            ("requests".to_owned(), number.into()),
            ("method".to_owned(), request.method().as_str().into()),
            ("path".to_owned(), uri.path_and_query().map_or("/", |path| path.as_str()).into()),
            ("host".to_owned(), host.into()),
            ("protocol".to_owned(), protocol.into()),
            ("tls".to_owned(), of.is_tls.into()),
            ("port".to_owned(), of.port.into()),
            ("peer".to_owned(), of.peer.ip().to_string().into()),
            ("headers".to_owned(), headers.into()),
        ]);
        about.into()
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a call of gRPC with a message whose first field is a text.
fn grpc(text: &str) -> Response<Body> {
    const TEXT: u8 = 10;
    let (mut message, mut length) = (vec![TEXT], text.len());
    while length > 0x7f {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend(text.as_bytes());
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    data.extend(message);
    let name = http::HeaderName::from_static("grpc-status");
    let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static("0"))]);
    let frames = [Frame::data(Bytes::from(data)), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
