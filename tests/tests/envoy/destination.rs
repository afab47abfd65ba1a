//! What authors say of destinations, at a real Envoy that is what a waypoint is configured to be.

use super::peers::Workload;
use super::proxy::{Authority, LIMIT};
use super::traffic::{Answer, Http, Waypoint};
use anyhow::{Context, bail, ensure};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use model::{Event, Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use proto::ResourceType;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const WEB: &str = "10.96.0.1:80";

/// The waypoint, and the service `web` with instances by label.
pub const MESH: &str = "\
options: {gateway_api: true, configures_waypoints: true, is_one_machine: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: tcp, port: 81, targetPort: http}]
";

/// Answers requests with its own name, when and as the test says.
pub struct Backend {
    name: String,
    pub address: SocketAddr,
    arrived: watch::Receiver<usize>,
    is_open: watch::Sender<bool>,
    status: watch::Sender<StatusCode>,
}

impl Backend {
    /// Starts one at an address of this machine.
    pub async fn start(name: &str, address: &str) -> anyhow::Result<Self> {
        Self::listen(name, address, None).await
    }

    /// As [`Self::start`], in plaintext or by TLS.
    pub async fn listen(name: &str, address: &str, tls: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let at = listener.local_addr()?;
        let (arrivals, arrived) = watch::channel(0);
        let (is_open, opened) = watch::channel(true);
        let (status, current) = watch::channel(StatusCode::OK);
        let (own, arrivals) = (name.to_owned(), Arc::new(arrivals));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, arrivals, tls) = (own.clone(), Arc::clone(&arrivals), tls.clone());
                let (opened, current) = (opened.clone(), current.clone());
                tokio::spawn(async move {
                    let (stream, security) = secured(stream, tls).await?;
                    let answer = service_fn(move |request: Request<Incoming>| {
                        let (own, arrivals, security) =
                            (own.clone(), Arc::clone(&arrivals), security.clone());
                        let (mut opened, current) = (opened.clone(), current.clone());
                        async move {
                            arrivals.send_modify(|count| *count += 1);
                            let _ = opened.wait_for(|is_open| *is_open).await;
                            let headers = request.headers().iter().map(|(name, value)| {
                                (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes())))
                            });
                            let headers: serde_json::Map<String, Value> = headers.collect();
                            let body = json!({"by": own, "headers": headers, "tls": security}).to_string();
                            let mut response = Response::new(Full::new(Bytes::from(body)));
                            *response.status_mut() = *current.borrow();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    anyhow::Ok(connection.serve_connection(TokioIo::new(stream), answer).await?)
                });
            }
        });
        Ok(Self { name: name.to_owned(), address: at, arrived, is_open, status })
    }

    /// Awaits that so many requests have come in all.
    async fn until_arrived(&mut self, count: usize) -> anyhow::Result<()> {
        let arrived = self.arrived.wait_for(|arrived| *arrived >= count);
        tokio::time::timeout(LIMIT, arrived).await.context("no such request")??;
        Ok(())
    }

    /// The pod that it is, with a label of its name.
    pub fn pod(&self) -> String {
        self.pod_with("{}")
    }

    pub fn pod_with(&self, annotations: &str) -> String {
        let Self { name, address, .. } = self;
        format!(
            "---\n\
             apiVersion: v1\n\
             kind: Pod\n\
             metadata:\n  namespace: shop\n  name: {name}\n  labels: {{app: web, version: {name}}}\n  \
             annotations: {annotations}\n\
             spec:\n  containers: [{{name: web, image: web, ports: [{{name: http, containerPort: {}}}]}}]\n\
             status: {{podIP: {}, phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}\n",
            address.port(),
            address.ip(),
        )
    }
}

impl Backend {
    /// The pod that it is, on a node.
    pub fn pod_on(&self, node: &str) -> String {
        self.pod().replace("spec:\n  containers", &format!("spec:\n  nodeName: {node}\n  containers"))
    }

    /// Tells whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Answers with another status from now on.
    pub fn answer_with(&self, status: StatusCode) {
        self.status.send_replace(status);
    }
}

