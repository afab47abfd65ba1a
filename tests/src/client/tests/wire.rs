use std::sync::Arc;

use proto::type_url;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use super::{addresses, pod, policies, workload_resource};
use crate::client::scripted::{ScriptedServer, ScriptedStream};
use crate::client::{Client, OpenError, Options, Reconnect, Tls};

const POD: &str = "Kubernetes//Pod/shop/a";

async fn start() -> (ScriptedServer, Client, ScriptedStream) {
    let server = ScriptedServer::start().await.unwrap();
    let client = Client::connect(Options::to(server.address.to_string())).await.unwrap();
    let stream = server.accept().await.unwrap();
    (server, client, stream)
}

/// Takes the two initial requests and returns the versions offered for addresses.
async fn initial(stream: &mut ScriptedStream) -> Vec<(String, String)> {
    let address = stream.request().await.unwrap().unwrap();
    let authorization = stream.request().await.unwrap().unwrap();
    assert_eq!(address.type_url, type_url::ADDRESS);
    assert_eq!(authorization.type_url, type_url::AUTHORIZATION);
    address.initial_resource_versions.into_iter().collect()
}

#[tokio::test]
async fn responses_are_acked_one_by_one_and_seen_by_until() {
    let (_server, client, mut stream) = start().await;
    assert!(initial(&mut stream).await.is_empty());
    stream.respond(addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &[]))]));
    stream.respond(policies("p1", vec![]));
    client.until("readiness", |state| state.is_ready()).await.unwrap();
    for nonce in ["a1", "p1"] {
        let ack = stream.request().await.unwrap().unwrap();
        assert_eq!((ack.response_nonce.as_str(), ack.error_detail, ack.node), (nonce, None, None));
    }
    let mark = client.mark();
    stream.respond(super::response(type_url::ADDRESS, "a2", vec![], &[POD]));
    client.until("the removal", |state| state.workload(POD).is_none()).await.unwrap();
    assert_eq!(client.since(mark)[0].removed, [POD]);
    assert_eq!(client.violations(), []);
}

#[tokio::test]
async fn a_refused_resource_is_nacked_with_the_reason() {
    let (_server, _client, mut stream) = start().await;
    initial(&mut stream).await;
    stream.respond(addresses("a1", vec![super::resource(type_url::ADDRESS, "x", "1", vec![])]));
    let error = stream.request().await.unwrap().unwrap().error_detail.unwrap();
    assert_eq!((error.code, error.message.as_str()), (0, "x: address is neither a workload nor a service"));
}

#[tokio::test]
async fn after_a_broken_stream_the_state_is_kept_and_offered() {
    let (server, client, mut stream) = start().await;
    initial(&mut stream).await;
    stream.respond(addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &[]))]));
    client.until("the pod", |state| state.workload(POD).is_some()).await.unwrap();
    stream.fail(Status::unknown("gone"));
    let mut second = server.accept().await.unwrap();
    assert_eq!(initial(&mut second).await, [(POD.to_owned(), "v1".to_owned())]);
    client.until("the second stream", |state| state.streams() == 2).await.unwrap();
    assert!(client.with(|state| state.workload(POD).is_some()));
    assert!(client.state().last_error().unwrap().contains("gone"));
}

#[tokio::test]
async fn a_manual_client_stays_away_until_told_where_to_go() {
    let server = ScriptedServer::start().await.unwrap();
    let other = ScriptedServer::start().await.unwrap();
    let options = Options { reconnect: Reconnect::Manual, ..Options::to(server.address.to_string()) };
    let client = Client::connect(options).await.unwrap();
    let stream = server.accept().await.unwrap();
    stream.fail(Status::unavailable("drained"));
    client.until("the end", |state| !state.is_connected()).await.unwrap();
    client.reconnect_to(other.address.to_string()).await.unwrap();
    assert!(other.accept().await.is_some());
    client.disconnect().await.unwrap();
    assert!(!client.with(|state| state.is_connected()));
    client.reconnect().await.unwrap();
    assert_eq!(client.with(|state| state.streams()), 3);
}

