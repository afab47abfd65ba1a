//! Requests that somebody else decides about, at a real Envoy that is what a waypoint is configured to be.

use super::jwt::Issuer;
use super::policy::{CLIENT, Case, DENIED, OK, UNAUTHENTICATED, allow, get, request, to};
use super::proxy::LIMIT;
use super::traffic::{echo, greeter, objects, service};
use anyhow::Context;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use prost::Message;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::r#type::v3::HttpStatus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What an authorizer was asked about: path and headers, and the body if it was sent.
#[derive(Clone, Debug, Default)]
struct Question {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// An authorizer that lets through what has the header `x-let`, and what it was asked about.
#[derive(Clone, Default)]
struct Authorizer(Arc<Mutex<Vec<Question>>>);

impl Authorizer {
    fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn decide(&self, question: Question) -> bool {
        let lets = question.headers.contains_key("x-let");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(question);
        lets
    }

    /// Answers by HTTP, and returns its port.
    async fn by_http(&self) -> anyhow::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, own) = (listener.local_addr()?.port(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let own = own.clone();
                    async move {
                        let question = Question {
                            path: request.uri().to_string(),
                            headers: texts(request.headers()),
                            body: String::new(),
                        };
                        let lets = own.decide(question);
                        let response = Response::builder()
                            .status(if lets {
                                StatusCode::OK
                            } else {
                                StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
                            })
                            .header("x-by", "http")
                            .header(
                                "x-pilothouse-scope",
                                "inbound-vip|80|http|web-v2.shop.svc.cluster.local",
                            );
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from("asked by http"))).unwrap())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(port)
    }

    /// Answers by gRPC, and returns its port.
    async fn by_grpc(&self) -> anyhow::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, own) = (listener.local_addr()?.port(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let own = own.clone();
                    async move { own.check(request).await }
                });
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(port)
    }

    async fn check(
        &self,
        request: Request<Incoming>,
    ) -> anyhow::Result<
        Response<StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + use<>>>,
    > {
        assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
        let body = request.into_body().collect().await?.to_bytes();
        let http = CheckRequest::decode(&body[5..])?
            .attributes
            .and_then(|of| of.request)
            .and_then(|of| of.http)
            .context("no request")?;
        let lets = self.decide(Question { path: http.path, headers: http.headers, body: http.body });
        let header = |key: &str, value: &str| HeaderValueOption {
            header: Some(HeaderValue { key: key.to_owned(), value: value.to_owned() }),
            ..HeaderValueOption::default()
        };
        let answer = if lets {
            let scope = "inbound-vip|80|http|web-v2.shop.svc.cluster.local";
            let headers = vec![header("x-by", "grpc"), header("x-pilothouse-scope", scope)];
            CheckResponse { status: Some(Status { code: 0 }), denied: None, ok: Some(OkResponse { headers }) }
        } else {
            let denied = DeniedResponse {
                status: Some(HttpStatus { code: 451 }),
                headers: vec![header("x-by", "grpc")],
                body: "asked by grpc".to_owned(),
            };
            CheckResponse { status: Some(Status { code: 7 }), denied: Some(denied), ok: None }
        };
        let message = answer.encode_to_vec();
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len())?.to_be_bytes());
        framed.extend(message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse()?);
        let frames = [Ok(Frame::data(Bytes::from(framed))), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures::stream::iter(frames));
        Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

// What of Envoy's protocol is needed to answer.
#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "4")]
    request: Option<OfRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct OfRequest {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(btree_map = "string, string", tag = "3")]
    headers: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "11")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    denied: Option<DeniedResponse>,
    #[prost(message, optional, tag = "3")]
    ok: Option<OkResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct DeniedResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct OkResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
}

const OTHERWISE: u16 = 451;

