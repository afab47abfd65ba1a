//! Policies at a real Envoy that is what a waypoint is configured to be.

use super::traffic::{Answer, Http, Waypoint, echo, greeter, objects, service};
use anyhow::{Context, bail, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use model::{Event, Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use proto::{ResourceType, Scope};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::proxy::LIMIT;

const POLICY: Kind = Kind::AuthorizationPolicy;
pub const OK: u16 = 200;
pub const DENIED: u16 = 403;
pub const UNAUTHENTICATED: u16 = 401;

pub const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
const OTHER: &str = "spiffe://cluster.local/ns/far/sa/other";
pub const WEB: &str = "10.96.0.1:80";
const DB: &str = "10.96.0.3:3306";
const ANY: &str = "10.96.0.4:8000";
const SECURE: &str = "10.96.0.6:8443";

/// A waypoint, and what has been applied to it.
pub struct Case {
    pub waypoint: Waypoint,
    markers: usize,
    /// The policies that are there.
    applied: Vec<ObjectRef>,
}

impl Case {
    pub async fn start() -> anyhow::Result<Self> {
        let (first, second, stream) = (echo("first").await?, echo("second").await?, greeter().await?);
        Self::with(&objects(first, second, stream)).await
    }

    pub async fn with(objects: &str) -> anyhow::Result<Self> {
        Ok(Self { waypoint: Waypoint::of(objects).await?, markers: 0, applied: Vec::new() })
    }

    /// Applies policies in place of those of the last call, each with its namespace, and awaits that requests to `web`
    /// are subject to them.
    pub async fn policies(&mut self, policies: &[(&str, Value)]) -> anyhow::Result<()> {
        let all: Vec<_> = policies.iter().map(|(ns, spec)| (POLICY, *ns, spec.clone())).collect();
        self.apply(&all).await
    }

    /// As [`Self::policies`], of several kinds.
    pub async fn apply(&mut self, policies: &[(Kind, &str, Value)]) -> anyhow::Result<()> {
        let gone = std::mem::take(&mut self.applied);
        self.waypoint.change(gone.into_iter().map(Event::Remove).collect()).await?;
        self.until_answered("/", OK).await?;
        self.markers += 1;
        let marker = format!("/marker-{}", self.markers);
        // In the same resource as what it marks.
        let of_marker = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "action": "DENY",
            "rules": [{"to": [{"operation": {"paths": [marker]}}]}],
        });
        let mut objects = vec![policy("shop", "marker", &of_marker)];
        for (n, (kind, ns, spec)) in policies.iter().enumerate() {
            let name = format!("policy-{n}");
            objects.push((*kind, json!({"metadata": {"namespace": ns, "name": name}, "spec": spec})));
            self.applied.push(ObjectRef { kind: *kind, name: Name::new(ns, &name) });
        }
        self.waypoint.apply(&objects).await?;
        let is_so = until(LIMIT, async || {
            let status = self.ask(CLIENT, get(&marker)).await?.status;
            // A request without a token may be refused before policies of access see it.
            Ok((status == DENIED || status == UNAUTHENTICATED).then_some(()))
        });
        is_so.await.with_context(|| format!("{marker} is not refused"))
    }

    pub async fn until_answered(&self, path: &str, status: u16) -> anyhow::Result<()> {
        let is_so = until(LIMIT, async || {
            let answer = self.ask(CLIENT, get(path)).await?;
            Ok((answer.status == status).then_some(()))
        });
        is_so.await.with_context(|| format!("{path} is not answered with {status}"))
    }

    pub async fn http(&self, identity: &str, to: &str) -> anyhow::Result<Http> {
        match self.waypoint.connect_as(identity, to, &[]).await? {
            Ok(stream) => Http::new(stream.into_inner()).await,
            Err(status) => bail!("CONNECT {to}: {status}"),
        }
    }

    /// Sends a request to `web`.
    pub async fn ask(&self, identity: &str, request: Request<Empty<Bytes>>) -> anyhow::Result<Answer> {
        self.http(identity, WEB).await?.send(request).await
    }

    /// Applies one policy for `web` and tells which requests are answered otherwise than expected.
    async fn check(&mut self, spec: Value, requests: &[(Request<Empty<Bytes>>, u16)]) -> anyhow::Result<()> {
        let target = json!([{"group": "", "kind": "Service", "name": "web"}]);
        let mut spec = spec;
        spec["targetRefs"] = target;
        self.policies(&[("shop", spec.clone())]).await?;
        for (request, expected) in requests {
            let answer = self.ask(CLIENT, request.clone()).await?;
            ensure!(answer.status == *expected, "{spec}: {request:?} is answered with {}", answer.status);
        }
        Ok(())
    }
}

