//! Connections through a real Envoy that is what a waypoint is configured to be.

use super::input::Input;
use super::proxy::{Authority, Control, Envoy, LIMIT};
use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Event, Kind};
use plane::Plane;
use proto::Scope;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A service with one port, whose backend is at a port of this machine.
pub fn service(name: &str, address: &str, port: &str, protocol: &str, at: u16) -> String {
    format!(
        "---\n\
         apiVersion: v1\n\
         kind: Service\n\
         metadata: {{namespace: shop, name: {name}}}\n\
         spec: {{clusterIP: {address}, ports: [{{name: {protocol}, port: {port}}}]}}\n\
         ---\n\
         apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata: {{namespace: shop, name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\n\
         endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]\n\
         ports: [{{name: {protocol}, port: {at}, protocol: TCP}}]\n"
    )
}

/// The objects: backends are at ports of this machine, outside of the mesh.
pub fn objects(first: u16, second: u16, stream: u16) -> String {
    let fixed = "\
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
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: web, generation: 1}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules:
  - matches: [{headers: [{name: x-version, value: \"2\"}]}]
    backendRefs: [{name: web-v2, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /away}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 301}}]
  - matches: [{path: {type: PathPrefix, value: /old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /nowhere}}]
    backendRefs: [{name: missing, port: 80}]
  - backendRefs: [{name: web, port: 80}]
";
    [
        fixed.to_owned(),
        service("web", "10.96.0.1", "80", "http", first),
        service("web-v2", "10.96.0.2", "80", "http", second),
        service("db", "10.96.0.3", "3306", "mysql", stream),
        service("any", "10.96.0.4", "8000", "any", first),
    ]
    .concat()
}

/// An Envoy with what a waypoint, or another gateway, is sent.
pub struct Waypoint {
    pub mesh: Plane,
    control: Control,
    envoy: Envoy,
    pub authority: Arc<Authority>,
}

impl Waypoint {
    async fn start() -> anyhow::Result<Self> {
        let (first, second, stream) = (echo("first").await?, echo("second").await?, greeter().await?);
        Self::of(&objects(first, second, stream)).await
    }

    /// Starts one of a mesh with these objects.
    pub async fn of(objects: &str) -> anyhow::Result<Self> {
        Self::with(objects, &Arc::new(Authority::new()?)).await
    }

    /// As [`Self::of`], of a mesh whose certificates have this authority.
    pub async fn with(objects: &str, authority: &Arc<Authority>) -> anyhow::Result<Self> {
        Self::start_at(objects, authority, None).await
    }

    /// As [`Self::of`], with what the gateway `shop/edge` is sent.
    pub async fn at_the_edge(objects: &str) -> anyhow::Result<Self> {
        let scope = Scope::proxy("shop/edge");
        Self::start_in(&scope, objects, &Arc::new(Authority::new()?), None).await
    }

    /// As [`Self::with`], with what another gateway is sent, by its namespace and name.
    pub async fn gateway(gateway: &str, objects: &str, authority: &Arc<Authority>) -> anyhow::Result<Self> {
        Self::start_in(&Scope::proxy(gateway), objects, authority, None).await
    }

    /// As [`Self::of`], one that is a pod of these objects.
    pub async fn at(objects: &str, pod: &str) -> anyhow::Result<Self> {
        Self::start_at(objects, &Arc::new(Authority::new()?), Some(pod)).await
    }

    async fn start_at(objects: &str, authority: &Arc<Authority>, pod: Option<&str>) -> anyhow::Result<Self> {
        Self::start_in(&Scope::proxy("shop/waypoint"), objects, authority, pod).await
    }

    async fn start_in(
        scope: &Scope,
        objects: &str,
        authority: &Arc<Authority>,
        pod: Option<&str>,
    ) -> anyhow::Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, objects)?;
        let input = Input::read(file.path());
        let mesh = input.apply_at_once(input.events.clone());
        let mut control = Control::start(scope, authority).await?;
        control.publish(&mesh.resources())?;
        let places = match pod {
            Some(pod) => mesh.identity().instance("shop", pod).context("no such instance")?.places.to_vec(),
            None => Vec::new(),
        };
        let mut envoy = Envoy::start(&control, &places)?;
        control.until_taken(&mut envoy).await?;
        Ok(Self { mesh, control, envoy, authority: Arc::clone(authority) })
    }

    /// What a client with an identity speaks TLS with.
    fn tls(&self, identity: &str) -> anyhow::Result<TlsConnector> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.root_pem.as_bytes())?)?;
        let (chain, key) = self.authority.certificate_of("client", identity)?;
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(tls)))
    }

    /// Applies objects, awaits that Envoy has them, and returns the bytes that it was sent.
    pub async fn apply(&mut self, objects: &[(Kind, Value)]) -> anyhow::Result<usize> {
        let events = objects.iter().map(|(kind, object)| {
            let parsed = model::parse(*kind, object.to_string().as_bytes());
            parsed.map(Event::Put).map_err(|wrong| anyhow::anyhow!("{wrong}"))
        });
        self.change(events.collect::<anyhow::Result<Vec<_>>>()?).await
    }

    /// As [`Self::apply`], for any events.
    pub async fn change(&mut self, events: Vec<Event>) -> anyhow::Result<usize> {
        let delta = self.mesh.apply(events);
        self.control.publish(&delta.resources)?;
        self.control.until_taken(&mut self.envoy).await?;
        let of_proxies = delta.resources.iter().filter(|of| of.scope != Scope::Mesh);
        Ok(of_proxies.filter_map(|of| of.body.as_ref()).map(|body| body.len()).sum())
    }

    /// Returns the statistics whose names have this in them, a line each.
    pub async fn stats(&self, name: &str) -> anyhow::Result<String> {
        let mut admin = Http::new(TokioIo::new(self.envoy.admin().await?)).await?;
        Ok(admin.get(&format!("/stats?filter={name}"), &[]).await?.text)
    }

    /// Returns the metrics, as who reads them gets them.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port("metrics-15090").await?)).await?;
        let mut metrics = Http::new(TokioIo::new(stream)).await?;
        let answer =
            metrics.get("/stats/prometheus", &[("accept", "application/vnd.google.protobuf")]).await?;
        anyhow::ensure!(answer.status == StatusCode::OK, "metrics: {} {}", answer.status, answer.text);
        Ok(answer.text)
    }

    /// What Envoy has written.
    pub fn log(&self) -> String {
        self.envoy.log()
    }

    /// The port of a listener.
    pub async fn port(&self, name: &str) -> anyhow::Result<u16> {
        Ok(self.addresses(name).await?.first().context("no address")?.port())
    }

    /// Where a listener listens.
    async fn addresses(&self, name: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let mut admin = Http::new(TokioIo::new(self.envoy.admin().await?)).await?;
        let listeners = admin.get("/listeners?format=json", &[]).await?.body;
        let mut all = listeners["listener_statuses"].as_array().into_iter().flatten();
        let own = all.find(|of| of["name"] == name).context("no such listener")?;
        let further = own["additional_local_addresses"].as_array().into_iter().flatten();
        let address = |of: &Value| {
            let socket = &of["socket_address"];
            let port = socket["port_value"].as_u64().context("no port")?;
            let ip = socket["address"].as_str().context("no address")?;
            Ok(SocketAddr::new(ip.parse()?, u16::try_from(port)?))
        };
        std::iter::once(&own["local_address"]).chain(further).map(address).collect()
    }

    /// Opens a connection to an address as a ztunnel does.
    async fn connect(&self, to: &str) -> anyhow::Result<Result<TokioIo<Upgraded>, StatusCode>> {
        self.connect_as("spiffe://cluster.local/ns/shop/sa/client", to, &[]).await
    }

    /// Opens a connection to an address as somebody with an identity, by a CONNECT with these headers.
    pub async fn connect_as(
        &self,
        identity: &str,
        to: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Result<TokioIo<Upgraded>, StatusCode>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port("connect_terminate").await?)).await?;
        self.connect_on(stream, identity, to, headers).await
    }

    /// Opens a connection for requests to an address from another of this machine.
    pub async fn http_from(&self, source: IpAddr, to: &str) -> anyhow::Result<Http> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(([127, 0, 0, 1], self.port("connect_terminate").await?).into()).await?;
        match self.connect_on(stream, "spiffe://cluster.local/ns/shop/sa/client", to, &[]).await? {
            Ok(stream) => Http::new(stream.into_inner()).await,
            Err(status) => bail!("CONNECT {to}: {status}"),
        }
    }

    async fn connect_on(
        &self,
        stream: TcpStream,
        identity: &str,
        to: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Result<TokioIo<Upgraded>, StatusCode>> {
        let stream = self.tls(identity)?.connect(ServerName::try_from("waypoint")?, stream).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(Method::CONNECT).uri(to);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        if response.status() != StatusCode::OK {
            return Ok(Err(response.status()));
        }
        Ok(Ok(TokioIo::new(hyper::upgrade::on(response).await?)))
    }

    /// Opens a connection for requests to an address.
    pub async fn http(&self, to: &str) -> anyhow::Result<Http> {
        match self.connect(to).await? {
            Ok(stream) => Http::new(stream.into_inner()).await,
            Err(status) => bail!("CONNECT {to}: {status}"),
        }
    }
}

