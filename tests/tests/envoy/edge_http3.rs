//! HTTP/3 at a real Envoy that is a gateway at the edge, by another one that speaks it.

use super::edge::{Edge, all_to, asks, listener, route, with_certificate};
use super::proxy::LIMIT;
use super::traffic::{Answer, Http};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use pilothouse_tests::apiserver::until;
use pilothouse_tests::envoy::program;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// An Envoy that sends what it is asked for by HTTP/1.1 to a port of this machine by HTTP/3.
struct Client {
    port: u16,
    _folder: TempDir,
    _process: Child,
}

impl Client {
    fn start(to: u16, name: &str, roots: &str) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let typed = |name: &str, fields: Value| {
            let mut fields = fields;
            fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{name}"));
            fields
        };
        let manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            json!({
                "stat_prefix": "client",
                "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "http3"}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": typed("filters.http.router.v3.Router", json!({})),
                }],
            }),
        );
        let tls = json!({
            "sni": name,
            "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": roots}}},
        });
        let socket =
            typed("transport_sockets.quic.v3.QuicUpstreamTransport", json!({"upstream_tls_context": tls}));
        let options = typed(
            "upstreams.http.v3.HttpProtocolOptions",
            json!({"explicit_http_config": {"http3_protocol_options": {}}}),
        );
        let bootstrap = json!({
            "static_resources": {
                "listeners": [{
                    "name": "client",
                    "address": address(port),
                    "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
                }],
                "clusters": [{
                    "name": "http3",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "load_assignment": {
                        "cluster_name": "http3",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(to)}}]}],
                    },
                    "transport_socket": {"name": "envoy.transport_sockets.quic", "typed_config": socket},
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
                    },
                }],
            },
        });
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.json");
        fs::write(&file, bootstrap.to_string())?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(&file).args([
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "--log-level",
            "error",
        ]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        Ok(Self { port, _folder: folder, _process: process })
    }

    async fn get(&self, host: &str) -> anyhow::Result<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        Http::new(TokioIo::new(stream)).await?.send(asks(host, "/", &[])).await
    }
}

fn with_http3(mut listener: Value) -> Value {
    listener["tls"]["options"] = json!({"gateway.pilothouse.io/http3": "true"});
    listener
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_asks_for_it_speaks_http3_and_tells_clients() {
    let https = |name: &str, port: u16, secret: &str| {
        with_certificate(listener(name, port, "HTTPS", Some("one.example.com")), secret)
    };
    let listeners = [
        with_http3(https("quic", 443, "one.example.com")),
        with_certificate(listener("beside", 443, "HTTPS", Some("other.example.com")), "other.example.com"),
        https("tcp", 8443, "one.example.com"),
    ];
    let routes = [
        route("HTTPRoute", "one", &["quic", "tcp"], &["one.example.com"], &all_to("first")),
        route("HTTPRoute", "other", &["beside"], &["other.example.com"], &all_to("second")),
    ];
    let edge = Edge::start(&listeners, &routes).await.unwrap();
    let port = edge.gateway.port("0.0.0.0_443_quic").await.unwrap();
    let client = Client::start(port, "one.example.com", &edge.authority.root_pem).unwrap();
    // It may not listen yet.
    let answer = until(LIMIT, async || Ok(client.get("one.example.com").await.ok())).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{} {}", answer.text, edge.gateway.log());
    assert_eq!(answer.body["by"], "first");
    assert_eq!(answer.body["headers"]["x-forwarded-proto"], "https");
    assert_eq!(client.get("nobody.example.com").await.unwrap().status, StatusCode::NOT_FOUND);
    let counted = edge.gateway.stats("downstream_cx_http3_total").await.unwrap();
    assert!(counted.lines().any(|line| !line.ends_with(": 0")), "{counted}");
    // Over TCP it is offered, and by no other listener.
    for (port, name, offer) in [
        (443, "one.example.com", Some("h3=\":443\"; ma=86400")),
        (443, "other.example.com", None),
        (8443, "one.example.com", None),
    ] {
        let answer = edge.get_by_tls(port, name, name).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{port} {name}");
        assert_eq!(answer.headers.get("alt-svc").map(String::as_str), offer, "{port} {name}");
    }
    // A listener beside it that does not ask for it is not there over QUIC.
    let other = Client::start(port, "other.example.com", &edge.authority.root_pem).unwrap();
    let refused = until(LIMIT, async || Ok(other.get("other.example.com").await.ok())).await.unwrap();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_show_certificates_there_is_no_http3() {
    let quic = with_http3(with_certificate(
        listener("quic", 443, "HTTPS", Some("one.example.com")),
        "one.example.com",
    ));
    let routes = [route("HTTPRoute", "one", &["quic"], &[], &all_to("first"))];
    let validation = json!({"caCertificateRefs": [{"group": "", "kind": "Secret", "name": "clients"}]});
    let frontend = json!({"tls": {"frontend": {"default": {"validation": validation}}}});
    let edge = Edge::with(&[quic], &routes, &frontend).await.unwrap();
    assert!(edge.gateway.port("0.0.0.0_443_quic").await.is_err());
    let told: Vec<String> = edge.gateway.mesh.diagnostics().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|of| of.contains("speaks no HTTP/3")), "{told:?}");
}