/// A waypoint beside authorizers: by HTTP as a service of the waypoint itself, by gRPC as one of another namespace.
async fn start() -> anyhow::Result<(Case, Authorizer, Authorizer)> {
    let (http, grpc) = (Authorizer::default(), Authorizer::default());
    let web = objects(echo("first").await?, echo("second").await?, greeter().await?);
    let own = service("authz", "10.96.0.7", "8000", "http", http.by_http().await?);
    let others = service("authz", "10.96.0.8", "9000", "grpc", grpc.by_grpc().await?);
    let others = others.replace("namespace: shop", "namespace: tools");
    // Nobody listens there.
    let silent = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let silent = service("silent", "10.96.0.9", "9000", "grpc", silent);
    let mut case = Case::with(&[web, own, others, silent].concat()).await?;
    providers(&mut case, Value::Null).await?;
    Ok((case, http, grpc))
}

/// Writes mesh settings whose providers have this besides.
async fn providers(case: &mut Case, more: Value) -> anyhow::Result<()> {
    let mut all = json!([
        {"name": "by-http", "envoyExtAuthzHttp": {
            "service": "authz.shop.svc.cluster.local", "port": 8000, "timeout": "20s", "pathPrefix": "/check",
            "includeRequestHeadersInCheck": ["X-Let", "x-user*"],
            "includeAdditionalHeadersInCheck": {"x-from": "waypoint"},
            "headersToUpstreamOnAllow": ["x-by", "x-pilothouse-*"], "headersToDownstreamOnDeny": ["x-by"],
            "headersToDownstreamOnAllow": ["x-b*"],
        }},
        {"name": "by-grpc", "envoyExtAuthzGrpc": {
            "service": "tools/authz.tools.svc.cluster.local", "port": 9000, "timeout": "20s",
            "clearRouteCache": true, "includeRequestBodyInCheck": {"maxRequestBytes": 8, "allowPartialMessage": true},
        }},
        {"name": "silent", "envoyExtAuthzGrpc": {
            "service": "silent.shop.svc.cluster.local", "port": 9000, "timeout": "2s", "statusOnError": "503",
        }},
        {"name": "silent-open", "envoyExtAuthzGrpc": {
            "service": "silent.shop.svc.cluster.local", "port": 9000, "timeout": "2s", "failOpen": true,
        }},
        {"name": "missing", "envoyExtAuthzGrpc": {"service": "missing.shop.svc.cluster.local", "port": 9000}},
        {"name": "no-port", "envoyExtAuthzHttp": {"service": "authz.shop.svc.cluster.local", "port": 8001}},
        {"name": "no-grpc", "envoyExtAuthzGrpc": {"service": "authz.shop.svc.cluster.local", "port": 8000}},
        {"name": "zipkin", "zipkin": {"service": "authz.shop.svc.cluster.local", "port": 8000}},
    ]);
    if let (Some(all), Some(more)) = (all.as_array_mut(), more.as_array()) {
        all.extend(more.iter().cloned());
    }
    let mesh = json!({"extensionProviders": all}).to_string();
    let map = json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh}});
    case.waypoint.apply(&[(Kind::ConfigMap, map)]).await?;
    Ok(())
}

fn web() -> Value {
    json!([{"group": "", "kind": "Service", "name": "web"}])
}

/// A policy for `web` by which somebody is asked about these paths.
fn ask(provider: &str, paths: &[&str]) -> (Kind, &'static str, Value) {
    let spec = json!({
        "targetRefs": web(), "action": "CUSTOM", "provider": {"name": provider}, "rules": to(json!({"paths": paths})),
    });
    (Kind::AuthorizationPolicy, "shop", spec)
}