trait Bytestream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytestream for T {}

/// Returns what a client speaks in, and what it says of itself in TLS.
async fn secured(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<(Box<dyn Bytestream>, Value)> {
    let Some(tls) = tls else { return Ok((Box::new(stream), Value::Null)) };
    let stream = tls.accept(stream).await?;
    let of = stream.get_ref().1;
    let security = json!({"name": of.server_name(), "shows": of.peer_certificates().is_some()});
    Ok((Box::new(stream), security))
}

/// A DestinationRule for `web`, with a policy for all.
fn rule(policy: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"host": "web", "trafficPolicy": policy},
    })
}

/// A waypoint before backends, with further objects.
async fn waypoint(backends: &[&Backend], objects: &[Value]) -> anyhow::Result<Waypoint> {
    let pods = backends.iter().map(|of| of.pod());
    let objects = objects.iter().map(|object| format!("---\n{object}\n"));
    let all: Vec<String> = std::iter::once(MESH.to_owned()).chain(pods).chain(objects).collect();
    Waypoint::of(&all.concat()).await
}

/// Awaits that a statistic of `web` has a value.
async fn until_stat(waypoint: &Waypoint, name: &str, value: u64) -> anyhow::Result<()> {
    let found = until(LIMIT, async || Ok((stat(waypoint, name).await? == value).then_some(())));
    found.await.with_context(|| format!("{name} is not {value}"))
}

/// The value of a statistic of `web`, zero while there is none.
async fn stat(waypoint: &Waypoint, name: &str) -> anyhow::Result<u64> {
    let text = waypoint.stats(&format!("web.shop.*{name}$")).await?;
    let values = text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
    Ok(values.sum())
}

/// Sends a request to `web` on a connection of its own.
async fn ask(waypoint: &Waypoint, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    waypoint.http(WEB).await?.get(path, headers).await
}

