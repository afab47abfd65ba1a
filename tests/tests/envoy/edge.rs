//! Connections from outside through a real Envoy that is what a gateway at the edge is configured to be.

use super::destination::secret;
use super::peers::Gateway as HboneServer;
use super::proxy::{Authority, LIMIT};
use super::traffic::{Answer, Http, Waypoint, echo, greeter, service};
use anyhow::Context;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use model::Kind;
use pilothouse_tests::spiffe::AnyName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A gateway with listeners of every protocol, and two services that answer who they are.
pub struct Edge {
    pub gateway: Waypoint,
    /// Of the certificates that it shows.
    pub authority: Authority,
}

pub fn listener(name: &str, port: u16, protocol: &str, hostname: Option<&str>) -> Value {
    let mut listener = json!({"name": name, "port": port, "protocol": protocol});
    if let Some(hostname) = hostname {
        listener["hostname"] = json!(hostname);
    }
    listener
}

pub fn with_certificate(mut listener: Value, secret: &str) -> Value {
    listener["tls"] = json!({"mode": "Terminate", "certificateRefs": [{"name": secret}]});
    listener
}

pub fn route(kind: &str, name: &str, listeners: &[&str], hostnames: &[&str], rules: &Value) -> Value {
    let parents = listeners.iter().map(|section| json!({"name": "edge", "sectionName": section}));
    let mut route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"namespace": "shop", "name": name, "generation": 1},
        "spec": {"parentRefs": parents.collect::<Vec<_>>(), "rules": rules},
    });
    if !hostnames.is_empty() {
        route["spec"]["hostnames"] = json!(hostnames);
    }
    route
}

fn to(service: &str, port: u16) -> Value {
    json!([{"name": service, "port": port}])
}

/// All requests to a service.
pub fn all_to(service: &str) -> Value {
    json!([{"backendRefs": to(service, 80)}])
}

impl Edge {
    pub async fn start(listeners: &[Value], routes: &[Value]) -> anyhow::Result<Self> {
        Self::with(listeners, routes, &json!({})).await
    }

    /// Starts one whose spec has this besides.
    pub async fn with(listeners: &[Value], routes: &[Value], spec: &Value) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let (first, second, stream) = (echo("first").await?, echo("second").await?, greeter().await?);
        let mut gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"namespace": "shop", "name": "edge"},
            "spec": {"gatewayClassName": "istio", "listeners": listeners},
        });
        for (key, value) in spec.as_object().context("fields")? {
            gateway["spec"][key] = value.clone();
        }
        let mut objects = String::from(
            "options: {gateway_api: true, configures_waypoints: true, is_one_machine: true}\n---\n\
             {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n",
        );
        objects += &service("first", "10.96.0.1", "80", "http", first);
        objects += &service("second", "10.96.0.2", "80", "http", second);
        objects += &service("stream", "10.96.0.3", "9000", "tcp", stream);
        for name in ["one.example.com", "other.example.com", "wide"] {
            let (chain, key) = authority.certificate_of(name, "spiffe://none/x")?;
            let pair = [("tls.crt", chain.as_str()), ("tls.key", &key)];
            objects += &format!("---\n{}\n", secret(name, &pair));
        }
        let roots = secret("clients", &[("ca.crt", &authority.root_pem)]);
        for object in routes.iter().chain([&gateway, &roots]) {
            objects += &format!("---\n{object}\n");
        }
        Ok(Self { gateway: Waypoint::at_the_edge(&objects).await?, authority })
    }

    async fn connect(&self, port: u16) -> TcpStream {
        let port = self.gateway.port(&format!("0.0.0.0_{port}")).await.unwrap();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap()
    }

    /// Sends a request on a connection of its own.
    async fn get(&self, port: u16, host: &str, path: &str) -> Answer {
        self.send(port, host, path, &[]).await
    }

    async fn send(&self, port: u16, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut http = Http::new(TokioIo::new(self.connect(port).await)).await.unwrap();
        http.send(asks(host, path, headers)).await.unwrap()
    }

    /// What a client speaks TLS with, with a certificate of this authority if there is one.
    pub fn connector(&self, client: Option<&Authority>) -> anyhow::Result<TlsConnector> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.root_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(Arc::new(roots), provider)?));
        let tls = match client {
            None => tls.with_no_client_auth(),
            Some(authority) => {
                let (chain, key) = authority.certificate_of("client", "spiffe://none/client")?;
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes())?];
                tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
            }
        };
        Ok(TlsConnector::from(Arc::new(tls)))
    }

    /// Opens a connection with TLS by a server name, as [`Self::connector`] says.
    pub async fn tls(
        &self,
        port: u16,
        name: &str,
        client: Option<&Authority>,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned())?;
        Ok(self.connector(client)?.connect(name, self.connect(port).await).await?)
    }

    /// Replaces the certificate of a Secret by one for a name, and returns the bytes that are sent for it.
    pub async fn renew(&mut self, name: &str, by: &str) -> anyhow::Result<usize> {
        let (chain, key) = self.authority.certificate_of(by, "spiffe://none/x")?;
        let renewed = secret(name, &[("tls.crt", &chain), ("tls.key", &key)]);
        let renewed =
            model::parse::referent(model::parse::ReferentKind::Secret, renewed.to_string().as_bytes());
        let (of, answer) = renewed.map_err(|wrong| anyhow::anyhow!("{wrong}"))?;
        self.gateway.change(vec![model::Event::Answer(of, answer)]).await
    }

    pub async fn get_by_tls(&self, port: u16, name: &str, host: &str) -> anyhow::Result<Answer> {
        let mut http = Http::new(TokioIo::new(self.tls(port, name, None).await?)).await?;
        http.send(asks(host, "/", &[])).await
    }
}