fn condition(case: &Case) -> (bool, &'static str, String) {
    let of = ObjectRef { kind: Kind::AuthorizationPolicy, name: Name::new("shop", "policy-0") };
    let conditions = case.waypoint.mesh.conditions_of(&of).unwrap();
    let found = conditions.conditions.iter().find(|of| of.kind == "WaypointAccepted").unwrap();
    (found.status, found.reason, found.message.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_asked_by_http_about_what_rules_match_and_nothing_else() {
    let (mut case, http, _) = start().await.unwrap();
    case.apply(&[ask("by-http", &["/in/*"])]).await.unwrap();
    assert_eq!(condition(&case), (true, "Accepted", "bound to shop/waypoint".to_owned()));
    http.asked();
    assert_eq!(case.ask(CLIENT, get("/")).await.unwrap().status, OK);
    assert!(http.asked().is_empty(), "nobody is asked about it");
    let headers = [("x-user-id", "7"), ("x-other", "8")];
    let answer = case.ask(CLIENT, request("GET", "/in//x", &headers)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (OTHERWISE, "asked by http"));
    assert_eq!(answer.headers.get("x-by").map(String::as_str), Some("http"));
    let asked = http.asked();
    let [question] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(question.path, "/check/in/x");
    let header = |name: &str| question.headers.get(name).map(String::as_str);
    assert_eq!(
        (header("x-user-id"), header("x-other"), header("x-from")),
        (Some("7"), None, Some("waypoint"))
    );
    // What is let through goes on with what the authorizer says, but for what has a meaning within proxies.
    let answer = case.ask(CLIENT, request("GET", "/in/x", &[("x-let", "yes")])).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body["by"]), (OK, &json!("first")));
    assert_eq!(answer.body["headers"]["x-by"], json!("http"));
    assert_eq!(answer.headers.get("x-by").map(String::as_str), Some("http"));
    // And is subject to all other policies.
    case.apply(&[
        ask("by-http", &["/in/*"]),
        (Kind::AuthorizationPolicy, "shop", {
            let mut spec = allow(to(json!({"paths": ["/in/a"]})));
            spec["targetRefs"] = web();
            spec
        }),
    ])
    .await
    .unwrap();
    for (path, expected) in [("/in/a", OK), ("/in/b", DENIED), ("/", DENIED)] {
        let answer = case.ask(CLIENT, request("GET", path, &[("x-let", "yes")])).await.unwrap();
        assert_eq!(answer.status, expected, "{path}");
    }
    assert_eq!(case.ask(CLIENT, get("/in/a")).await.unwrap().status, OTHERWISE);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_asked_by_grpc_before_tokens_are_looked_at() {
    let (mut case, _, grpc) = start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    let rules = json!([{"issuer": issuer.name, "jwks": issuer.key_set()}]);
    let tokens = (Kind::RequestAuthentication, "shop", json!({"targetRefs": web(), "jwtRules": rules}));
    case.apply(&[ask("by-grpc", &["/in", "/in/*"]), tokens]).await.unwrap();
    assert_eq!(condition(&case).1, "Accepted");
    let bad = ("authorization", "Bearer nonsense");
    let good = format!("Bearer {}", issuer.token(json!({"sub": "joe"})));
    for (headers, expected) in [
        (vec![], OTHERWISE),
        (vec![bad], OTHERWISE),
        (vec![bad, ("x-let", "yes")], UNAUTHENTICATED),
        (vec![("authorization", good.as_str()), ("x-let", "yes")], OK),
    ] {
        let answer = case.ask(CLIENT, request("GET", "/in", &headers)).await.unwrap();
        assert_eq!(answer.status, expected, "{headers:?}: {}", answer.text);
    }
    let answer = case.ask(CLIENT, request("GET", "/in", &[("x-let", "yes")])).await.unwrap();
    assert_eq!((&answer.body["by"], &answer.body["headers"]["x-by"]), (&json!("first"), &json!("grpc")));
    assert_eq!(case.ask(CLIENT, get("/in")).await.unwrap().text, "asked by grpc");
    // It sees all headers, and as much of the body as it is to.
    grpc.asked();
    let mut stream =
        case.waypoint.connect_as(CLIENT, "10.96.0.1:80", &[]).await.unwrap().unwrap().into_inner();
    let mut stream = TokioIo::new(&mut stream);
    let text = "POST /in/x HTTP/1.1\r\nhost: web\r\nx-any: 1\r\ncontent-length: 12\r\n\r\nhello, world";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"asked by grpc") {
        let read = tokio::time::timeout(LIMIT, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 451"), "{}", String::from_utf8_lossy(&answer));
    let asked = grpc.asked();
    let [question] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((question.path.as_str(), question.body.as_str()), ("/in/x", "hello, w"));
    assert_eq!(question.headers.get("x-any").map(String::as_str), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_asked_each_about_its_own() {
    let (mut case, http, grpc) = start().await.unwrap();
    case.apply(&[ask("by-http", &["/http", "/both"]), ask("by-grpc", &["/grpc", "/both"])]).await.unwrap();
    for (path, expected) in [("/http", [1, 0]), ("/grpc", [0, 1]), ("/both", [1, 1]), ("/none", [0, 0])] {
        http.asked();
        grpc.asked();
        let answer = case.ask(CLIENT, request("GET", path, &[("x-let", "yes")])).await.unwrap();
        assert_eq!(answer.status, OK, "{path}");
        assert_eq!([http.asked().len(), grpc.asked().len()], expected, "{path}");
        let denied = case.ask(CLIENT, get(path)).await.unwrap().status;
        assert_eq!(denied, if expected == [0, 0] { OK } else { OTHERWISE }, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_asked_lets_nothing_through_unless_it_is_to() {
    let (mut case, ..) = start().await.unwrap();
    for (provider, expected) in [("silent", 503), ("silent-open", OK)] {
        case.apply(&[ask(provider, &["/in"])]).await.unwrap();
        assert_eq!(condition(&case).1, "Accepted");
        assert_eq!(case.ask(CLIENT, get("/in")).await.unwrap().status, expected, "{provider}");
        assert_eq!(case.ask(CLIENT, get("/")).await.unwrap().status, OK);
    }
    for (provider, why) in [
        ("unknown", "has no \"unknown\""),
        ("zipkin", "has no \"zipkin\""),
        ("missing", "there is no service"),
        ("no-port", "has no port 8001"),
        ("no-grpc", "none of gRPC"),
    ] {
        case.apply(&[ask(provider, &["/in"])]).await.unwrap();
        let (status, reason, message) = condition(&case);
        assert_eq!((status, reason), (false, "UnsupportedValue"));
        assert!(message.contains(why), "{message}");
        let told = case.waypoint.mesh.diagnostics();
        assert!(told.iter().any(|of| of.code == "AP115" && of.message.contains(why)), "{told:?}");
        for (path, expected) in [("/in", DENIED), ("/", OK)] {
            let answer = case.ask(CLIENT, request("GET", path, &[("x-let", "yes")])).await.unwrap();
            assert_eq!(answer.status, expected, "{provider} {path}");
        }
    }
    // One that comes is asked from then on.
    case.apply(&[ask("late", &["/in"])]).await.unwrap();
    assert!(!condition(&case).0);
    let late = json!([{"name": "late", "envoyExtAuthzGrpc": {"service": "authz.tools.svc.cluster.local", "port": 9000}}]);
    providers(&mut case, late).await.unwrap();
    let is_so = until(LIMIT, async || {
        let answer = case.ask(CLIENT, request("GET", "/in", &[("x-let", "yes")])).await?;
        Ok((answer.status == OK).then_some(()))
    });
    is_so.await.unwrap();
    assert_eq!(condition(&case).1, "Accepted");
    assert_eq!(case.ask(CLIENT, get("/in")).await.unwrap().status, OTHERWISE);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_streams_and_what_rules_match_is_denied() {
    let (mut case, _, grpc) = start().await.unwrap();
    let spec = |rules: Value| {
        let db = json!([{"group": "", "kind": "Service", "name": "db"}]);
        let spec =
            json!({"targetRefs": db, "action": "CUSTOM", "provider": {"name": "by-grpc"}, "rules": rules});
        (Kind::AuthorizationPolicy, "shop", spec)
    };
    for (ns, is_open) in [("far", true), ("shop", false)] {
        case.apply(&[spec(json!([{"from": [{"source": {"namespaces": [ns]}}]}]))]).await.unwrap();
        let is_so = until(LIMIT, async || {
            let connected = case.waypoint.connect_as(CLIENT, "10.96.0.3:3306", &[]).await?;
            Ok((connected.is_ok() == is_open).then_some(()))
        });
        is_so.await.context(ns).unwrap();
    }
    assert!(grpc.asked().is_empty());
}
