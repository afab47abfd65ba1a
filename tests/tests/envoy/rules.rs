//! Rules of routes at a real Envoy that is a waypoint, with what comes to the server.

use super::proxy::LIMIT;
use super::traffic::{Answer, Http, Waypoint, echo, objects, service};
use http_body_util::{Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// Where the service is that rules are for.
const RULES: &str = "10.96.0.10:80";

/// A request that a server got.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
}

/// A server that remembers what it was asked. It never answers below `/hang`, and fails the first tries of a path as the
/// header `x-fail` says.
#[derive(Clone)]
struct Backend {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Backend {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let backend = Self { port: listener.local_addr()?.port(), seen: Arc::default() };
        let own = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                let answer = service_fn(move |request| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.answer(&request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(backend)
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let headers = request.headers().iter();
        let headers: BTreeMap<String, String> = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let path = request.uri().path().to_owned();
        let number = |name: &str| headers.get(name).and_then(|text| text.parse().ok());
        let (fails, status) = (number("x-fail").unwrap_or(0), number("x-status").unwrap_or(503));
        let grpc_status = headers.get("x-grpc-status").cloned();
        let attempt = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(Seen { path: path.clone(), headers });
            seen.iter().filter(|of| of.path == path).count()
        };
        if path.starts_with("/hang") {
            std::future::pending::<()>().await;
        }
        let mut response = Response::new(Full::default());
        if attempt <= usize::from(fails) {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(status) = grpc_status {
                response.headers_mut().insert("grpc-status", status.parse().unwrap());
            }
        }
        response
    }

    /// What came for paths that begin so.
    fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|of| of.path.starts_with(path)).cloned().collect()
    }

    async fn until_seen(&self, path: &str, count: usize) {
        let is_so = until(LIMIT, async || Ok((self.seen(path).len() == count).then_some(()))).await;
        assert!(is_so.is_ok(), "{path} came {} times, not {count}", self.seen(path).len());
    }
}

/// A waypoint, and three servers: of the service `rules`, and of `second` and `third`.
struct Case {
    waypoint: Waypoint,
    servers: [Backend; 3],
}

impl Case {
    /// Starts one with these rules of a VirtualService.
    async fn start(http: Value) -> anyhow::Result<Self> {
        Self::with(&json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"namespace": "shop", "name": "rules"},
            "spec": {"hosts": ["rules"], "http": http},
        }))
        .await
    }

    async fn with(route: &Value) -> anyhow::Result<Self> {
        let servers = [Backend::start().await?, Backend::start().await?, Backend::start().await?];
        let other = echo("other").await?;
        let mut all = objects(other, other, other);
        for (n, (name, server)) in ["rules", "second", "third"].into_iter().zip(&servers).enumerate() {
            all += &service(name, &format!("10.96.0.1{n}"), "80", "http", server.port);
        }
        all += &format!("---\n{route}\n");
        Ok(Self { waypoint: Waypoint::of(&all).await?, servers })
    }

    async fn http(&self) -> Http {
        self.waypoint.http(RULES).await.unwrap()
    }

    /// Sends one request on a connection of its own.
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.http().await.send(request("GET", path, headers)).await.unwrap()
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "rules");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Empty::new()).unwrap()
}