pub fn asks(host: &str, path: &str, headers: &[(&str, &str)]) -> Request<Empty<hyper::body::Bytes>> {
    let mut request = Request::get(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_the_rules_of_the_most_specific_hostname() {
    let listeners = [
        listener("http", 80, "HTTP", None),
        listener("wide", 80, "HTTP", Some("*.example.com")),
        listener("other", 8080, "HTTP", None),
    ];
    let below = json!([{"matches": [{"path": {"value": "/below"}}], "backendRefs": to("second", 80)}]);
    let routes = [
        route("HTTPRoute", "any", &["http"], &[], &all_to("first")),
        route("HTTPRoute", "one", &["wide"], &["one.example.com"], &all_to("second")),
        route("HTTPRoute", "deep", &["wide"], &["*.deep.example.com"], &below),
    ];
    let edge = Edge::start(&listeners, &routes).await.unwrap();
    let cases = [
        ("one.example.com", "/", StatusCode::OK, "second"),
        ("one.example.com:80", "/", StatusCode::OK, "second"),
        ("One.Example.COM", "/", StatusCode::OK, "second"),
        ("one.example.com.", "/", StatusCode::OK, "second"),
        ("a.deep.example.com", "/below", StatusCode::OK, "second"),
        ("a.b.deep.example.com:8443", "/below", StatusCode::OK, "second"),
        ("a.deep.example.com", "/", StatusCode::NOT_FOUND, ""),
        // What the listener `wide` takes is no matter of the other one, though that has rules for every hostname.
        ("two.example.com", "/", StatusCode::NOT_FOUND, ""),
        ("example.com", "/", StatusCode::OK, "first"),
        ("elsewhere.org", "/", StatusCode::OK, "first"),
        ("127.0.0.1", "/", StatusCode::OK, "first"),
        ("[::1]:80", "/", StatusCode::OK, "first"),
    ];
    for (host, path, status, by) in cases {
        let answer = edge.get(80, host, path).await;
        assert_eq!((answer.status, answer.body["by"].as_str().unwrap_or("")), (status, by), "{host}{path}");
    }
    // What has no route at all.
    assert_eq!(edge.get(8080, "one.example.com", "/").await.status, StatusCode::NOT_FOUND);
    // Nothing that a client says decides where it gets to, and nothing of it gets to the backend.
    let forged = [
        ("x-pilothouse-scope", "8080"),
        ("x-pilothouse-host", "one.example.com"),
        ("x-pilothouse-wildcard", "x.one.example.com"),
        ("x-pilothouse-listener", "x"),
    ];
    let answer = edge.send(80, "elsewhere.org", "/", &forged).await;
    assert_eq!(answer.body["by"], "first");
    let headers = answer.body["headers"].as_object().unwrap();
    assert!(!headers.keys().any(|name| name.starts_with("x-pilothouse")), "{headers:?}");
    assert_eq!(headers["host"], "elsewhere.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_route_is_the_scopes_of_its_hostnames() {
    let routes: Vec<Value> = (0..20)
        .map(|n| {
            route("HTTPRoute", &format!("r{n}"), &["http"], &[&format!("h{n}.example.com")], &all_to("first"))
        })
        .collect();
    let mut edge = Edge::start(&[listener("http", 80, "HTTP", None)], &routes).await.unwrap();
    let mut open = Http::new(TokioIo::new(edge.connect(80).await)).await.unwrap();
    let by = |answer: Answer| answer.body["by"].clone();
    assert_eq!(by(open.send(asks("h3.example.com", "/", &[])).await.unwrap()), "first");
    let edited = route("HTTPRoute", "r3", &["http"], &["h3.example.com"], &all_to("second"));
    let sent = edge.gateway.apply(&[(Kind::HTTPRoute, edited)]).await.unwrap();
    // With the cluster and the endpoints that are used for the first time.
    assert!(sent < 3_000, "{sent} bytes");
    // On the connection that was open.
    assert_eq!(by(open.send(asks("h3.example.com", "/", &[])).await.unwrap()), "second");
    assert_eq!(by(open.send(asks("h4.example.com", "/", &[])).await.unwrap()), "first");
    let wide = route("HTTPRoute", "wide", &["http"], &["*.example.com"], &all_to("second"));
    edge.gateway.apply(&[(Kind::HTTPRoute, wide)]).await.unwrap();
    assert_eq!(by(open.send(asks("new.example.com", "/", &[])).await.unwrap()), "second");
    assert_eq!(by(open.send(asks("h4.example.com", "/", &[])).await.unwrap()), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_shows_its_certificate_and_takes_its_own_requests() {
    let listeners = [
        with_certificate(listener("one", 443, "HTTPS", Some("one.example.com")), "one.example.com"),
        with_certificate(listener("other", 443, "HTTPS", Some("other.example.com")), "other.example.com"),
        with_certificate(listener("wide", 443, "HTTPS", Some("*.wide.org")), "wide"),
        with_certificate(listener("broken", 443, "HTTPS", Some("broken.example.com")), "missing"),
    ];
    let routes = [
        route("HTTPRoute", "one", &["one"], &[], &all_to("first")),
        route("HTTPRoute", "other", &["other"], &[], &all_to("second")),
        route("HTTPRoute", "wide", &["wide"], &["a.wide.org", "*.b.wide.org"], &all_to("second")),
    ];
    let edge = Edge::start(&listeners, &routes).await.unwrap();
    let misdirected = StatusCode::MISDIRECTED_REQUEST;
    let cases = [
        ("one.example.com", "one.example.com", StatusCode::OK, "first"),
        ("one.example.com", "One.example.com:443", StatusCode::OK, "first"),
        ("other.example.com", "other.example.com", StatusCode::OK, "second"),
        ("a.wide.org", "a.wide.org", StatusCode::OK, "second"),
        ("a.wide.org", "x.b.wide.org", StatusCode::OK, "second"),
        ("x.wide.org", "x.wide.org", StatusCode::NOT_FOUND, ""),
        // Another listener takes these.
        ("one.example.com", "other.example.com", misdirected, ""),
        ("one.example.com", "a.wide.org", misdirected, ""),
        ("one.example.com", "unknown.wide.org", misdirected, ""),
        ("a.wide.org", "one.example.com", misdirected, ""),
        // And nobody these.
        ("one.example.com", "nobody.org", StatusCode::NOT_FOUND, ""),
        ("a.wide.org", "nobody.org", StatusCode::NOT_FOUND, ""),
    ];
    for (name, host, status, by) in cases {
        let answer = edge.get_by_tls(443, name, host).await.unwrap();
        let found = (answer.status, answer.body["by"].as_str().unwrap_or(""));
        assert_eq!(found, (status, by), "{name}: {host}");
    }
    for name in ["broken.example.com", "nobody.org"] {
        assert!(edge.get_by_tls(443, name, name).await.is_err(), "{name}");
    }
    let stream = edge.tls(443, "one.example.com", None).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let names = String::from_utf8_lossy(&shown).into_owned();
    assert!(names.contains("one.example.com") && !names.contains("other.example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_passed_by_the_name_of_tls_or_without_one() {
    let mut passed = listener("passed", 8443, "TLS", Some("*.example.com"));
    passed["tls"] = json!({"mode": "Passthrough"});
    let listeners = [
        listener("tcp", 9000, "TCP", None),
        with_certificate(listener("ended", 8443, "TLS", Some("one.example.com")), "one.example.com"),
        passed,
    ];
    let streams = json!([{"backendRefs": to("stream", 9000)}]);
    let routes = [
        route("TCPRoute", "tcp", &["tcp"], &[], &streams),
        route("TLSRoute", "ended", &["ended"], &["one.example.com"], &streams),
        route("TLSRoute", "passed", &["passed"], &["other.example.com"], &streams),
    ];
    let edge = Edge::start_streams(&listeners, &routes).await.unwrap();
    let mut stream = edge.connect(9000).await;
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    stream.write_all(b"again").await.unwrap();
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"again");
    let mut stream = edge.tls(8443, "one.example.com", None).await.unwrap();
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    // What is passed on as it is gets to a server that speaks no TLS, and says so.
    let error = edge.tls(8443, "other.example.com", None).await.unwrap_err();
    assert!(error.to_string().contains("corrupt message"), "{error}");
    let error = edge.tls(8443, "nobody.example.com", None).await.unwrap_err();
    assert!(!error.to_string().contains("corrupt message"), "{error}");
}

impl Edge {
    /// As [`Self::start`], of one that has a listener of requests besides: what awaits an Envoy awaits its scopes.
    async fn start_streams(listeners: &[Value], routes: &[Value]) -> anyhow::Result<Self> {
        let mut all = listeners.to_vec();
        all.push(listener("http", 80, "HTTP", None));
        Self::start(&all, routes).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_they_are_asked_for_one() {
    let listeners = [
        with_certificate(listener("one", 443, "HTTPS", Some("one.example.com")), "one.example.com"),
        with_certificate(listener("other", 8443, "HTTPS", Some("one.example.com")), "one.example.com"),
        with_certificate(listener("any", 9443, "HTTPS", Some("one.example.com")), "one.example.com"),
    ];
    let ca = json!([{"group": "", "kind": "Secret", "name": "clients"}]);
    let port = |port: u16, mode: &str| {
        let validation = json!({"caCertificateRefs": ca, "mode": mode});
        json!({"port": port, "tls": {"validation": validation}})
    };
    let frontend = json!({"frontend": {
        "default": {},
        "perPort": [port(443, "AllowValidOnly"), port(9443, "AllowInsecureFallback")],
    }});
    let routes = [route("HTTPRoute", "one", &["one", "other", "any"], &[], &all_to("first"))];
    let edge = Edge::with(&listeners, &routes, &json!({"tls": frontend})).await.unwrap();
    let foreign = Authority::new().unwrap();
    let ask = async |port: u16, client: Option<&Authority>| {
        let stream = edge.tls(port, "one.example.com", client).await?;
        Http::new(TokioIo::new(stream)).await?.send(asks("one.example.com", "/", &[])).await
    };
    let answer = ask(443, Some(&edge.authority)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let shown = answer.body["headers"]["x-forwarded-client-cert"].as_str().unwrap().to_owned();
    assert!(shown.contains("URI=spiffe://none/client"), "{shown}");
    assert!(ask(443, None).await.is_err());
    assert!(ask(443, Some(&foreign)).await.is_err());
    assert_eq!(ask(8443, None).await.unwrap().status, StatusCode::OK);
    for client in [None, Some(&foreign), Some(&edge.authority)] {
        assert_eq!(ask(9443, client).await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_the_gateway_as_the_source() {
    let routes = [
        route("HTTPRoute", "any", &["http"], &[], &all_to("first")),
        route("TCPRoute", "tcp", &["tcp"], &[], &json!([{"backendRefs": to("stream", 9000)}])),
    ];
    let listeners = [listener("http", 80, "HTTP", None), listener("tcp", 9000, "TCP", None)];
    let edge = Edge::start(&listeners, &routes).await.unwrap();
    assert_eq!(edge.get(80, "a.org", "/").await.status, StatusCode::OK);
    let mut hello = [0; 5];
    edge.connect(9000).await.read_exact(&mut hello).await.unwrap();
    let labels = [
        "reporter=\"source\"",
        "source_workload=\"edge-istio\"",
        "source_canonical_service=\"edge\"",
        "source_workload_namespace=\"shop\"",
        "source_principal=\"spiffe://cluster.local/ns/shop/sa/edge-istio\"",
        "connection_security_policy=\"unknown\"",
    ];
    for (metric, service) in
        [("istio_requests_total", "first"), ("istio_tcp_connections_opened_total", "stream")]
    {
        let line = pilothouse_tests::apiserver::until(LIMIT, async || {
            let metrics = edge.gateway.metrics().await?;
            Ok(metrics.lines().find(|line| line.starts_with(&format!("{metric}{{"))).map(str::to_owned))
        })
        .await
        .unwrap();
        let service = format!("destination_service=\"{service}.shop.svc.cluster.local\"");
        for label in labels.into_iter().chain([service.as_str()]) {
            assert!(line.contains(label), "{label}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_the_gateway_decides_before_its_routes() {
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "shop", "name": "edge"},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
            "action": "ALLOW",
            "rules": [
                {"to": [{"operation": {"paths": ["/open/*"]}}]},
                {"from": [{"source": {"ipBlocks": ["192.0.2.0/24"]}}]},
            ],
        },
    });
    let routes = [route("HTTPRoute", "any", &["http"], &[], &all_to("first")), policy];
    let edge = Edge::start(&[listener("http", 80, "HTTP", None)], &routes).await.unwrap();
    assert_eq!(edge.get(80, "a.org", "/open/x").await.status, StatusCode::OK);
    assert_eq!(edge.get(80, "a.org", "/x").await.status, StatusCode::FORBIDDEN);
    let forged = [("x-forwarded-for", "192.0.2.7")];
    assert_eq!(edge.send(80, "a.org", "/x", &forged).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_known_by_what_is_in_front_as_far_as_it_is_trusted() {
    let settings = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "istio-system", "name": "istio"},
        "data": {"mesh": "defaultConfig: {gatewayTopology: {numTrustedProxies: 1, proxyProtocol: {}}}"},
    });
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "shop", "name": "edge"},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
            "rules": [{"from": [{"source": {"remoteIpBlocks": ["192.0.2.0/24"]}}]}],
        },
    });
    let routes = [route("HTTPRoute", "any", &["http"], &[], &all_to("first")), settings, policy];
    let edge = Edge::start(&[listener("http", 80, "HTTP", None)], &routes).await.unwrap();
    let ask = async |client: &str, forwarded: &str| {
        let mut stream = edge.connect(80).await;
        stream.write_all(format!("PROXY TCP4 {client} 10.0.0.1 4000 80\r\n").as_bytes()).await.unwrap();
        let mut http = Http::new(TokioIo::new(stream)).await.unwrap();
        http.send(asks("a.org", "/", &[("x-forwarded-for", forwarded)])).await.unwrap()
    };
    // The proxy in front says whom it has seen, at the end. What was there before may be anything.
    let answer = ask("10.0.0.7", "203.0.113.9, 192.0.2.1").await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = answer.body["headers"]["x-forwarded-for"].as_str().unwrap_or_default();
    assert!(seen.replace(' ', "").ends_with("192.0.2.1,10.0.0.7"), "{seen}");
    assert_eq!(ask("10.0.0.7", "192.0.2.1, 203.0.113.9").await.status, StatusCode::FORBIDDEN);
    // Without the first line a connection is none.
    let mut http = Http::new(TokioIo::new(edge.connect(80).await)).await.unwrap();
    assert!(http.send(asks("a.org", "/", &[])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_for_it_is_reached_through_its_waypoint() {
    const WAYPOINT: &str = "127.0.31.1";
    let mut labels = json!({"istio.io/use-waypoint": "waypoint", "istio.io/ingress-use-waypoint": "true"});
    let service = |labels: &Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "shop", "name": "behind", "labels": labels},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]},
        })
    };
    let plain = echo("plain").await.unwrap();
    let objects = [
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "istio-waypoint"},
            "spec": {"controllerName": "istio.io/mesh-controller"},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"namespace": "shop", "name": "waypoint"},
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
            "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.8"}]},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": "shop",
                "name": "waypoint-1",
                "labels": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
            },
            "spec": {"serviceAccountName": "waypoint", "containers": []},
            "status": {
                "phase": "Running",
                "podIP": WAYPOINT,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }),
        service(&labels),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "shop",
                "name": "behind-1",
                "labels": {"kubernetes.io/service-name": "behind"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": plain, "protocol": "TCP"}],
        }),
        route("HTTPRoute", "any", &["http"], &[], &all_to("behind")),
    ];
    let mut edge = Edge::start(&[listener("http", 80, "HTTP", None)], &objects).await.unwrap();
    let certificate = edge.gateway.authority.issued("waypoint").unwrap();
    let at = super::peers::listen(format!("{WAYPOINT}:15008").parse().unwrap()).unwrap();
    let behind = echo("by the waypoint").await.unwrap();
    let waypoint = HboneServer::at(at, &certificate, ([127, 0, 0, 1], behind).into()).unwrap();
    let answer = edge.get(80, "a.org", "/x").await;
    assert_eq!((answer.status, answer.body["by"].as_str()), (StatusCode::OK, Some("by the waypoint")));
    let seen = waypoint.last().unwrap();
    assert_eq!(seen.to, "10.96.0.9:80");
    assert_eq!(seen.peer, "spiffe://cluster.local/ns/shop/sa/waypoint");
    // Without the label it goes to the pods.
    labels["istio.io/ingress-use-waypoint"] = json!("false");
    edge.gateway.apply(&[(Kind::Service, service(&labels))]).await.unwrap();
    assert_eq!(edge.get(80, "a.org", "/x").await.body["by"], "plain");
    // Where there is no instance of the waypoint, nobody goes around it.
    labels["istio.io/ingress-use-waypoint"] = json!("true");
    edge.gateway.apply(&[(Kind::Service, service(&labels))]).await.unwrap();
    let pod = model::ObjectRef { kind: Kind::Pod, name: model::Name::new("shop", "waypoint-1") };
    edge.gateway.change(vec![model::Event::Remove(pod)]).await.unwrap();
    assert_eq!(edge.get(80, "a.org", "/x").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_behind_tls_is_spoken_to_as_it_takes_it() {
    let authority = Authority::new().unwrap();
    let mut objects = Vec::new();
    let backends = [
        ("old", "10.96.0.7", "btls", &b"http/1.1"[..]),
        ("new", "10.96.0.8", "btls", b"h2"),
        ("said", "10.96.0.9", "http2", b"h2"),
    ];
    for (name, address, said, protocol) in backends {
        let port = spoken(Some(acceptor(&authority, protocol))).await.unwrap();
        objects.extend(objects_of(name, address, "443", said, port));
        objects.extend(verified(name, &authority));
        let rules = json!([{"backendRefs": to(name, 443)}]);
        objects.push(route("HTTPRoute", name, &["http"], &[&format!("{name}.org")], &rules));
    }
    let edge = Edge::start(&[listener("http", 80, "HTTP", None)], &objects).await.unwrap();
    assert_eq!(edge.get(80, "old.org", "/").await.text, "HTTP/1.1");
    assert_eq!(edge.get(80, "new.org", "/").await.text, "HTTP/2.0");
    assert_eq!(edge.get(80, "said.org", "/").await.text, "HTTP/2.0");
}

/// Answers with the version of HTTP that is spoken to it.
async fn spoken(tls: Option<tokio_rustls::TlsAcceptor>) -> anyhow::Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => tell_version(stream).await,
                    Some(tls) => tell_version(tls.accept(stream).await?).await,
                }
            });
        }
    });
    Ok(port)
}

