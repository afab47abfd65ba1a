//! A client that runs in pods. What it prints of an answer is a line of JSON, or, called as `client`, what the client of
//! the Gateway API's conformance suite prints: lines of fields, and an empty one after each answer.

use anyhow::{Context, bail};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What is asked, and how often.
#[derive(Clone, Debug, Args)]
pub struct Call {
    /// Where, as `http://HOST[:PORT]/PATH`; `https://` in TLS, `grpc://` for a call of gRPC
    url: Uri,
    /// Whose certificates are believed in TLS: a file, PEM
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// A header, as `name: value`
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: Method,
    /// Speak HTTP/2
    #[arg(long)]
    http2: bool,
    /// How many times, each on a connection of its own
    #[arg(long, default_value = "1")]
    count: u32,
    /// How long one may take, in seconds
    #[arg(long, default_value = "10")]
    timeout: u64,
    /// Print fields
    #[arg(long, hide = true)]
    pub fields: bool,
}

/// A connection, in TLS or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The method that is called where gRPC is spoken.
const GRPC_METHOD: &str = "/proto.EchoTestService/Echo";
/// A message without fields, framed.
const GRPC_MESSAGE: &[u8] = &[0; 5];

impl Call {
    /// Asks, and prints each answer; tells whether each had one.
    ///
    /// # Errors
    /// Never for what is answered, or not.
    pub async fn run(&self) -> anyhow::Result<bool> {
        let mut are_answered = true;
        for number in 0..self.count {
            let limit = Duration::from_secs(self.timeout);
            let answer = match tokio::time::timeout(limit, self.ask()).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => json!({ "error": format!("{error:#}") }),
                Err(_) => json!({ "error": format!("no answer within {} s", self.timeout) }),
            };
            are_answered &= answer["error"].is_null();
            if self.fields {
                println!("{}", fields(number, &self.url, &answer));
            } else {
                println!("{answer}");
            }
        }
        Ok(are_answered)
    }

    async fn ask(&self) -> anyhow::Result<Value> {
        let scheme = self.url.scheme_str().unwrap_or("what has no scheme");
        let (is_grpc, is_tls) = (scheme == "grpc", scheme == "https");
        if !is_grpc && !is_tls && scheme != "http" {
            bail!("{scheme} is not spoken");
        }
        let authority = self.url.authority().context("no host")?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((authority.host(), port)).await;
        let stream = stream.with_context(|| format!("cannot connect to {authority}"))?;
        let io: TokioIo<Box<dyn Stream>> = TokioIo::new(match is_tls {
            true => Box::new(self.secured(authority.host(), stream).await?),
            false => Box::new(stream),
        });
        let response = if self.http2 || is_grpc {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let mut request = self.request(format!("http://{authority}{}", self.path()).parse()?)?;
            if is_grpc {
                *request.method_mut() = Method::POST;
                *request.uri_mut() = format!("http://{authority}{GRPC_METHOD}").parse()?;
                *request.body_mut() = Full::from(GRPC_MESSAGE);
                let headers = request.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
            }
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            let mut request = self.request(self.path().parse()?)?;
            request.headers_mut().entry(HOST).or_insert(HeaderValue::from_str(authority.as_str())?);
            sender.send_request(request).await?
        };
        described(response, is_grpc).await
    }

    async fn secured(&self, host: &str, stream: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
        let file = self.cacert.as_ref().context("whose certificates are believed? (--cacert FILE)")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).with_context(|| file.display().to_string())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        stream.with_context(|| format!("TLS with {host}"))
    }

    fn path(&self) -> &str {
        self.url.path_and_query().map_or("/", |path| path.as_str())
    }

    fn request(&self, uri: Uri) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method.clone()).uri(uri).body(Full::default())?;
        for header in &self.headers {
            let (name, value) = header.split_once(':').context("a header is written as `name: value`")?;
            let name: HeaderName = name.trim().parse()?;
            request.headers_mut().append(name, HeaderValue::from_str(value.trim())?);
        }
        Ok(request)
    }
}

async fn described(response: Response<Incoming>, is_grpc: bool) -> anyhow::Result<Value> {
    let (head, body) = response.into_parts();
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = body.collect().await?;
    let status =
        |name: &str| body.trailers().and_then(|all| all.get(name)).or_else(|| head.headers.get(name));
    if is_grpc && status("grpc-status").is_none_or(|status| status != "0") {
        bail!("gRPC: {:?} {:?}", status("grpc-status"), status("grpc-message"));
    }
    let body = body.to_bytes();
    let body = if is_grpc { grpc_text(&body).unwrap_or_default() } else { &body };
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
    Ok(json!({ "status": head.status.as_u16(), "headers": headers, "body": body }))
}

/// The text in the first field of a message, framed.
fn grpc_text(bytes: &[u8]) -> Option<&[u8]> {
    const TEXT: u8 = 10;
    let (first, mut rest) = bytes.get(5..)?.split_first()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        (shift, rest) = (shift + 7, after);
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.get(..length).filter(|_| *first == TEXT)
}

/// An answer as lines of fields.
fn fields(number: u32, url: &Uri, answer: &Value) -> String {
    let mut lines = vec![format!("[{number}] Url={url}")];
    if let Some(error) = answer["error"].as_str() {
        lines.push(format!("[{number}] Error {error}"));
    }
    if let Some(status) = answer["status"].as_u64() {
        lines.push(format!("[{number}] StatusCode={status}"));
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        lines.push(format!("[{number}] ResponseHeader={name}:{}", text(value)));
    }
    let body = &answer["body"];
    let known = [
        ("Hostname", "pod_name"),
        ("Host", "host"),
        ("Method", "method"),
        ("Proto", "protocol"),
        ("URL", "path"),
        ("IP", "peer"),
    ];
    for (field, name) in known.iter().filter(|(_, name)| !body[name].is_null()) {
        lines.push(format!("[{number} body] {field}={}", text(&body[name])));
    }
    for (name, values) in body["headers"].as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            lines.push(format!("[{number} body] RequestHeader={name}:{}", text(value)));
        }
    }
    lines.join("\n") + "\n"
}
