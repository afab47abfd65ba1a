//! Peers of a waypoint: who calls it by HBONE, and the workload behind it that takes HBONE.

use super::proxy::LIMIT;
use anyhow::{Context, bail};
use ca::Certificate;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilothouse_tests::certificates::NewCertificate;
use pilothouse_tests::spiffe::AnyName;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The identity in the certificate of a peer.
fn identity(certificates: Option<&[CertificateDer<'_>]>) -> anyhow::Result<String> {
    let leaf = certificates.and_then(<[_]>::first).context("the peer shows no certificate")?;
    Ok(Certificate::from_der(leaf)?.identity()?.to_string())
}

/// A connection through a waypoint, for requests.
pub struct Call {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// That to the waypoint, which may have more tunnels.
    hbone: http2::SendRequest<Empty<Bytes>>,
    /// Who the waypoint is, by its certificate.
    pub waypoint: String,
    /// Whether the last answer says that no other follows on this connection.
    pub is_last: bool,
}

impl Call {
    /// Connects with a certificate to a waypoint, and through it to an address.
    pub async fn open(with: &NewCertificate, waypoint: SocketAddr, to: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(waypoint).await?;
        let stream = connector(with)?.connect(ServerName::try_from("waypoint")?, stream).await?;
        let waypoint = identity(stream.get_ref().1.peer_certificates())?;
        let (hbone, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Self::within(hbone, waypoint, to).await
    }

    /// Returns who answers TLS on a connection, by its certificate.
    pub async fn server<S>(with: &NewCertificate, stream: S) -> anyhow::Result<String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = connector(with)?.connect(ServerName::try_from("server")?, stream).await?;
        identity(stream.get_ref().1.peer_certificates())
    }

    /// Connects to an address over the connection to the waypoint that this one has.
    pub async fn beside(&self, to: &str) -> anyhow::Result<Self> {
        Self::within(self.hbone.clone(), self.waypoint.clone(), to).await
    }

    async fn within(
        mut hbone: http2::SendRequest<Empty<Bytes>>,
        waypoint: String,
        to: &str,
    ) -> anyhow::Result<Self> {
        let request = Request::builder().method(Method::CONNECT).uri(to).body(Empty::<Bytes>::new())?;
        let response = hbone.send_request(request).await?;
        if response.status() != StatusCode::OK {
            bail!("CONNECT {to}: {}", response.status());
        }
        let stream = TokioIo::new(hyper::upgrade::on(response).await?).into_inner();
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, hbone, waypoint, is_last: false })
    }

    /// Asks a host for a path, and returns the status and the text of the answer.
    pub async fn ask(&mut self, host: &str, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let request = Request::get(path).header("host", host).body(Empty::new())?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::time::timeout(LIMIT, answer).await?
    }

    /// Sends a request, and returns what the workload says of it.
    pub async fn get(&mut self) -> anyhow::Result<Value> {
        let request = Request::get("/").header("host", "web").body(Empty::new())?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            self.is_last = response.headers().get("connection").is_some_and(|value| value == "close");
            let body = response.into_body().collect().await?.to_bytes();
            if status != StatusCode::OK {
                bail!("{status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::time::timeout(LIMIT, answer).await?
    }
}

/// What a client with a certificate speaks TLS with.
fn connector(with: &NewCertificate) -> anyhow::Result<TlsConnector> {
    let (chain, key, roots) = with.tls()?;
    let provider = Arc::new(default_provider());
    let mut tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName::new(roots, provider)?))
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// Listens at an address also while a waypoint of another test has the port at every address.
pub fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(at)?;
    socket.listen(64)
}

/// A workload that takes HBONE, until it is dropped: at port 3306 it says hello and sends back what comes, at any other it
/// answers requests with who called and what for.
pub struct Workload {
    acceptor: Arc<Mutex<TlsAcceptor>>,
    _accepting: JoinSet<()>,
}

impl Workload {
    /// Listens with a certificate. Envoy may have the port at all addresses: both share it.
    pub fn start(at: SocketAddr, with: &NewCertificate) -> anyhow::Result<Self> {
        Self::listen(at, with, false)
    }

    /// As [`Self::start`], for one that sends what is in it on to where it is for.
    pub fn forward(at: SocketAddr, with: &NewCertificate) -> anyhow::Result<Self> {
        Self::listen(at, with, true)
    }

    /// As [`Self::start`], where it listens already.
    pub fn at(listener: TcpListener, with: &NewCertificate) -> anyhow::Result<Self> {
        Self::serve(listener, with, Then::Answer)
    }