/// A connection for requests.
pub struct Http(http1::SendRequest<Empty<Bytes>>);

pub struct Answer {
    pub status: StatusCode,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    pub text: String,
}

impl Http {
    pub async fn new<T>(io: T) -> anyhow::Result<Self>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut request = Request::get(path).header("host", "web");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Empty::new())?).await
    }

    pub async fn send(&mut self, request: Request<Empty<Bytes>>) -> anyhow::Result<Answer> {
        self.0.ready().await?;
        let (head, body) = tokio::time::timeout(LIMIT, self.0.send_request(request)).await??.into_parts();
        let body = body.collect().await?.to_bytes();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(Answer {
            status: head.status,
            headers: headers.collect(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// Answers requests with what came.
pub async fn echo(name: &'static str) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| async move {
                let mut headers: BTreeMap<String, String> = BTreeMap::new();
                for (name, value) in request.headers() {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    let all = headers.entry(name.to_string());
                    all.and_modify(|all| all.push_str(&format!(",{value}")))
                        .or_insert_with(|| value.into_owned());
                }
                let uri = request.uri();
                let body = json!({"by": name, "path": uri.path(), "query": uri.query(), "headers": headers});
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body.to_string()))))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(port)
}

/// Speaks first, and then sends back what comes.
pub async fn greeter() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"hello").await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_rules_of_the_port_that_was_called() {
    let waypoint = Waypoint::start().await.unwrap();
    let mut web = waypoint.http("10.96.0.1:80").await.unwrap();
    // Whatever a client says, it is the port that it called.
    let scope = ("x-pilothouse-scope", "inbound-vip|80|http|web-v2.shop.svc.cluster.local");
    let answer = web.get("/", &[scope]).await.unwrap();
    assert_eq!((answer.status, &answer.body["by"]), (StatusCode::OK, &json!("first")));
    assert_eq!(answer.body["headers"].get("x-pilothouse-scope"), None);
    let answer = web.get("/", &[("x-version", "2")]).await.unwrap();
    assert_eq!(answer.body["by"], "second");
    let answer = web.get("/away/x", &[]).await.unwrap();
    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(answer.headers["location"], "http://example.org/away/x");
    for (path, at_backend) in [("/old/x", "/x"), ("/old", "/"), ("/older", "/older"), ("/a/../old/y", "/y")] {
        assert_eq!(web.get(path, &[]).await.unwrap().body["path"], at_backend, "{path}");
    }
    let answer = web.get("/nowhere", &[]).await.unwrap();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_and_what_is_not_said_is_found_out() {
    let waypoint = Waypoint::start().await.unwrap();
    let mut stream = waypoint.connect("10.96.0.3:3306").await.unwrap().unwrap();
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"hello");
    stream.write_all(b"and").await.unwrap();
    let mut echoed = [0; 3];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"and");
    let mut any = waypoint.http("10.96.0.4:8000").await.unwrap();
    let answer = any.get("/found", &[]).await.unwrap();
    assert_eq!((&answer.body["by"], &answer.body["path"]), (&json!("first"), &json!("/found")));
    // It went as requests: Envoy has looked at it.
    assert!(answer.body["headers"].get("x-request-id").is_some(), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_service_of_the_waypoint_has_is_refused() {
    let waypoint = Waypoint::start().await.unwrap();
    for to in ["10.96.0.9:80", "10.96.0.1:81", "127.0.0.1:80"] {
        assert_eq!(waypoint.connect(to).await.unwrap().err(), Some(StatusCode::NOT_FOUND), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_disturbs_no_connection_of_others() {
    let mut waypoint = Waypoint::start().await.unwrap();
    let mut web = waypoint.http("10.96.0.1:80").await.unwrap();
    assert_eq!(web.get("/", &[]).await.unwrap().status, StatusCode::OK);
    let service = json!({
        "metadata": {"namespace": "shop", "name": "new"},
        "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80}]},
    });
    let bytes = waypoint.apply(&[(Kind::Service, service)]).await.unwrap();
    assert!(bytes < 3_000, "{bytes} bytes");
    // The same connection, and not one that is told to close.
    let answer = web.get("/still", &[]).await.unwrap();
    assert_eq!((answer.status, answer.headers.get("connection")), (StatusCode::OK, None));
    let mut new = waypoint.http("10.96.0.5:80").await.unwrap();
    assert_eq!(new.get("/", &[]).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_is_reached_at_addresses_of_the_families_that_its_instances_have() {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (own, further) in [(v6, None), (v4, Some(v6))] {
        let (first, second, stream) =
            (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
        let ips: Vec<String> =
            std::iter::once(own).chain(further).map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
        let pod = format!(
            "---\n\
             apiVersion: v1\n\
             kind: Pod\n\
             metadata: {{namespace: shop, name: waypoint-1, labels: {{gateway.networking.k8s.io/gateway-name: waypoint}}}}\n\
             status: {{podIPs: [{}], phase: Running}}\n",
            ips.join(", ")
        );
        let waypoint = Waypoint::of(&(objects(first, second, stream) + &pod)).await.unwrap();
        let listening = waypoint.addresses("connect_terminate").await.unwrap();
        assert_eq!(
            listening.iter().map(SocketAddr::is_ipv6).collect::<Vec<_>>(),
            match further {
                Some(_) => vec![false, true],
                None => vec![true],
            }
        );
        for (to, at) in std::iter::once(own).chain(further).zip(&listening) {
            let stream = TcpStream::connect((to, at.port())).await.unwrap();
            let client = "spiffe://cluster.local/ns/shop/sa/client";
            let stream = waypoint.connect_on(stream, client, "10.96.0.1:80", &[]).await.unwrap().unwrap();
            let answer = Http::new(stream.into_inner()).await.unwrap().get("/", &[]).await.unwrap();
            assert_eq!((answer.status, &answer.body["by"]), (StatusCode::OK, &json!("first")), "{to}");
        }
    }
}