/// Which of several backends answer so many requests.
pub async fn answering(
    http: &mut Http,
    count: usize,
    headers: &[(&str, &str)],
) -> anyhow::Result<BTreeSet<String>> {
    let mut by = BTreeSet::new();
    for _ in 0..count {
        let answer = http.get("/", headers).await?;
        ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, answer.text);
        by.insert(answer.body["by"].as_str().context("a name")?.to_owned());
    }
    Ok(by)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_at_its_bounds_and_closes_again() {
    let mut backend = Backend::start("one", "127.0.0.1").await.unwrap();
    let pool = json!({"connectionPool": {
        "tcp": {"maxConnections": 1, "connectTimeout": "2s"},
        "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 2, "idleTimeout": "30s"},
    }});
    let waypoint = waypoint(&[&backend], &[rule(pool)]).await.unwrap();
    backend.is_open.send_replace(false);
    let ask_later = async || {
        let mut http = waypoint.http(WEB).await?;
        anyhow::Ok(tokio::spawn(async move { http.get("/", &[]).await }))
    };
    let first = ask_later().await.unwrap();
    backend.until_arrived(1).await.unwrap();
    // The only connection is taken: one more may wait, and that is all.
    let second = ask_later().await.unwrap();
    until_stat(&waypoint, "upstream_rq_pending_active", 1).await.unwrap();
    let refused = ask(&waypoint, "/", &[]).await.unwrap();
    let flag = refused.headers.get("x-envoy-overloaded").map(String::as_str);
    assert_eq!((refused.status, flag), (StatusCode::SERVICE_UNAVAILABLE, Some("true")), "{}", refused.text);
    assert_eq!(stat(&waypoint, "upstream_rq_pending_overflow").await.unwrap(), 1);
    backend.is_open.send_replace(true);
    for waiting in [first, second] {
        assert_eq!(waiting.await.unwrap().unwrap().status, StatusCode::OK);
    }
    assert_eq!(ask(&waypoint, "/", &[]).await.unwrap().status, StatusCode::OK);
    // A connection is for two requests, so three took two.
    assert_eq!(stat(&waypoint, "upstream_cx_max_requests").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_endpoint_is_left_out_for_a_while_and_comes_back() {
    let (good, faulty) = (
        Backend::start("good", "127.0.0.1").await.unwrap(),
        Backend::start("faulty", "127.0.0.2").await.unwrap(),
    );
    let outliers = json!({"outlierDetection": {
        "consecutive5xxErrors": 2, "interval": "50ms", "baseEjectionTime": "1s", "maxEjectionPercent": 50,
    }});
    let waypoint = waypoint(&[&good, &faulty], &[rule(outliers)]).await.unwrap();
    let mut http = waypoint.http(WEB).await.unwrap();
    faulty.status.send_replace(StatusCode::INTERNAL_SERVER_ERROR);
    until(LIMIT, async || {
        http.get("/", &[]).await?;
        Ok((stat(&waypoint, "ejections_active").await? == 1).then_some(()))
    })
    .await
    .unwrap();
    // While it is left out, nobody sees it: what ends in between tells nothing.
    until(LIMIT, async || {
        let before = stat(&waypoint, "ejections_active").await?;
        let mut failed = 0;
        for _ in 0..20 {
            failed += usize::from(http.get("/", &[]).await?.status != StatusCode::OK);
        }
        let after = stat(&waypoint, "ejections_active").await?;
        if (before, after) == (1, 1) && failed > 0 {
            bail!("{failed} of 20 requests failed");
        }
        Ok((before == 1 && after == 1).then_some(()))
    })
    .await
    .unwrap();
    faulty.status.send_replace(StatusCode::OK);
    until(LIMIT, async || Ok((answering(&mut http, 10, &[]).await?.len() == 2).then_some(()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hashed_stays_with_one_endpoint_and_the_rest_is_spread() {
    let mut backends = Vec::new();
    for n in 1..=4 {
        backends.push(Backend::start(&format!("b{n}"), &format!("127.0.0.{n}")).await.unwrap());
    }
    let all: Vec<&Backend> = backends.iter().collect();
    let hash = |of: Value| json!({"loadBalancer": {"consistentHash": of}});
    let cookie = json!({"httpCookie": {"name": "user", "ttl": "60s", "path": "/"}});
    for (key, table) in [
        (json!({"httpHeaderName": "x-user"}), json!({"maglev": {"tableSize": 251}})),
        (json!({"httpQueryParameterName": "user"}), json!({"ringHash": {"minimumRingSize": 2048}})),
        (cookie, json!({})),
    ] {
        let mut of = key.clone();
        of.as_object_mut().unwrap().extend(table.as_object().unwrap().clone());
        let waypoint = waypoint(&all, &[rule(hash(of))]).await.unwrap();
        let mut http = waypoint.http(WEB).await.unwrap();
        let mut seen = BTreeSet::new();
        for user in 0..20 {
            let (user, mut by) = (format!("user-{user}"), BTreeSet::new());
            for _ in 0..4 {
                let answer = match () {
                    () if key.get("httpHeaderName").is_some() => http.get("/", &[("x-user", &user)]).await,
                    () if key.get("httpCookie").is_some() => {
                        http.get("/", &[("cookie", &format!("user={user}"))]).await
                    }
                    () => http.get(&format!("/?user={user}"), &[]).await,
                };
                by.insert(answer.unwrap().body["by"].to_string());
            }
            assert_eq!(by.len(), 1, "{key}: {user} came to {by:?}");
            seen.extend(by);
        }
        assert!(seen.len() > 2, "{key}: all came to {seen:?}");
        if key.get("httpCookie").is_some() {
            // Who has none is given one, with which it comes to the same.
            let first = http.get("/", &[]).await.unwrap();
            let given = first.headers["set-cookie"].split(';').next().unwrap().to_owned();
            assert!(given.starts_with("user=") && first.headers["set-cookie"].contains("Max-Age=60"));
            let by = answering(&mut http, 8, &[("cookie", &given)]).await.unwrap();
            assert_eq!(by, BTreeSet::from([first.body["by"].as_str().unwrap().to_owned()]));
        } else {
            assert!(
                answering(&mut http, 40, &[]).await.unwrap().len() > 1,
                "{key}: nothing hashed is spread"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_sends_the_clusters_of_its_host_and_no_other() {
    let backend = Backend::start("one", "127.0.0.1").await.unwrap();
    let mut waypoint = waypoint(&[&backend], &[rule(json!({}))]).await.unwrap();
    for n in 0..20 {
        let service = json!({
            "metadata": {"namespace": "shop", "name": format!("other-{n}")},
            "spec": {"clusterIP": format!("10.96.1.{n}"), "ports": [{"name": "http", "port": 80}]},
        });
        waypoint.apply(&[(Kind::Service, service)]).await.unwrap();
    }
    let mut sent = |policy: Value| {
        let event = model::Event::Put(
            model::parse(Kind::DestinationRule, rule(policy).to_string().as_bytes()).unwrap(),
        );
        let delta = waypoint.mesh.apply(vec![event]);
        let named = delta.resources.iter().map(|of| format!("{:?} {}", of.resource_type, of.name));
        named.collect::<BTreeSet<String>>()
    };
    let clusters = [
        "Cluster inbound-vip|80|http|web.shop.svc.cluster.local",
        "Cluster inbound-vip|81|tcp|web.shop.svc.cluster.local",
    ];
    let scope = "ScopedRoute inbound-vip|80|http|web.shop.svc.cluster.local";
    let expected = |of: &[&str]| of.iter().map(|of| (*of).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(sent(json!({"connectionPool": {"tcp": {"maxConnections": 7}}})), expected(&clusters));
    let hash = |header: &str| json!({"loadBalancer": {"consistentHash": {"httpHeaderName": header}}});
    let all = [clusters[0], clusters[1], scope];
    assert_eq!(sent(hash("x-user")), expected(&all));
    assert_eq!(sent(hash("x-other")), expected(&[scope]));
    // Of streams no header is hashed; their time limits are in their listener.
    let idle = json!({"portLevelSettings": [{"port": {"number": 81}, "connectionPool": {"tcp": {"idleTimeout": "5s"}}}]});
    let listener = "Listener main_internal|81|web.shop.svc.cluster.local";
    assert_eq!(sent(idle), expected(&[clusters[0], clusters[1], listener, scope]));
}

#[tokio::test(flavor = "multi_thread")]
async fn subsets_are_the_instances_with_their_labels() {
    let (one, two) =
        (Backend::start("v1", "127.0.0.1").await.unwrap(), Backend::start("v2", "127.0.0.2").await.unwrap());
    let to = |subset: &str| json!({"destination": {"host": "web", "subset": subset}});
    let route = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"hosts": ["web"], "http": [
            {"match": [{"headers": {"x-version": {"exact": "2"}}}], "route": [to("v2")]},
            {"match": [{"headers": {"x-version": {"exact": "9"}}}], "route": [to("v9")]},
            {"match": [{"headers": {"x-version": {"exact": "any"}}}], "route": [{"destination": {"host": "web"}}]},
            {"route": [to("v1")]},
        ]},
    });
    let mut rule = rule(json!({"loadBalancer": {"simple": "RANDOM"}}));
    rule["spec"]["subsets"] = json!([
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}},
    ]);
    let waypoint = waypoint(&[&one, &two], &[route, rule]).await.unwrap();
    let mut http = waypoint.http(WEB).await.unwrap();
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(answering(&mut http, 20, &[]).await.unwrap(), only("v1"));
    assert_eq!(answering(&mut http, 20, &[("x-version", "2")]).await.unwrap(), only("v2"));
    assert_eq!(answering(&mut http, 40, &[("x-version", "any")]).await.unwrap().len(), 2);
    let nowhere = http.get("/", &[("x-version", "9")]).await.unwrap();
    assert_eq!(nowhere.status, StatusCode::INTERNAL_SERVER_ERROR);
}

/// What a server has in TLS, whose clients show certificates of the same authority, or none.
pub fn server(authority: &Authority, needs_client: bool) -> anyhow::Result<TlsAcceptor> {
    let (chain, key, roots) = authority.issued("web")?.tls()?;
    let verifier = WebPkiClientVerifier::builder(roots);
    let verifier = if needs_client { verifier } else { verifier.allow_unauthenticated() };
    let config = ServerConfig::builder().with_client_cert_verifier(verifier.build()?);
    Ok(TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key)?)))
}

/// Awaits what requests to an address are answered with.
pub async fn until_answered(waypoint: &Waypoint, to: &str, status: StatusCode) -> anyhow::Result<Answer> {
    let mut last = String::new();
    let answered = until(LIMIT, async || {
        let answer = waypoint.http(to).await?.get("/", &[]).await?;
        last = format!("{}: {}", answer.status, answer.text);
        Ok((answer.status == status).then_some(answer))
    })
    .await;
    answered.with_context(|| format!("{status} is expected, and it is {last}"))
}

pub fn config_map(name: &str, authority: &Authority) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "shop", "name": name},
        "data": {"ca.crt": authority.root_pem},
    })
}