fn at(path: &str) -> Value {
    json!([{"uri": {"prefix": path}}])
}

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host}}])
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_as_many_as_the_rule_says() {
    let case = Case::start(json!([
        {"match": at("/code"), "route": to("rules"), "retries": {"attempts": 3, "retryOn": "503"}},
        {"match": at("/5xx"), "route": to("rules"), "retries": {"attempts": 2, "retryOn": "5xx"}},
        {"match": at("/off"), "route": to("rules"), "retries": {"attempts": 0}},
        {"match": at("/hang"), "route": to("rules"),
         "retries": {"attempts": 1, "perTryTimeout": "100ms", "retryOn": "gateway-error"}},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    let grpc =
        [("content-type", "application/grpc"), ("x-grpc-status", "14"), ("x-status", "200"), ("x-fail", "9")];
    for (path, headers, status, count) in [
        ("/code", &[("x-fail", "2")][..], 200, 3),
        ("/code/more", &[("x-fail", "9")], 503, 4),
        // Not for what the rule does not name.
        ("/code/other", &[("x-fail", "1"), ("x-status", "500")], 500, 1),
        ("/5xx", &[("x-fail", "9"), ("x-status", "500")], 500, 3),
        ("/hang", &[], 504, 2),
        // Without a word there are two, if the server has not done it.
        ("/default", &grpc, 200, 3),
        ("/default/http", &[("x-fail", "1")], 503, 1),
        ("/off", &grpc, 200, 1),
    ] {
        let answer = case.ask(path, headers).await;
        assert_eq!(answer.status, status, "{path}");
        let seen = case.servers[0].seen(path).into_iter().filter(|of| of.path == path).count();
        assert_eq!(seen, count, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_gateway_api_retry_by_code_and_not_at_all() {
    let backends = json!([{"name": "rules", "port": 80}]);
    let prefix = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
    let case = Case::with(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "rules", "generation": 1},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "rules"}], "rules": [
            {"matches": prefix("/code"), "retry": {"attempts": 2, "codes": [500]}, "backendRefs": backends},
            {"matches": prefix("/off"), "retry": {"attempts": 0}, "backendRefs": backends},
            {"matches": prefix("/hang"), "timeouts": {"backendRequest": "100ms"}, "retry": {"attempts": 0},
             "backendRefs": backends},
        ]},
    }))
    .await
    .unwrap();
    let grpc =
        [("content-type", "application/grpc"), ("x-grpc-status", "14"), ("x-status", "200"), ("x-fail", "9")];
    for (path, headers, status, count) in [
        ("/code", &[("x-fail", "2"), ("x-status", "500")][..], 200, 3),
        ("/off", &grpc, 200, 1),
        ("/hang", &[], 504, 1),
    ] {
        assert_eq!(case.ask(path, headers).await.status, status, "{path}");
        assert_eq!(case.servers[0].seen(path).len(), count, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_its_time() {
    let case = Case::start(json!([
        {"match": at("/hang"), "route": to("rules"), "timeout": "100ms"},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    let answer = case.ask("/hang", &[]).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout")
    );
    assert_eq!(case.servers[0].seen("/hang").len(), 1);
    assert_eq!(case.ask("/", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_their_share() {
    let case = Case::start(json!([
        {"match": at("/all"), "route": to("rules"), "fault": {"abort": {"percentage": {"value": 100.0}, "httpStatus": 418}}},
        {"match": at("/half"), "route": to("rules"), "fault": {"abort": {"percentage": {"value": 50.0}, "httpStatus": 555}}},
        {"match": at("/grpc"), "route": to("rules"),
         "fault": {"abort": {"percentage": {"value": 100.0}, "grpcStatus": "UNAVAILABLE"}}},
        {"match": at("/late"), "route": to("rules"),
         "fault": {"delay": {"percentage": {"value": 100.0}, "fixedDelay": "10ms"}}},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    assert_eq!(case.ask("/all", &[]).await.status, 418);
    assert_eq!(case.servers[0].seen("/all").len(), 0);
    let answer = case.ask("/grpc", &[("content-type", "application/grpc")]).await;
    assert_eq!((answer.status, answer.headers["grpc-status"].as_str()), (StatusCode::OK, "14"));
    let mut http = case.http().await;
    let mut aborted = 0;
    for _ in 0..400 {
        let status = http.send(request("GET", "/half", &[])).await.unwrap().status;
        assert!(status == 200 || status == 555, "{status}");
        aborted += usize::from(status == 555);
    }
    // Five standard deviations.
    assert!((150..=250).contains(&aborted), "{aborted} of 400");
    assert_eq!(case.servers[0].seen("/half").len(), 400 - aborted);
    assert_eq!(case.ask("/late", &[]).await.status, 200);
    assert_eq!(case.ask("/", &[]).await.status, 200);
    let delays = case.waypoint.stats("fault.delays_injected").await.unwrap();
    assert!(delays.trim_end().ends_with("fault.delays_injected: 1"), "{delays}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_given_without_a_server() {
    let long = "0123456789".repeat(1_000);
    let case = Case::start(json!([
        {"match": at("/short"), "directResponse": {"status": 203, "body": {"string": "no\n%REQ(x)%"}}},
        {"match": at("/long"), "directResponse": {"status": 404, "body": {"string": long}}},
        {"match": at("/bytes"), "directResponse": {"status": 200, "body": {"bytes": "AGEK"}}},
        {"match": at("/none"), "directResponse": {"status": 204}},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    for (path, status, text) in [
        ("/short", 203, "no\n%REQ(x)%"),
        ("/long", 404, long.as_str()),
        ("/bytes", 200, "\0a\n"),
        ("/none", 204, ""),
    ] {
        let answer = case.ask(path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, text), "{path}");
    }
    assert_eq!(case.servers[0].seen("/").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_be_for_what_has_no_such_header() {
    let without = |headers: Value| json!([{"withoutHeaders": headers}]);
    let case = Case::start(json!([
        {"match": [{"uri": {"prefix": "/exact"}, "withoutHeaders": {"x-user": {"exact": "guest"}}}], "route": to("second")},
        {"match": [{"uri": {"prefix": "/like"}, "withoutHeaders": {"x-user": {"regex": "g.+"}}}], "route": to("second")},
        {"match": [{"uri": {"prefix": "/begin"}, "withoutHeaders": {"x-user": {"prefix": "gu"}}}], "route": to("second")},
        {"match": [{"uri": {"prefix": "/any"}, "withoutHeaders": {"x-user": {}}}], "route": to("second")},
        {"match": without(json!({"x-never": {}})), "route": to("rules")},
    ]))
    .await
    .unwrap();
    for (path, user, matches) in [
        ("/exact", Some("guest"), false),
        ("/exact", Some("guests"), true),
        ("/exact", None, true),
        ("/like", Some("guest"), false),
        ("/like", Some("g"), true),
        ("/like", None, true),
        ("/begin", Some("guest"), false),
        ("/begin", Some("a guest"), true),
        ("/begin", None, true),
        ("/any", Some("guest"), false),
        ("/any", Some(""), false),
        ("/any", None, true),
    ] {
        let before = case.servers[1].seen(path).len();
        let headers: Vec<_> = user.map(|user| ("x-user", user)).into_iter().collect();
        assert_eq!(case.ask(path, &headers).await.status, 200, "{path} {user:?}");
        assert_eq!(case.servers[1].seen(path).len() > before, matches, "{path} {user:?}");
    }
    assert_eq!(case.ask("/exact", &[("x-user", "guest"), ("x-never", "")]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mirror_gets_its_share_once() {
    let mirror =
        |host: &str, share: f64| json!({"destination": {"host": host}, "percentage": {"value": share}});
    let case = Case::start(json!([
        {"match": at("/both"), "route": to("rules"), "mirrors": [mirror("second", 100.0), mirror("third", 100.0)]},
        {"match": at("/some"), "route": to("rules"), "mirrors": [mirror("second", 25.0), mirror("third", 0.0)]},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    let mut http = case.http().await;
    for n in 0..20 {
        assert_eq!(http.send(request("GET", &format!("/both/{n}"), &[])).await.unwrap().status, 200);
    }
    for server in &case.servers {
        server.until_seen("/both", 20).await;
    }
    for n in 0..20 {
        let path = format!("/both/{n}");
        let [own, copy, _] = case
            .servers
            .each_ref()
            .map(|server| server.seen("/both").into_iter().filter(|of| of.path == path).collect::<Vec<_>>());
        assert_eq!((own.len(), copy.len()), (1, 1), "{path}");
        assert_eq!(own[0].headers["host"], copy[0].headers["host"]);
    }
    for _ in 0..400 {
        assert_eq!(http.send(request("GET", "/some", &[])).await.unwrap().status, 200);
    }
    // A copy that comes after all of them.
    http.send(request("GET", "/both/last", &[])).await.unwrap();
    case.servers[1].until_seen("/both/last", 1).await;
    let some = case.servers[1].seen("/some").len();
    assert!((56..=144).contains(&some), "{some} of 400");
    assert_eq!((case.servers[0].seen("/some").len(), case.servers[2].seen("/some").len()), (400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_split_by_weight() {
    let share = |host: &str, weight: u32| json!({"destination": {"host": host}, "weight": weight});
    let case = Case::start(json!([
        {"match": at("/none"), "route": [share("rules", 0), share("second", 1)]},
        {"route": [share("rules", 90), share("second", 10)]},
    ]))
    .await
    .unwrap();
    let mut http = case.http().await;
    for _ in 0..1_000 {
        assert_eq!(http.send(request("GET", "/split", &[])).await.unwrap().status, 200);
    }
    let [first, second, _] = case.servers.each_ref().map(|server| server.seen("/split").len());
    assert_eq!(first + second, 1_000);
    // Five standard deviations.
    assert!((53..=147).contains(&second), "{second} of 1000");
    for _ in 0..50 {
        http.send(request("GET", "/none", &[])).await.unwrap();
    }
    assert_eq!(case.servers.each_ref().map(|server| server.seen("/none").len()), [0, 50, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_are_answered_for_the_server() {
    let origins = json!([{"exact": "https://a.org"}, {"regex": "https://[a-z]+\\.b\\.org"}]);
    let cors = |unmatched: &str| {
        json!({"allowOrigins": origins, "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-a"], "maxAge": "60s",
               "allowCredentials": true, "unmatchedPreflights": unmatched})
    };
    let case = Case::start(json!([
        {"match": at("/kept"), "route": to("rules"), "corsPolicy": cors("IGNORE")},
        {"route": to("rules"), "corsPolicy": cors("FORWARD")},
    ]))
    .await
    .unwrap();
    let preflight = async |path: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        case.http().await.send(request("OPTIONS", path, &headers)).await.unwrap()
    };
    for origin in ["https://a.org", "https://x.b.org"] {
        let answer = preflight("/asked", origin).await;
        assert_eq!(
            (answer.status, answer.headers["access-control-allow-origin"].as_str()),
            (StatusCode::OK, origin)
        );
        assert_eq!(answer.headers["access-control-allow-methods"], "GET,PUT");
        assert_eq!(answer.headers["access-control-max-age"], "60");
        let answer = case.ask("/real", &[("origin", origin)]).await;
        assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    }
    assert_eq!(case.servers[0].seen("/asked").len(), 0);
    for (path, count) in [("/sent-on", 1), ("/kept", 0)] {
        let answer = preflight(path, "https://a.b.org.evil").await;
        assert_eq!(answer.headers.get("access-control-allow-origin"), None);
        assert_eq!(case.servers[0].seen(path).len(), count, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_changed_on_their_way() {
    let case = Case::start(json!([
        {"match": at("/old"), "route": to("rules"), "rewrite": {"uri": "/new", "authority": "other.org"}},
        {"match": at("/like"), "route": to("rules"),
         "rewrite": {"uriRegexRewrite": {"match": "/like/([a-z]+)/([0-9]+)", "rewrite": "/\\2/\\1"}}},
        {"match": at("/away"), "redirect": {"uri": "/there", "authority": "a.org", "redirectCode": 308}},
        {"match": at("/add"), "headers": {"request": {"set": {"x-set": "100%"}, "remove": ["x-gone"]},
                                          "response": {"add": {"x-answer": "b"}}},
         "route": [{"destination": {"host": "rules"}, "headers": {"request": {"add": {"x-share": "c"}}}}]},
        {"route": to("rules")},
    ]))
    .await
    .unwrap();
    case.ask("/old/x", &[]).await;
    let seen = case.servers[0].seen("/new");
    assert_eq!((seen[0].path.as_str(), seen[0].headers["host"].as_str()), ("/new/x", "other.org"));
    case.ask("/like/abc/12", &[]).await;
    assert_eq!(case.servers[0].seen("/12/abc").len(), 1);
    let answer = case.ask("/away/x", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.headers["location"].as_str()), (308, "http://a.org/there"));
    let answer = case.ask("/add", &[("x-gone", "1"), ("x-set", "2")]).await;
    assert_eq!(answer.headers["x-answer"], "b");
    let seen = case.servers[0].seen("/add");
    let headers = &seen[0].headers;
    assert_eq!((headers["x-set"].as_str(), headers["x-share"].as_str()), ("100%", "c"));
    assert_eq!(headers.get("x-gone"), None);
}
