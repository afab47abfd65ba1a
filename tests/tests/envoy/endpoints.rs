//! Where instances are, and which of them a session stays with, at a real Envoy that is what a waypoint is configured
//! to be.

use super::destination::{Backend, MESH, answering, config_map, secret, server, until_answered};
use super::peers::Workload;
use super::proxy::Authority;
use super::traffic::{Http, Waypoint};
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use model::Kind;
use pilothouse_tests::spiffe::AnyName;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

const API: &str = "240.0.0.1:80";
const WEB: &str = "10.96.0.1:80";
/// The port of it that is not looked into.
const STREAMS: &str = "10.96.0.1:81";

async fn waypoint(objects: &[Value]) -> anyhow::Result<Waypoint> {
    let objects = objects.iter().map(|object| format!("---\n{object}\n"));
    Waypoint::of(&std::iter::once(MESH.to_owned()).chain(objects).collect::<String>()).await
}

/// A host outside of the mesh, found by a name.
fn entry(resolution: &str, port: u16) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {
            "hosts": ["api.example.org"],
            "addresses": ["240.0.0.1"],
            "location": "MESH_EXTERNAL",
            "resolution": resolution,
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "localhost", "ports": {"http": port}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_is_found_by_its_name() {
    let backend = Backend::start("outside", "127.0.0.1").await.unwrap();
    for resolution in ["DNS", "DNS_ROUND_ROBIN"] {
        let waypoint = waypoint(&[entry(resolution, backend.address.port())]).await.unwrap();
        let answer = until_answered(&waypoint, API, StatusCode::OK).await.unwrap();
        assert_eq!(answer.body["by"], "outside", "{resolution}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_is_called_by_tls() {
    let own = Authority::new().unwrap();
    let backend = Backend::listen("outside", "127.0.0.1", Some(server(&own, false).unwrap())).await.unwrap();
    let policy = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {
            "targetRefs": [{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "api"}],
            "validation": {
                "hostname": "web", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "own"}],
            },
        },
    });
    let rule = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {"host": "api.example.org", "trafficPolicy": {
            "tls": {"mode": "SIMPLE", "credentialName": "roots", "sni": "web"},
        }},
    });
    let port = backend.address.port();
    for objects in [
        vec![entry("DNS", port), config_map("own", &own), policy],
        vec![entry("DNS", port), secret("roots", &[("ca.crt", &own.root_pem)]), rule],
    ] {
        let waypoint = waypoint(&objects).await.unwrap();
        let answer = until_answered(&waypoint, API, StatusCode::OK).await.unwrap();
        assert_eq!(answer.body["tls"], json!({"name": "web", "shows": false}));
    }
}

fn route(session: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}], "sessionPersistence": session}],
        },
    })
}