    fn listen(at: SocketAddr, with: &NewCertificate, forwards: bool) -> anyhow::Result<Self> {
        Self::serve(listen(at)?, with, if forwards { Then::Forward } else { Then::Answer })
    }

    fn serve(listener: TcpListener, with: &NewCertificate, then: Then) -> anyhow::Result<Self> {
        let shown = Arc::new(Mutex::new(acceptor(with)?));
        let acceptor = Arc::clone(&shown);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(serve(stream, acceptor, then.clone()));
            }
        });
        Ok(Self { acceptor: shown, _accepting: accepting })
    }

    /// Shows another certificate to whoever connects from now on.
    pub fn renew(&self, with: &NewCertificate) -> anyhow::Result<()> {
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor(with)?;
        Ok(())
    }
}

/// A gateway between networks: it takes HBONE, and sends what is in it on to one address, whatever it is for.
pub struct Gateway {
    listener: Workload,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// What a gateway saw of a CONNECT.
#[derive(Clone, Debug)]
pub struct Seen {
    pub peer: String,
    pub to: String,
    pub headers: BTreeMap<String, String>,
}

impl Gateway {
    /// Starts one where it listens already.
    pub fn at(listener: TcpListener, with: &NewCertificate, behind: SocketAddr) -> anyhow::Result<Self> {
        let seen = Arc::default();
        let listener = Workload::serve(listener, with, Then::Lead(behind, Arc::clone(&seen)))?;
        Ok(Self { listener, seen })
    }

    /// The last CONNECT that came.
    pub fn last(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows another certificate to whoever connects from now on.
    pub fn renew(&self, with: &NewCertificate) -> anyhow::Result<()> {
        self.listener.renew(with)
    }
}

/// What becomes of what is within a CONNECT.
#[derive(Clone)]
enum Then {
    /// Its requests are answered.
    Answer,
    /// It is sent on to where the CONNECT is to.
    Forward,
    /// It is sent on to an address, and the CONNECT is noted.
    Lead(SocketAddr, Arc<Mutex<Option<Seen>>>),
}

fn acceptor(with: &NewCertificate) -> anyhow::Result<TlsAcceptor> {
    let (chain, key, roots) = with.tls()?;
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, then: Then) -> anyhow::Result<()> {
    let stream = acceptor.accept(stream).await?;
    let peer = identity(stream.get_ref().1.peer_certificates())?;
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let (peer, then) = (peer.clone(), then.clone());
        async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            if request.method() != Method::CONNECT {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                return Ok::<_, Infallible>(response);
            }
            let to = request.uri().to_string();
            let upgrade = hyper::upgrade::on(&mut request);
            if let Then::Lead(_, seen) = &then {
                let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
                let connect = Seen { peer: peer.clone(), to: to.clone(), headers: headers.collect() };
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(connect);
            }
            tokio::spawn(async move {
                let to = match then {
                    Then::Answer => return inner(upgrade.await?, peer, to).await,
                    Then::Forward => to,
                    Then::Lead(behind, _) => behind.to_string(),
                };
                let mut stream = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(upgrade.await?), &mut stream).await?;
                anyhow::Ok(())
            });
            Ok(response)
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    Ok(connection.serve_connection(TokioIo::new(stream), answer).await?)
}

/// Answers what is within a CONNECT.
async fn inner(stream: Upgraded, peer: String, to: String) -> anyhow::Result<()> {
    if to.ends_with(":3306") {
        let mut stream = TokioIo::new(stream);
        stream.write_all(b"hello").await?;
        let (mut from, mut back) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut back).await?;
        return Ok(());
    }
    let answer = service_fn(move |request: Request<Incoming>| {
        let body = json!({"peer": peer, "to": to, "path": request.uri().path()}).to_string();
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))) }
    });
    Ok(hyper::server::conn::http1::Builder::new().serve_connection(stream, answer).await?)
}

/// Gets a page in plaintext, as JSON if it is such.
pub async fn page(address: &str, path: &str) -> anyhow::Result<(StatusCode, Value)> {
    let (status, body) = body(address, path).await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Asks for a page of text.
pub async fn text(address: &str, path: &str) -> anyhow::Result<String> {
    let (_, body) = body(address, path).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

async fn body(address: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let answer = async {
        let (mut sender, connection) =
            http1::handshake::<_, Empty<Bytes>>(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(connection);
        let response =
            sender.send_request(Request::get(path).header("host", "localhost").body(Empty::new())?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::time::timeout(LIMIT, answer).await?
}
