//! Malformed certificate requests: each is refused as early as possible, with a specific status code.

use crate::plane::{INVALID_ARGUMENT, Plane, RESOURCE_EXHAUSTED, Site};
use anyhow::Context;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilothouse_tests::apiserver::LIMIT;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The status codes that no other test here expects.
const DEADLINE_EXCEEDED: u8 = 4;
const UNIMPLEMENTED: u8 = 12;

/// Sends these bytes as a request, complete or with more to come, and returns the status code.
async fn code(plane: &Plane, token: &str, sent: &'static [u8], continues: bool) -> anyhow::Result<u8> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(plane.roots()?.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(plane.secure).await?;
    let tls =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect("localhost".try_into()?, stream).await?;
    let (mut calls, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
    let driving = tokio::spawn(connection);
    let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(sent)))]);
    let body = if continues { begun.chain(stream::pending()).boxed() } else { begun.boxed() };
    let request = http::Request::post(format!("https://localhost{}", proto::rpc_path::CREATE_CERTIFICATE))
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {token}"))
        .body(StreamBody::new(body))?;
    let answer = timeout(LIMIT, calls.send_request(request)).await.context("no answer")??;
    driving.abort();
    let status = answer.headers().get("grpc-status").context("no status in the headers")?;
    Ok(status.to_str()?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_with_specific_status_codes() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    for (reason, expected, sent, continues) in [
        ("compressed", UNIMPLEMENTED, &b"\x01\0\0\0\x04abcd"[..], false),
        // The announced message is not awaited.
        ("compressed", UNIMPLEMENTED, b"\x01\0\0\0\x04", true),
        ("too_long", RESOURCE_EXHAUSTED, b"\0\xff\xff\xff\xff", true),
        ("too_long", RESOURCE_EXHAUSTED, b"\0\0\x01\0\x01", true),
        ("malformed", INVALID_ARGUMENT, b"\0\0\0\0\x04abc", false),
        ("malformed", INVALID_ARGUMENT, b"\0\0\0\0\0\0\0\0\0\0", false),
        ("malformed", INVALID_ARGUMENT, b"\0\0", false),
        ("malformed", INVALID_ARGUMENT, b"", false),
        ("slow_request", DEADLINE_EXCEEDED, b"\0\0\0\0\x04abc", true),
    ] {
        let before = plane.refused(reason);
        assert_eq!(code(&plane, &token, sent, continues).await?, expected, "{reason} {sent:?}");
        assert_eq!(plane.refused(reason), before + 1, "{reason} {sent:?}");
    }
    plane.certificate(&token, None).await?;
    Ok(())
}