/// Sends a request without a session, and returns who answered and the header that has the session.
async fn begin(http: &mut Http, header: &str) -> anyhow::Result<(String, String)> {
    let answer = http.get("/", &[]).await?;
    let by = answer.body["by"].as_str().unwrap_or_default().to_owned();
    Ok((by, answer.headers.get(header).cloned().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_the_instance_that_it_began_with() {
    // Two that take HBONE, and one outside of the mesh.
    let (one, two, three) = (
        Backend::start("one", "127.0.5.1").await.unwrap(),
        Backend::start("two", "127.0.5.2").await.unwrap(),
        Backend::start("three", "127.0.5.3").await.unwrap(),
    );
    let hbone = "{ambient.istio.io/redirection: enabled}";
    let pods = [one.pod_with(hbone), two.pod_with(hbone), three.pod()].concat();
    let by_cookie = json!({
        "type": "Cookie", "sessionName": "stays", "absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"},
    });
    for session in [by_cookie, json!({"type": "Header", "sessionName": "x-stays"})] {
        let waypoint = Waypoint::of(&format!("{MESH}{pods}---\n{}\n", route(session.clone()))).await.unwrap();
        let certificate = waypoint.authority.issued("web").unwrap();
        let _hbone =
            [&one, &two].map(|of| Workload::forward((of.address.ip(), 15_008).into(), &certificate).unwrap());
        let mut http = waypoint.http(WEB).await.unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let (by, header) = if session["type"] == "Cookie" {
                let (by, set) = begin(&mut http, "set-cookie").await.unwrap();
                assert!(set.starts_with("stays=") && set.contains("Max-Age=3600"), "{set}");
                (by, ("cookie", set.split(';').next().unwrap_or_default().to_owned()))
            } else {
                let (by, value) = begin(&mut http, "x-stays").await.unwrap();
                (by, ("x-stays", value))
            };
            let again = answering(&mut http, 6, &[(header.0, &header.1)]).await.unwrap();
            assert_eq!(again, BTreeSet::from([by.clone()]), "{session}");
            seen.insert(by);
        }
        assert_eq!(seen.len(), 3, "{session}: all sessions are with {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_leads_to_what_a_request_asks_for_and_to_nothing_else() {
    let backend = Backend::start("asked", "127.0.0.1").await.unwrap();
    let other = Backend::start("other", "127.0.0.1").await.unwrap();
    let (port, further) = (backend.address.port(), other.address.port());
    let entry = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {
            "hosts": ["*.localhost"],
            "addresses": ["240.0.0.1"],
            "location": "MESH_EXTERNAL",
            "resolution": "DYNAMIC_DNS",
            "ports": [{"number": port, "name": "http", "protocol": "HTTP"}],
        },
    });
    let waypoint = waypoint(&[entry]).await.unwrap();
    let mut http = waypoint.http(&format!("240.0.0.1:{port}")).await.unwrap();
    for (host, expected) in [
        (format!("a.localhost:{port}"), Some("asked")),
        (format!("b.a.localhost:{port}"), Some("asked")),
        // Another port, another host, an address: all of them are there.
        (format!("a.localhost:{further}"), None),
        (format!("localhost:{port}"), None),
        // That of HTTP.
        ("a.localhost".to_owned(), None),
        (format!("127.0.0.1:{port}"), None),
    ] {
        let request = Request::get("/").header("host", &host).body(Empty::new()).unwrap();
        let answer = http.send(request).await.unwrap();
        assert_eq!(answer.body["by"].as_str(), expected, "{host}: {} {}", answer.status, answer.text);
        assert_eq!(answer.status == StatusCode::NOT_FOUND, expected.is_none(), "{host}");
    }
}

/// Opens a connection by TLS within a CONNECT, whose server is to have the name.
async fn secured(waypoint: &Waypoint, to: &str, name: &str, of: &Authority) -> anyhow::Result<Http> {
    let provider = Arc::new(default_provider());
    let (_, _, roots) = of.issued("nobody")?.tls()?;
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName::new(roots, provider)?))
        .with_no_client_auth();
    let stream = waypoint.connect_as("spiffe://cluster.local/ns/shop/sa/client", to, &[]).await?;
    let stream = stream.map_err(|status| anyhow::anyhow!("CONNECT {to}: {status}"))?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
    Http::new(TokioIo::new(stream)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_leads_tls_to_the_name_that_it_asks_for_and_to_nothing_else() {
    let own = Authority::new().unwrap();
    let tls = || Some(server(&own, false).unwrap());
    let backend = Backend::listen("asked", "127.0.0.1", tls()).await.unwrap();
    let port = backend.address.port();
    let entry = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {
            "hosts": ["*.localhost"],
            "addresses": ["240.0.0.1"],
            "location": "MESH_EXTERNAL",
            "resolution": "DYNAMIC_DNS",
            "ports": [{"number": port, "name": "tls", "protocol": "TLS"}],
        },
    });
    let mut waypoint = waypoint(&[entry]).await.unwrap();
    let to = format!("240.0.0.1:{port}");
    for name in ["a.localhost", "b.a.localhost"] {
        let answer = secured(&waypoint, &to, name, &own).await.unwrap().get("/", &[]).await.unwrap();
        assert_eq!(answer.body["by"], "asked", "{name}");
    }
    // Another host, which is there, and none at all.
    for name in ["localhost", "127.0.0.1"] {
        assert!(secured(&waypoint, &to, name, &own).await.is_err(), "{name}");
    }
    // What is no TLS asks for nothing.
    assert!(waypoint.http(&to).await.unwrap().get("/", &[]).await.is_err());
    // A policy of the entry is about the names.
    let spec = json!({
        "targetRefs": [{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "api"}],
        "action": "ALLOW",
        "rules": [{"when": [{"key": "connection.sni", "values": ["a.localhost"]}]}],
    });
    let policy = json!({"metadata": {"namespace": "shop", "name": "names"}, "spec": spec});
    waypoint.apply(&[(Kind::AuthorizationPolicy, policy)]).await.unwrap();
    let answer = secured(&waypoint, &to, "a.localhost", &own).await.unwrap().get("/", &[]).await.unwrap();
    assert_eq!(answer.body["by"], "asked");
    assert!(secured(&waypoint, &to, "b.a.localhost", &own).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_streams_of_one_address_come_to_one_instance() {
    let mut pods = String::new();
    for n in 1..=4 {
        let backend = Backend::start(&format!("b{n}"), &format!("127.0.0.{n}")).await.unwrap();
        pods.push_str(&backend.pod());
    }
    let rule = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"host": "web", "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"useSourceIp": true, "maglev": {}}},
        }},
    });
    let waypoint = Waypoint::of(&format!("{MESH}{pods}---\n{rule}\n")).await.unwrap();
    for to in [WEB, STREAMS] {
        let mut seen = BTreeSet::new();
        for n in 1..=12 {
            let mut by = BTreeSet::new();
            for _ in 0..3 {
                let mut http = waypoint.http_from([127, 0, 6, n].into(), to).await.unwrap();
                by.extend(answering(&mut http, 2, &[]).await.unwrap());
            }
            assert_eq!(by.len(), 1, "{to}: 127.0.6.{n} came to {by:?}");
            seen.extend(by);
        }
        assert!(seen.len() > 2, "{to}: all came to {seen:?}");
    }
}