pub fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let data =
        data.iter().map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.as_bytes().to_vec()))));
    let data: serde_json::Map<String, Value> = data.collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": name}, "data": data})
}

fn backend_tls(validation: Value) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "validation": validation},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_whom_a_waypoint_trusts_behind_it() {
    let (own, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let backend = Backend::listen("one", "127.0.0.1", Some(server(&own, false).unwrap())).await.unwrap();
    let objects = [config_map("own", &own), config_map("other", &other)];
    let mut waypoint = waypoint(&[&backend], &objects).await.unwrap();
    let refused = StatusCode::SERVICE_UNAVAILABLE;
    // In plaintext, nobody answers it.
    assert_ne!(ask(&waypoint, "/", &[]).await.unwrap().status, StatusCode::OK);
    let ca = |name: &str| json!([{"group": "", "kind": "ConfigMap", "name": name}]);
    let uri = |uri: &str| json!([{"type": "URI", "uri": uri}]);
    let cases = [
        (json!({"hostname": "web", "caCertificateRefs": ca("own")}), StatusCode::OK),
        (json!({"hostname": "web.example.org", "caCertificateRefs": ca("own")}), refused),
        (
            json!({
                "hostname": "web.example.org",
                "caCertificateRefs": ca("own"),
                "subjectAltNames": uri("spiffe://cluster.local/ns/shop/sa/web"),
            }),
            StatusCode::OK,
        ),
        (json!({"hostname": "web", "caCertificateRefs": ca("other")}), refused),
        (json!({"hostname": "web", "caCertificateRefs": ca("own")}), StatusCode::OK),
        (json!({"hostname": "web", "caCertificateRefs": ca("missing")}), refused),
        (json!({"hostname": "web", "caCertificateRefs": ca("own")}), StatusCode::OK),
        (json!({"hostname": "web", "wellKnownCACertificates": "System"}), refused),
    ];
    for (validation, status) in cases {
        waypoint.apply(&[(Kind::BackendTLSPolicy, backend_tls(validation.clone()))]).await.unwrap();
        let answer =
            until_answered(&waypoint, WEB, status).await.with_context(|| validation.to_string()).unwrap();
        if status == StatusCode::OK {
            assert_eq!(answer.body["tls"]["name"], validation["hostname"]);
        } else {
            // It ends with the handshake. What came before was by the policy before.
            let after = *backend.arrived.borrow();
            assert_eq!(ask(&waypoint, "/", &[]).await.unwrap().status, refused, "{validation}");
            assert_eq!(*backend.arrived.borrow(), after, "{validation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_has_a_waypoint_speak_tls_and_show_a_certificate() {
    let (own, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let backend = Backend::listen("one", "127.0.0.1", Some(server(&own, true).unwrap())).await.unwrap();
    let (chain, key) = own.certificate("waypoint-client").unwrap();
    let (foreign, foreign_key) = other.certificate("waypoint-client").unwrap();
    let ca = ("ca.crt", own.root_pem.as_str());
    let objects = [
        secret("pair", &[ca, ("tls.crt", &chain), ("tls.key", &key)]),
        secret("foreign", &[ca, ("tls.crt", &foreign), ("tls.key", &foreign_key)]),
        secret("roots", &[ca]),
    ];
    let mut waypoint = waypoint(&[&backend], &objects).await.unwrap();
    for (tls, is_answered) in [
        (json!({"mode": "MUTUAL", "credentialName": "pair", "sni": "web"}), true),
        // Without a certificate, it is not let in.
        (json!({"mode": "SIMPLE", "credentialName": "roots", "sni": "web"}), false),
        // The name of the request, which is verified.
        (json!({"mode": "MUTUAL", "credentialName": "pair"}), true),
        (json!({"mode": "MUTUAL", "credentialName": "foreign"}), false),
        (
            json!({"mode": "MUTUAL", "credentialName": "pair", "sni": "other", "subjectAltNames": ["web"]}),
            true,
        ),
        (json!({"mode": "MUTUAL", "credentialName": "pair", "sni": "other"}), false),
        (
            json!({"mode": "MUTUAL", "credentialName": "pair", "sni": "other", "insecureSkipVerify": true}),
            true,
        ),
        (json!({"mode": "MUTUAL", "credentialName": "missing"}), false),
        (json!({"mode": "MUTUAL", "credentialName": "pair"}), true),
        (json!({"mode": "SIMPLE", "caCertificates": "/etc/ca.pem"}), false),
    ] {
        waypoint.apply(&[(Kind::DestinationRule, rule(json!({"tls": tls.clone()})))]).await.unwrap();
        let status = if is_answered { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let answer = until_answered(&waypoint, WEB, status).await.with_context(|| tls.to_string()).unwrap();
        if is_answered {
            let name = tls["sni"].as_str().unwrap_or("web");
            assert_eq!(answer.body["tls"], json!({"name": name, "shows": true}), "{tls}");
        }
    }
    // Without the rule, nothing is left of the key.
    let rule = rule(json!({"tls": {"mode": "MUTUAL", "credentialName": "pair"}}));
    let put = Event::Put(model::parse(Kind::DestinationRule, rule.to_string().as_bytes()).unwrap());
    let gone = Event::Remove(ObjectRef { kind: Kind::DestinationRule, name: Name::new("shop", "web") });
    for (event, is_there) in [(put, true), (gone, false)] {
        let delta = waypoint.mesh.apply(vec![event]);
        let secrets = delta.resources.iter().filter(|of| of.resource_type == ResourceType::Secret);
        let secrets: Vec<_> = secrets.map(|of| (of.name.as_str(), of.body.is_some())).collect();
        assert_eq!(secrets, [("kubernetes://shop/pair", is_there)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn within_hbone_pools_breakers_and_tls_are_those_of_the_application() {
    let own = Authority::new().unwrap();
    let backend = Backend::listen("one", "127.0.4.1", Some(server(&own, false).unwrap())).await.unwrap();
    let pod = backend.pod_with("{ambient.istio.io/redirection: enabled}");
    let keepalive = json!({"probes": 3, "time": "30s", "interval": "5s"});
    let rule = rule(json!({
        "connectionPool": {"tcp": {"maxConnections": 1, "tcpKeepalive": keepalive, "connectTimeout": "3s"}},
        "tls": {"mode": "SIMPLE", "credentialName": "roots", "sni": "web"},
        "outlierDetection": {"consecutive5xxErrors": 3},
    }));
    let roots = secret("roots", &[("ca.crt", &own.root_pem)]);
    let all = [MESH.to_owned(), pod, format!("---\n{rule}\n---\n{roots}\n")];
    let waypoint = Waypoint::of(&all.concat()).await.unwrap();
    let certificate = waypoint.authority.issued("web").unwrap();
    let _hbone = Workload::forward("127.0.4.1:15008".parse().unwrap(), &certificate).unwrap();
    for _ in 0..5 {
        let answer = ask(&waypoint, "/", &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.body["tls"], json!({"name": "web", "shows": false}));
    }
    assert_eq!(stat(&waypoint, "upstream_cx_total").await.unwrap(), 1);
}
