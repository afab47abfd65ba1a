//! A collector of access logs and spans: it keeps what it is sent, by gRPC or by requests of HTTP.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What came: the path that it was sent to, and a message.
type Kept = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A collector, which takes whatever comes.
#[derive(Clone)]
pub struct Collector {
    pub port: u16,
    kept: Kept,
}

/// Where spans are sent by gRPC.
pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A span, as far as tests look at it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Who made it.
    pub service: String,
    pub name: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub tags: BTreeMap<String, String>,
}

impl Collector {
    pub async fn start() -> anyhow::Result<Self> {
        Self::at("127.0.0.1:0").await
    }

    /// Starts one at an address.
    pub async fn at(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let own = Self { port: listener.local_addr()?.port(), kept: Kept::default() };
        let kept = own.kept.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let take = service_fn(move |request| take(kept.clone(), request));
                tokio::spawn(async move {
                    let connection = auto::Builder::new(TokioExecutor::new());
                    connection.serve_connection(TokioIo::new(stream), take).await.map_err(drop)
                });
            }
        });
        Ok(own)
    }

    /// Returns what was sent to a path.
    pub fn sent(&self, path: &str) -> Vec<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|(of, _)| of == path).map(|(_, message)| message.clone()).collect()
    }

    /// Tells whether something that was sent to a path has this text in it.
    pub fn has(&self, path: &str, text: &str) -> bool {
        self.sent(path).iter().any(|sent| sent.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// Returns the spans of OpenTelemetry that were sent to a path.
    pub fn spans(&self, path: &str) -> Vec<Seen> {
        let mut seen = Vec::new();
        for message in self.sent(path) {
            let request = Export::decode(message).expect("spans");
            for of in request.resources {
                let service = of.resource.unwrap_or_default().attributes.into_iter().map(KeyValue::pair);
                let service = service.into_iter().find(|(key, _)| key == "service.name");
                let service = service.map(|(_, name)| name).unwrap_or_default();
                for span in of.scopes.into_iter().flat_map(|scope| scope.spans) {
                    seen.push(Seen {
                        service: service.clone(),
                        name: span.name,
                        trace: span.trace_id,
                        id: span.span_id,
                        parent: span.parent_span_id,
                        tags: span.attributes.into_iter().map(KeyValue::pair).collect(),
                    });
                }
            }
        }
        seen
    }
}

/// Keeps each message as it comes: a stream of logs may never end.
async fn take(kept: Kept, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|of| of.as_bytes().starts_with(b"application/grpc"));
    let keep =
        |message: Bytes| kept.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), message));
    let (mut body, mut rest) = (request.into_body(), Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        rest.extend(frame.into_data().unwrap_or_default());
        while is_grpc && rest.len() >= 5 {
            let size = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
            if rest.len() < 5 + size {
                break;
            }
            keep(Bytes::copy_from_slice(&rest[5..5 + size]));
            rest.drain(..5 + size);
        }
    }
    if !is_grpc {
        keep(Bytes::from(rest));
        return Ok(Response::new(Full::default()));
    }
    // An answer without a message: the status is in its headers.
    let mut response = Response::new(Full::default());
    let status = HeaderMap::from_iter([
        (hyper::header::CONTENT_TYPE, "application/grpc".parse().unwrap()),
        (hyper::header::HeaderName::from_static("grpc-status"), "0".parse().unwrap()),
    ]);
    response.headers_mut().extend(status);
    Ok(response)
}

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    text: String,
}

impl KeyValue {
    fn pair(self) -> (String, String) {
        (self.key, self.value.unwrap_or_default().text)
    }
}