#[tokio::test]
async fn names_are_demanded_on_the_open_stream() {
    let server = ScriptedServer::start().await.unwrap();
    let options = Options { on_demand: true, ..Options::to(server.address.to_string()) };
    let client = Client::connect(options).await.unwrap();
    let mut stream = server.accept().await.unwrap();
    initial(&mut stream).await;
    client.demand(&["/10.0.0.1"]).unwrap();
    assert_eq!(stream.request().await.unwrap().unwrap().resource_names_subscribe, ["/10.0.0.1"]);
}

#[tokio::test]
async fn a_paused_client_reads_nothing_until_resumed() {
    let (_server, client, mut stream) = start().await;
    initial(&mut stream).await;
    client.pause().await.unwrap();
    stream.respond(addresses("a1", vec![]));
    // a round trip on the command channel after the response was handed over
    client.demand(&["x"]).unwrap();
    stream.request().await.unwrap();
    assert_eq!(client.mark(), 0);
    client.resume().await.unwrap();
    client.until("the response", |state| state.received().len() == 1).await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_tells_its_status() {
    let server = ScriptedServer::refusing(Status::unauthenticated("no token")).await.unwrap();
    let error = Client::connect(Options::to(server.address.to_string())).await.err().unwrap();
    assert_eq!(error.downcast_ref::<OpenError>().unwrap().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_vain_wait_tells_what_was_held() {
    let server = ScriptedServer::start().await.unwrap();
    // What comes is sent at once, so that only what never comes is waited for to the end.
    let limit = std::time::Duration::from_secs(3);
    let options = Options { limit, ..Options::to(server.address.to_string()) };
    let client = Client::connect(options).await.unwrap();
    let stream = server.accept().await.unwrap();
    stream.respond(addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &[]))]));
    client.until("one pod", |state| state.workloads().count() == 1).await.unwrap();
    let ask = |state: &crate::client::State| state.workloads().count() == 2;
    let error = client.until("two pods", ask).await.unwrap_err().to_string();
    assert!(error.contains("in vain for two pods"), "{error}");
    assert!(error.contains("stream 1 is open; held: 1 workloads"), "{error}");
    assert!(error.contains("Address a1: 1 sent"), "{error}");
}

/// Terminates TLS before a server in clear text; returns its address and root.
async fn terminate_tls(name: &str, inner: std::net::SocketAddr) -> (std::net::SocketAddr, Vec<u8>) {
    let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let pem = issued.cert.pem().into_bytes();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // a client that does not trust the certificate ends here
            let Ok(mut outer) = acceptor.accept(tcp).await else { continue };
            let mut inner = TcpStream::connect(inner).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut outer, &mut inner).await });
        }
    });
    (address, pem)
}

#[tokio::test]
async fn tls_checks_the_server_and_carries_the_token() {
    let server = ScriptedServer::start().await.unwrap();
    let (address, roots_pem) = terminate_tls("istiod.istio-system.svc", server.address).await;
    let tls = |name: &str| Tls { roots_pem: roots_pem.clone(), server_name: Some(name.to_owned()) };
    let options = Options {
        tls: Some(tls("istiod.istio-system.svc")),
        token: Some("secret".to_owned()),
        metadata: vec![("clusterid".to_owned(), "Kubernetes".to_owned())],
        ..Options::to(address.to_string())
    };
    let _client = Client::connect(options.clone()).await.unwrap();
    let stream = server.accept().await.unwrap();
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!(stream.metadata.get("clusterid").unwrap(), "Kubernetes");
    let untrusted = Options { tls: Some(tls("elsewhere")), ..options };
    let error = Client::connect(untrusted).await.err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(OpenError::Connect(_))), "{error:#}");
}
