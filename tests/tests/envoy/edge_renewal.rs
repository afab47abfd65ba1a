//! Certificates that are renewed and listeners that come and go, at a real Envoy that is a gateway at the edge.

use super::edge::{Edge, all_to, asks, listener, route, with_certificate};
use super::proxy::LIMIT;
use super::traffic::Http;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use model::Kind;
use pilothouse_tests::apiserver::until;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_by_one_secret_and_no_connection_ends() {
    let listeners =
        [with_certificate(listener("one", 443, "HTTPS", Some("one.example.com")), "one.example.com")];
    let routes = [route("HTTPRoute", "one", &["one"], &[], &all_to("first"))];
    let mut edge = Edge::start(&listeners, &routes).await.unwrap();
    let mut open =
        Http::new(TokioIo::new(edge.tls(443, "one.example.com", None).await.unwrap())).await.unwrap();
    let sent = edge.renew("one.example.com", "replaced.example.com").await.unwrap();
    assert!(sent < 2_500, "{sent} bytes");
    assert_eq!(open.send(asks("one.example.com", "/", &[])).await.unwrap().status, StatusCode::OK);
    let stream = edge.tls(443, "one.example.com", None).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert!(String::from_utf8_lossy(&shown).contains("replaced.example.com"));
}

/// What a client does until it is told to stop: a request on a connection that it keeps, and one on a new one, in TLS. Returns
/// what failed.
async fn steady(
    port: u16,
    connector: TlsConnector,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let open = async || -> anyhow::Result<Http> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("one.example.com")?;
        Http::new(TokioIo::new(connector.connect(name, stream).await?)).await
    };
    let mut kept = open().await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        for is_new in [false, true] {
            let ask = async |http: &mut Http| http.send(asks("one.example.com", "/", &[])).await;
            let answer = if is_new {
                match open().await {
                    Ok(mut http) => ask(&mut http).await,
                    Err(error) => Err(error),
                }
            } else {
                ask(&mut kept).await
            };
            asked.fetch_add(1, Ordering::Relaxed);
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => {
                    // A connection that is to go is not used again, as clients do.
                    if !is_new && answer.headers.get("connection").is_some_and(|value| value == "close") {
                        kept = open().await.unwrap();
                    }
                }
                Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text)),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_certificates_are_renewed_and_listeners_come_and_go() {
    let listeners = |more: usize| {
        let own =
            with_certificate(listener("https", 443, "HTTPS", Some("one.example.com")), "one.example.com");
        let others = (0..more).map(|n| {
            let hostname = format!("h{n}.example.com");
            with_certificate(listener(&format!("more-{n}"), 443, "HTTPS", Some(&hostname)), "wide")
        });
        std::iter::once(own).chain(others).collect::<Vec<_>>()
    };
    let gateway = |more: usize| {
        let spec = json!({"gatewayClassName": "istio", "listeners": listeners(more)});
        (Kind::Gateway, json!({"metadata": {"namespace": "shop", "name": "edge"}, "spec": spec}))
    };
    let routes = [route("HTTPRoute", "one", &["https"], &[], &all_to("first"))];
    let mut edge = Edge::start(&listeners(0), &routes).await.unwrap();
    let port = edge.gateway.port("0.0.0.0_443").await.unwrap();
    let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let client = || {
        let connector = edge.connector(None).unwrap();
        tokio::spawn(steady(port, connector, Arc::clone(&asked), Arc::clone(&stop)))
    };
    let clients = [client(), client()];
    for round in 1..=6 {
        edge.renew("one.example.com", "one.example.com").await.unwrap();
        edge.gateway.apply(&[gateway(round % 4)]).await.unwrap();
        assert_eq!(edge.gateway.port("0.0.0.0_443").await.unwrap(), port, "another listener took its place");
        // Each of it is seen by some of them.
        let before = asked.load(Ordering::Relaxed);
        until(LIMIT, async || Ok((asked.load(Ordering::Relaxed) > before + 20).then_some(()))).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let failures = client.await.unwrap();
        assert_eq!(failures, Vec::<String>::new(), "of {}", asked.load(Ordering::Relaxed));
    }
}
