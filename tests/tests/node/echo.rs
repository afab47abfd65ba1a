//! The server that runs in pods, by each protocol.

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilothouse_node::echo::Echo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (at, echo) = (listener.local_addr()?, Echo::new(None)?);
    tokio::spawn(async move { echo.accept(listener).await });
    Ok(at)
}

fn request(path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    Ok(Request::get(format!("http://echo.test{path}")).header("host", "echo.test").body(Full::default())?)
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> anyhow::Result<Value> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = sender.send_request(request("/one?two")?).await?.into_body().collect().await?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> anyhow::Result<http2::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

#[tokio::test]
async fn http_is_answered_with_what_was_asked() -> anyhow::Result<()> {
    let at = start().await?;
    let one = http1(TcpStream::connect(at).await?).await?;
    let of = |answer: &Value| (answer["protocol"].clone(), answer["tls"].clone(), answer["requests"].clone());
    assert_eq!(of(&one), ("HTTP/1.1".into(), false.into(), 1.into()));
    assert_eq!((&one["path"], &one["peer"]), (&"/one?two".into(), &"127.0.0.1".into()));
    let mut two = http2(TcpStream::connect(at).await?).await?;
    let body = two.send_request(request("/")?).await?.into_body().collect().await?.to_bytes();
    assert_eq!(of(&serde_json::from_slice(&body)?), ("HTTP/2".into(), false.into(), 2.into()));
    let failures = ["/status/503", "/flaky/1", "/flaky/1"];
    let mut statuses = Vec::new();
    for path in failures {
        statuses.push(two.send_request(request(path)?).await?.status().as_u16());
    }
    assert_eq!(statuses, [503, 200, 503]);
    Ok(())
}

#[tokio::test]
async fn grpc_is_answered_with_what_was_asked_and_a_status() -> anyhow::Result<()> {
    let mut sender = http2(TcpStream::connect(start().await?).await?).await?;
    let call =
        Request::post("http://echo.test/any.Service/Method").header("content-type", "application/grpc");
    let answer =
        sender.send_request(call.body(Full::from("\0\0\0\0\0"))?).await?.into_body().collect().await?;
    assert_eq!(answer.trailers().context("no trailers")?["grpc-status"], "0");
    let message = answer.to_bytes();
    let length = u32::from_be_bytes(message[1..5].try_into()?) as usize;
    assert_eq!((message[0], length), (0, message.len() - 5));
    let text = String::from_utf8_lossy(&message);
    ensure!(text.contains(r#""path":"/any.Service/Method""#), "{text}");
    Ok(())
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn tls_is_answered_as_what_is_within() -> anyhow::Result<()> {
    let at = start().await?;
    let provider = Arc::new(default_provider());
    let verifier = Anybody(Arc::clone(&provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost")?, TcpStream::connect(at).await?).await?;
    assert_eq!(http1(stream).await?["tls"], true);
    Ok(())
}

#[tokio::test]
async fn websockets_and_tcp_are_sent_back() -> anyhow::Result<()> {
    let at = start().await?;
    let mut stream = TcpStream::connect(at).await?;
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    // The answer to this key in RFC 6455.
    let head = String::from_utf8(head)?.to_lowercase();
    ensure!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A text of one frame, masked, comes back without a mask.
    stream.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).await?;
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).await?;
    assert_eq!(frame, [0x81, 2, b'h', b'i']);

    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"anything").await?;
    let mut back = [0; 8];
    stream.read_exact(&mut back).await?;
    assert_eq!(&back, b"anything");
    Ok(())
}