async fn tell_version(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
) -> anyhow::Result<()> {
    let answer = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
        Ok::<_, std::convert::Infallible>(hyper::Response::new(format!("{:?}", request.version())))
    });
    let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), answer).await.map_err(anyhow::Error::from_boxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_sent_as_http2_and_requests_that_nothing_is_said_of_as_http1() {
    let port = spoken(None).await.unwrap();
    let mut objects = objects_of("any", "10.96.0.8", "8000", "any", port);
    let method = json!([{"matches": [{"method": {"service": "a.B"}}], "backendRefs": to("any", 8000)}]);
    objects.push(route("GRPCRoute", "grpc", &["http"], &["grpc.org"], &method));
    let rules = json!([{"backendRefs": to("any", 8000)}]);
    objects.push(route("HTTPRoute", "web", &["http"], &["web.org"], &rules));
    let edge = Edge::start(&[listener("http", 80, "HTTP", None)], &objects).await.unwrap();
    assert_eq!(edge.get(80, "web.org", "/a.B/C").await.text, "HTTP/1.1");
    assert_eq!(edge.get(80, "grpc.org", "/a.B/C").await.text, "HTTP/2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_for_a_backend_is_not_encrypted_again() {
    let authority = Authority::new().unwrap();
    let port = spoken(Some(acceptor(&authority, b"http/1.1"))).await.unwrap();
    let mut objects = objects_of("old", "10.96.0.8", "443", "btls", port);
    objects.extend(verified("old", &authority));
    objects.push(route(
        "TLSRoute",
        "passed",
        &["passed"],
        &["web.example.org"],
        &json!([{"backendRefs": to("old", 443)}]),
    ));
    objects.push(route("HTTPRoute", "web", &["http"], &[], &json!([{"backendRefs": to("old", 443)}])));
    let mut passed = listener("passed", 8443, "TLS", None);
    passed["tls"] = json!({"mode": "Passthrough"});
    let edge = Edge::start(&[listener("http", 80, "HTTP", None), passed], &objects).await.unwrap();
    assert_eq!(edge.get(80, "a.org", "/").await.text, "HTTP/1.1");
    let edge = Edge { authority, ..edge };
    let answer = edge.get_by_tls(8443, "web.example.org", "web.example.org").await.unwrap();
    assert_eq!(answer.text, "HTTP/1.1");
}

/// Takes TLS of a protocol as `web.example.org`.
fn acceptor(authority: &Authority, protocol: &[u8]) -> tokio_rustls::TlsAcceptor {
    let (chain, key) = authority.certificate_of("web.example.org", "spiffe://none/x").unwrap();
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![protocol.to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(tls))
}

/// A service with one port and one endpoint on this machine.
fn objects_of(name: &str, address: &str, port: &str, protocol: &str, at: u16) -> Vec<Value> {
    let documents = service(name, address, port, protocol, at);
    let documents = documents.split("---\n").filter(|of| !of.is_empty());
    documents.map(|of| serde_yaml::from_str(of).unwrap()).collect()
}

/// What has a service verified as `web.example.org` by an authority.
fn verified(name: &str, authority: &Authority) -> [Value; 2] {
    let policy = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"namespace": "shop", "name": name, "generation": 1},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": name}],
            "validation": {
                "hostname": "web.example.org",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "own"}],
            },
        },
    });
    [super::destination::config_map("own", authority), policy]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_limits_requests_at_the_gateway() {
    let mut limited = route("HTTPRoute", "few", &["http"], &["few.example.com"], &all_to("first"));
    limited["metadata"]["annotations"] = json!({"pilothouse.io/request-limit": "3/h"});
    let others = route("HTTPRoute", "many", &["http"], &["many.example.com"], &all_to("first"));
    let edge = Edge::start(&[listener("http", 80, "HTTP", None)], &[limited, others]).await.unwrap();
    for (host, expected) in [("few.example.com", 3), ("many.example.com", 6)] {
        let mut answered = 0;
        for _ in 0..6 {
            let status = edge.get(80, host, "/").await.status;
            assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{host}: {status}");
            answered += usize::from(status == StatusCode::OK);
        }
        assert_eq!(answered, expected, "{host}");
    }
}