fn policy(ns: &str, name: &str, spec: &Value) -> (Kind, Value) {
    (POLICY, json!({"metadata": {"namespace": ns, "name": name}, "spec": spec}))
}

pub fn to(operation: Value) -> Value {
    json!([{"to": [{"operation": operation}]}])
}

pub fn from(source: Value) -> Value {
    json!([{"from": [{"source": source}]}])
}

pub fn when(key: &str, values: &[&str]) -> Value {
    json!([{"when": [{"key": key, "values": values}]}])
}

pub fn deny(rules: Value) -> Value {
    json!({"action": "DENY", "rules": rules})
}

pub fn allow(rules: Value) -> Value {
    json!({"action": "ALLOW", "rules": rules})
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "web");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

pub fn get(path: &str) -> Request<Empty<Bytes>> {
    request("GET", path, &[])
}

fn with(name: &str, value: &str) -> Request<Empty<Bytes>> {
    request("GET", "/", &[(name, value)])
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_denied_by_each_attribute() {
    let mut case = Case::start().await.unwrap();
    let post = || request("POST", "/", &[]);
    for (spec, requests) in [
        (
            deny(to(json!({"paths": ["/admin"]}))),
            vec![(get("/admin"), DENIED), (get("/admin?x=1"), DENIED), (get("/admin/x"), OK)],
        ),
        (
            deny(to(json!({"paths": ["/a/*", "*.txt"]}))),
            vec![(get("/a/x"), DENIED), (get("/b.txt"), DENIED), (get("/b"), OK)],
        ),
        (
            deny(to(json!({"paths": ["/a/{*}/c", "/d/{**}"]}))),
            vec![(get("/a/b/c"), DENIED), (get("/d/e/f"), DENIED), (get("/a/b/b/c"), OK)],
        ),
        (deny(to(json!({"notPaths": ["/open/*"]}))), vec![(get("/"), DENIED), (get("/open/x"), OK)]),
        (deny(to(json!({"methods": ["POST"]}))), vec![(post(), DENIED), (get("/"), OK)]),
        (deny(to(json!({"notMethods": ["GET"]}))), vec![(post(), DENIED), (get("/"), OK)]),
        (
            deny(to(json!({"hosts": ["admin.org"]}))),
            vec![(with("host", "admin.org"), DENIED), (with("host", "web"), OK)],
        ),
        (
            deny(to(json!({"notHosts": ["web", "*.org"]}))),
            vec![(with("host", "a.com"), DENIED), (get("/"), OK), (with("host", "a.org"), OK)],
        ),
        (deny(to(json!({"ports": ["80"]}))), vec![(get("/"), DENIED)]),
        (deny(to(json!({"notPorts": ["80"]}))), vec![(get("/"), OK)]),
        (
            deny(when("request.headers[X-Role]", &["admin"])),
            vec![(with("x-role", "admin"), DENIED), (with("x-role", "user"), OK), (get("/"), OK)],
        ),
        (
            deny(when("request.headers[x-role]", &["*"])),
            vec![(with("x-role", "any"), DENIED), (get("/"), OK)],
        ),
        (deny(when("destination.ip", &["10.96.0.0/16"])), vec![(get("/"), DENIED)]),
        (deny(when("destination.port", &["81"])), vec![(get("/"), OK)]),
        (deny(when("connection.sni", &["web"])), vec![(get("/"), OK)]),
        (
            allow(to(json!({"paths": ["/open"], "methods": ["GET"]}))),
            vec![(get("/open"), OK), (get("/"), DENIED), (request("POST", "/open", &[]), DENIED)],
        ),
        (
            allow(when("request.headers[x-role]", &["ad*"])),
            vec![(with("x-role", "admin"), OK), (with("x-role", "user"), DENIED), (get("/"), DENIED)],
        ),
        // What a rule makes of a request comes after.
        (deny(to(json!({"paths": ["/away/*"]}))), vec![(get("/away/x"), DENIED), (get("/away"), 301)]),
    ] {
        case.check(spec, &requests).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_known_by_their_certificate_and_their_address() {
    let mut case = Case::start().await.unwrap();
    for (source, of_client, of_other) in [
        (json!({"principals": ["cluster.local/ns/shop/sa/client"]}), DENIED, OK),
        (json!({"principals": ["cluster.local/ns/far/*"]}), OK, DENIED),
        (json!({"principals": ["*/sa/other"]}), OK, DENIED),
        (json!({"principals": ["*"]}), DENIED, DENIED),
        (json!({"notPrincipals": ["*/sa/client"]}), OK, DENIED),
        (json!({"namespaces": ["shop"]}), DENIED, OK),
        (json!({"namespaces": ["sh*"]}), DENIED, OK),
        (json!({"notNamespaces": ["far"]}), DENIED, OK),
        (json!({"serviceAccounts": ["client"]}), DENIED, OK),
        (json!({"serviceAccounts": ["far/other"]}), OK, DENIED),
        (json!({"notServiceAccounts": ["far/other"]}), DENIED, OK),
        (json!({"trustDomains": ["cluster.local"]}), DENIED, DENIED),
        (json!({"notTrustDomains": ["cluster.*"]}), OK, OK),
        (json!({"ipBlocks": ["127.0.0.0/8"]}), DENIED, DENIED),
        (json!({"ipBlocks": ["10.0.0.0/8"]}), OK, OK),
        (json!({"notIpBlocks": ["127.0.0.1"]}), OK, OK),
        (json!({"remoteIpBlocks": ["127.0.0.1"]}), DENIED, DENIED),
    ] {
        case.check(deny(from(source.clone())), &[]).await.unwrap();
        for (identity, expected) in [(CLIENT, of_client), (OTHER, of_other)] {
            let answer = case.ask(identity, get("/")).await.unwrap();
            assert_eq!(answer.status, expected, "{source} {identity}");
        }
    }
    let far = ("x-forwarded-for", "10.0.0.1");
    case.check(
        deny(from(json!({"remoteIpBlocks": ["10.0.0.1"]}))),
        &[(with(far.0, far.1), DENIED), (get("/"), OK)],
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_all_targets_add_up_and_denials_come_first() {
    let mut case = Case::start().await.unwrap();
    let web = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let waypoint = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}]);
    let class =
        json!([{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}]);
    let targeted = |target: &Value, spec: Value| {
        let mut spec = spec;
        spec["targetRefs"] = target.clone();
        spec
    };
    let statuses = async |case: &Case, paths: &[&str]| {
        let mut statuses = Vec::new();
        for path in paths {
            statuses.push(case.ask(CLIENT, get(path)).await.unwrap().status.as_u16());
        }
        statuses
    };
    let paths = |paths: &[&str]| to(json!({"paths": paths}));
    case.policies(&[
        ("shop", targeted(&web, allow(paths(&["/a", "/b"])))),
        ("shop", targeted(&waypoint, allow(paths(&["/c"])))),
        ("istio-system", targeted(&class, deny(paths(&["/b"])))),
    ])
    .await
    .unwrap();
    assert_eq!(statuses(&case, &["/a", "/b", "/c", "/d"]).await, [OK, DENIED, OK, DENIED]);
    // Those of the waypoint and its class are for its other services, too.
    let mut v2 = case.http(CLIENT, "10.96.0.2:80").await.unwrap();
    for (path, expected) in [("/a", DENIED), ("/b", DENIED), ("/c", OK)] {
        assert_eq!(v2.send(get(path)).await.unwrap().status, expected, "{path}");
    }

    // One that allows nothing, one that is only tried, one that is not understood, and one of another namespace.
    case.policies(&[("shop", targeted(&web, json!({})))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a"]).await, [DENIED]);
    case.policies(&[("shop", targeted(&web, deny(json!([]))))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a"]).await, [OK]);
    case.policies(&[("far", targeted(&web, deny(json!([{}]))))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a"]).await, [OK]);
    case.policies(&[("shop", targeted(&web, deny(json!([{"to": [{"operation": {"pathz": ["/"]}}]}]))))])
        .await
        .unwrap();
    assert_eq!(statuses(&case, &["/a"]).await, [DENIED]);
    let custom = json!({"action": "CUSTOM", "provider": {"name": "asked"}, "rules": paths(&["/a"])});
    case.policies(&[("shop", targeted(&web, custom))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a", "/b"]).await, [DENIED, OK]);
    let audit = json!({"action": "AUDIT", "rules": paths(&["/a"])});
    case.policies(&[("shop", targeted(&web, audit))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a", "/b"]).await, [OK, OK]);
    // Nobody has a principal by a token where none is looked at.
    let jwt = allow(from(json!({"requestPrincipals": ["*"]})));
    case.policies(&[("shop", targeted(&web, jwt))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a"]).await, [DENIED]);
    let jwt = deny(
        json!([{"from": [{"source": {"notRequestPrincipals": ["*"]}}], "to": [{"operation": {"paths": ["/a"]}}]}]),
    );
    case.policies(&[("shop", targeted(&web, jwt))]).await.unwrap();
    assert_eq!(statuses(&case, &["/a", "/b"]).await, [DENIED, OK]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lets_through_and_is_counted() {
    let mut case = Case::start().await.unwrap();
    let spec = json!({"action": "DENY", "rules": [{}], "targetRefs": [{"group": "", "kind": "Service", "name": "web"}]});
    let object = json!({
        "metadata": {"namespace": "shop", "name": "tried", "annotations": {"istio.io/dry-run": "true"}},
        "spec": spec,
    });
    case.waypoint.apply(&[(POLICY, object)]).await.unwrap();
    case.policies(&[]).await.unwrap();
    assert_eq!(case.ask(CLIENT, get("/")).await.unwrap().status, OK);
    let stats = case.waypoint.stats("istio_dry_run_deny_").await.unwrap();
    assert!(stats.lines().any(|line| line.contains("shadow_denied") && !line.ends_with(": 0")), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_otherwise_is_denied_all_the_same() {
    let mut case = Case::start().await.unwrap();
    let paths = [
        "//admin",
        "/admin/",
        "/x/../admin/",
        "/x/%2e%2e/admin/",
        "/%61dmin/",
        "/admin%2fx",
        "/x%2f..%2fadmin/",
        "/admin%5cx",
        "/.//admin/",
        "/admin/%2e",
    ];
    let denied: Vec<_> = paths.iter().map(|path| (get(path), DENIED)).collect();
    case.check(deny(to(json!({"paths": ["/admin", "/admin/*"]}))), &denied).await.unwrap();
    // What passes is what a server gets.
    let answer = case.ask(CLIENT, get("//x//..//admin/")).await.unwrap();
    assert_eq!((answer.status, &answer.body["path"]), (StatusCode::OK, &json!("/x/admin/")));
    // Paths have a case, and parameters.
    case.check(deny(to(json!({"paths": ["/admin"]}))), &[(get("/ADMIN"), OK), (get("/admin?/x"), DENIED)])
        .await
        .unwrap();
    let hosts = ["admin.org", "ADMIN.org", "admin.org.", "admin.org:80", "Admin.Org.:8080"];
    let mut denied: Vec<_> = hosts.iter().map(|host| (with("host", host), DENIED)).collect();
    // The target of a request has its host, whatever the header says.
    denied.push((request("GET", "http://admin.org/x", &[("host", "web")]), DENIED));
    case.check(deny(to(json!({"hosts": ["admin.org"]}))), &denied).await.unwrap();
    case.check(deny(to(json!({"paths": ["/admin"]}))), &[(request("GET", "http://web//admin", &[]), DENIED)])
        .await
        .unwrap();
    case.check(
        allow(to(json!({"hosts": ["web"]}))),
        &[(request("GET", "http://admin.org/", &[("host", "web")]), DENIED)],
    )
    .await
    .unwrap();
    // One of several values.
    let twice = |a: &str, b: &str| request("GET", "/", &[("x-role", a), ("X-ROLE", b)]);
    let roles = [
        (twice("user", "admin"), DENIED),
        (twice("admin", "user"), DENIED),
        (with("x-role", "user, admin"), DENIED),
    ];
    case.check(deny(when("request.headers[x-role]", &["admin"])), &roles).await.unwrap();
    case.check(
        allow(when("request.headers[x-role]", &["admin"])),
        &[(with("x-role", "user, admin"), DENIED), (with("x-role", "admin"), OK)],
    )
    .await
    .unwrap();
    let not = json!([{"when": [{"key": "request.headers[x-role]", "notValues": ["banned"]}]}]);
    case.check(allow(not), &[(twice("user", "banned"), DENIED), (with("x-role", "user"), OK)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_left_as_the_mesh_settings_say() {
    let mut case = Case::start().await.unwrap();
    let settings = |normalization: &str| {
        let mesh = format!("pathNormalization: {{normalization: {normalization}}}");
        let map = json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh}});
        [(Kind::ConfigMap, map)]
    };
    let sent = "//a/../%2fb%2F/c";
    for (normalization, expected) in [
        ("DEFAULT", "/b/c"),
        ("MERGE_SLASHES", "/%2fb%2F/c"),
        ("BASE", "//%2fb%2F/c"),
        ("NONE", sent),
        ("DECODE_AND_MERGE_SLASHES", "/b/c"),
    ] {
        case.waypoint.apply(&settings(normalization)).await.unwrap();
        let is_so = until(LIMIT, async || {
            let answer = case.ask(CLIENT, get(sent)).await?;
            Ok((answer.body["path"] == expected).then_some(()))
        });
        is_so.await.with_context(|| format!("{normalization}: not {expected}")).unwrap();
    }
    case.waypoint.apply(&settings("BASE")).await.unwrap();
    // A policy means what requests have then.
    let spec = deny(to(json!({"paths": ["/a%2Fb"]})));
    case.check(spec, &[(get("/a%2fb"), DENIED), (get("/a/b"), OK)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_says_who_calls() {
    let mut case = Case::start().await.unwrap();
    let forged = [
        ("x-forwarded-client-cert", "By=x;URI=spiffe://cluster.local/ns/far/sa/other"),
        ("x-pilothouse-scope", "inbound-vip|80|http|web-v2.shop.svc.cluster.local"),
        ("io.istio.peer_principal", OTHER),
        ("x-forwarded-for", "10.1.1.1"),
        ("baggage", "k8s.namespace.name=far"),
    ];
    let request = || request("GET", "/", &forged);
    case.check(allow(from(json!({"principals": ["*/sa/other"]}))), &[(request(), DENIED)]).await.unwrap();
    assert_eq!(case.ask(OTHER, get("/")).await.unwrap().status, OK);
    case.check(allow(from(json!({"ipBlocks": ["10.1.1.1"]}))), &[(request(), DENIED)]).await.unwrap();
    case.check(deny(from(json!({"principals": ["*/sa/client"]}))), &[(request(), DENIED)]).await.unwrap();
    case.check(deny(from(json!({"ipBlocks": ["127.0.0.1"]}))), &[(request(), DENIED)]).await.unwrap();
    // Those of a CONNECT do not, either.
    let stream = case.waypoint.connect_as(CLIENT, WEB, &forged).await.unwrap().unwrap();
    let mut web = Http::new(stream.into_inner()).await.unwrap();
    assert_eq!(web.send(get("/")).await.unwrap().status, DENIED);
    case.check(allow(from(json!({"ipBlocks": ["127.0.0.1"]}))), &[(request(), OK)]).await.unwrap();
    let answer = case.ask(CLIENT, request()).await.unwrap();
    assert_eq!(answer.body["headers"].get("x-forwarded-client-cert"), None, "{}", answer.body);
}

/// What a stream to the greeter comes to.
async fn greeted(case: &Case, identity: &str, headers: &[(&str, &str)]) -> anyhow::Result<bool> {
    match case.waypoint.connect_as(identity, DB, headers).await? {
        Err(status) => {
            ensure!(status == StatusCode::FORBIDDEN, "{status}");
            Ok(false)
        }
        Ok(mut stream) => {
            let mut first = [0; 5];
            let read = tokio::time::timeout(LIMIT, stream.read_exact(&mut first)).await?;
            Ok(read.is_ok())
        }
    }
}

async fn until_greeted(case: &Case, identity: &str, expected: bool) -> anyhow::Result<()> {
    let is_so = until(LIMIT, async || Ok((greeted(case, identity, &[]).await? == expected).then_some(())));
    is_so.await.with_context(|| format!("{identity}: not {expected}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_denied_before_a_server_is_heard() {
    let mut case = Case::start().await.unwrap();
    let db = json!([{"group": "", "kind": "Service", "name": "db"}]);
    for (rules, action, of_client, of_other) in [
        (from(json!({"namespaces": ["shop"]})), "DENY", false, true),
        (from(json!({"serviceAccounts": ["client"]})), "ALLOW", true, false),
        (from(json!({"ipBlocks": ["127.0.0.1"]})), "DENY", false, false),
        (from(json!({"ipBlocks": ["127.0.0.1"]})), "ALLOW", true, true),
        (to(json!({"ports": ["3306"]})), "DENY", false, false),
        (to(json!({"notPorts": ["3306"]})), "DENY", true, true),
        (when("destination.ip", &["10.96.0.3"]), "DENY", false, false),
        (to(json!({"ports": ["3306"]})), "ALLOW", true, true),
        // Attributes of requests: a rule that allows by them does not, one that denies by them does so without them.
        (to(json!({"methods": ["GET"]})), "ALLOW", false, false),
        (
            json!([{"from": [{"source": {"namespaces": ["far"]}}], "to": [{"operation": {"paths": ["/"]}}]}]),
            "DENY",
            true,
            false,
        ),
    ] {
        let spec = json!({"targetRefs": db, "action": action, "rules": rules});
        case.waypoint.apply(&[policy("shop", "stream", &spec)]).await.unwrap();
        until_greeted(&case, CLIENT, of_client).await.with_context(|| spec.to_string()).unwrap();
        until_greeted(&case, OTHER, of_other).await.with_context(|| spec.to_string()).unwrap();
    }
    let spec = json!({"targetRefs": db, "action": "DENY", "rules": from(json!({"ipBlocks": ["127.0.0.1"]}))});
    case.waypoint.apply(&[policy("shop", "stream", &spec)]).await.unwrap();
    until_greeted(&case, CLIENT, false).await.unwrap();
    assert!(!greeted(&case, CLIENT, &[("x-forwarded-for", "10.0.0.1")]).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_either_kind_is_no_way_around_rules_for_requests() {
    let mut case = Case::start().await.unwrap();
    let target = json!([{"group": "", "kind": "Service", "name": "any"}]);
    let bytes = async |case: &Case| -> anyhow::Result<bool> {
        let Ok(mut stream) = case.waypoint.connect_as(CLIENT, ANY, &[]).await? else { bail!("no CONNECT") };
        // No HTTP, at which the backend closes with an answer.
        stream.write_all(b"\x01\x02\r\n\r\n").await?;
        let mut answer = Vec::new();
        // What is denied is closed, or reset.
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await?;
        Ok(!answer.is_empty())
    };
    assert!(bytes(&case).await.unwrap());
    for (action, path) in [("DENY", "/admin"), ("ALLOW", "/open")] {
        let spec = json!({"targetRefs": target, "action": action, "rules": to(json!({"paths": [path]}))});
        case.waypoint.apply(&[policy("shop", "any", &spec)]).await.unwrap();
        let is_so = until(LIMIT, async || Ok((!bytes(&case).await?).then_some(())));
        is_so.await.with_context(|| spec.to_string()).unwrap();
        let mut any = case.http(CLIENT, ANY).await.unwrap();
        let status = any.send(get(path)).await.unwrap().status;
        assert_eq!(status, if action == "DENY" { DENIED } else { OK });
        let status = any.send(get("/else")).await.unwrap().status;
        assert_eq!(status, if action == "DENY" { OK } else { DENIED });
    }
}

/// Takes TLS and says hello.
async fn secure(chain: &str, key: &str) -> anyhow::Result<u16> {
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(
        vec![CertificateDer::from_pem_slice(chain.as_bytes())?],
        PrivateKeyDer::from_pem_slice(key.as_bytes())?,
    )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await?.write_all(b"hello").await });
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_apart_by_the_server_that_a_client_asks_for() {
    let authority = super::proxy::Authority::new().unwrap();
    let (chain, key) = authority.certificate("web.org").unwrap();
    let at = secure(&chain, &key).await.unwrap();
    let (first, second, stream) =
        (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
    let all = objects(first, second, stream) + &service("secure", "10.96.0.6", "8443", "tls", at);
    let mut case = Case::with(&all).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(config));
    // The certificate has one name: for another, the handshake gets far enough for an error of the client.
    let is_heard = async |case: &Case, name: &'static str| -> anyhow::Result<bool> {
        let Ok(stream) = case.waypoint.connect_as(CLIENT, SECURE, &[]).await? else { bail!("no CONNECT") };
        let stream = tls.connect(ServerName::try_from(name)?, stream).await;
        Ok(match stream {
            Ok(_) => true,
            Err(error) => error.to_string().contains("certificate"),
        })
    };
    let are_heard = until(LIMIT, async || {
        Ok((is_heard(&case, "web.org").await? && is_heard(&case, "other.org").await?).then_some(()))
    });
    are_heard.await.unwrap();
    for (action, of_web, of_other) in [("DENY", false, true), ("ALLOW", true, false)] {
        let spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "secure"}],
            "action": action,
            "rules": when("connection.sni", &["WEB.org"]),
        });
        case.waypoint.apply(&[policy("shop", "secure", &spec)]).await.unwrap();
        let is_so = until(LIMIT, async || Ok((is_heard(&case, "web.org").await? == of_web).then_some(())));
        is_so.await.with_context(|| spec.to_string()).unwrap();
        let is_so =
            until(LIMIT, async || Ok((is_heard(&case, "other.org").await? == of_other).then_some(())));
        is_so.await.with_context(|| spec.to_string()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_sends_the_scopes_that_it_concerns() {
    let mut case = Case::start().await.unwrap();
    let resources = |case: &mut Case, name: &str, target: Value, path: &str| {
        let spec = json!({"targetRefs": [target], "action": "DENY", "rules": to(json!({"paths": [path]}))});
        let (kind, object) = policy("shop", name, &spec);
        let parsed = model::parse(kind, object.to_string().as_bytes()).unwrap();
        let delta = case.waypoint.mesh.apply([Event::Put(parsed)]);
        let mut of_proxies: Vec<_> = delta.resources.iter().filter(|of| of.scope != Scope::Mesh).collect();
        of_proxies.sort_by_key(|of| of.name.clone());
        of_proxies.iter().map(|of| (of.resource_type, of.name.to_string())).collect::<Vec<_>>()
    };
    let web = json!({"group": "", "kind": "Service", "name": "web"});
    let name = |host: &str, port: u16| {
        (ResourceType::ScopedRoute, format!("inbound-vip|{port}|http|{host}.shop.svc.cluster.local"))
    };
    for path in ["/a", "/b"] {
        assert_eq!(resources(&mut case, "web", web.clone(), path), [name("web", 80)]);
    }
    // All that goes through the waypoint: never a listener of requests.
    let waypoint = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"});
    let sent = resources(&mut case, "all", waypoint, "/c");
    assert!(sent.contains(&name("web", 80)) && sent.contains(&name("web-v2", 80)), "{sent:?}");
    assert!(!sent.iter().any(|(_, name)| name == "main_internal" || name == "connect_terminate"), "{sent:?}");
}
