//! What a `Telemetry` has a real Envoy log, count and trace.

use super::collector::{Collector, Seen, TRACES};
use super::proxy::LIMIT;
use super::telemetry::{get, samples, settings, until_counted};
use super::traffic::{Waypoint, echo, greeter, objects, service};
use hyper_util::rt::TokioIo;
use model::{Event, Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";

/// A `Telemetry`; of the namespace `istio-system`, for the whole mesh.
fn telemetry(ns: &str, name: &str, spec: Value) -> (Kind, Value) {
    (Kind::Telemetry, json!({"metadata": {"namespace": ns, "name": name}, "spec": spec}))
}

fn of_service(name: &str) -> Value {
    json!([{"group": "", "kind": "Service", "name": name}])
}

async fn waypoint(more: &str) -> Waypoint {
    let (first, second, stream) =
        (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
    Waypoint::of(&(objects(first, second, stream) + more)).await.unwrap()
}

/// Sends a request, and returns its status.
async fn ask(waypoint: &Waypoint, to: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut http = waypoint.http(to).await.unwrap();
    http.send(get(path, headers)).await.unwrap().status.as_u16()
}

/// Sends a request and awaits a line of the access log that has its path; lines are in order, so that what is not there
/// by then was not written.
async fn logged_at(waypoint: &Waypoint, to: &str, path: &str) {
    let found = until(LIMIT, async || {
        ask(waypoint, to, path, &[]).await;
        Ok(waypoint.log().contains(path).then_some(()))
    });
    found.await.unwrap_or_else(|error| panic!("{path} is not logged: {error}: {}", waypoint.log()));
}

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_are_those_of_the_most_specific_telemetry() {
    let mut waypoint = waypoint("").await;
    let (web, other) = ("10.96.0.1:80", "10.96.0.2:80");
    let mut kept = waypoint.http(other).await.unwrap();
    kept.send(get("/silent", &[])).await.unwrap();
    waypoint
        .apply(&[telemetry(
            "istio-system",
            "mesh",
            json!({"accessLogging": [{"providers": [{"name": "envoy"}]}]}),
        )])
        .await
        .unwrap();
    logged_at(&waypoint, web, "/mesh-web").await;
    logged_at(&waypoint, other, "/mesh-other").await;
    assert!(!waypoint.log().contains("/silent"));

    // Of one service only errors, of the others nothing.
    let off = telemetry("shop", "off", json!({"accessLogging": [{"disabled": true}]}));
    let errors = json!({"accessLogging": [{"filter": {"expression": "response.code >= 300"}}]});
    let mut spec = errors.clone();
    spec["targetRefs"] = of_service("web");
    spec["accessLogging"][0]["providers"] = json!([{"name": "ENVOY"}]);
    waypoint.apply(&[off, telemetry("shop", "web", spec)]).await.unwrap();
    ask(&waypoint, web, "/fine", &[]).await;
    ask(&waypoint, other, "/unheard", &[]).await;
    logged_at(&waypoint, web, "/away/error").await;
    assert!(!waypoint.log().contains("/fine") && !waypoint.log().contains("/unheard"), "{}", waypoint.log());
    // It is the listener of its own that has it: that of all is as it was.
    assert!(
        waypoint.stats("listener_manager.listener_create").await.unwrap().contains("listener_create_success")
    );

    // Once it is gone, what holds for the namespace does.
    let gone = ObjectRef { kind: Kind::Telemetry, name: Name::new("shop", "web") };
    waypoint.change(vec![Event::Remove(gone)]).await.unwrap();
    ask(&waypoint, web, "/away/later", &[]).await;
    let gone = ObjectRef { kind: Kind::Telemetry, name: Name::new("shop", "off") };
    waypoint.change(vec![Event::Remove(gone)]).await.unwrap();
    logged_at(&waypoint, web, "/again").await;
    assert!(!waypoint.log().contains("/away/later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_for_one_service_sends_what_concerns_it() {
    let mut waypoint = waypoint("").await;
    let mut kept = waypoint.http("10.96.0.2:80").await.unwrap();
    assert_eq!(kept.send(get("/", &[])).await.unwrap().status, 200);
    let spec =
        json!({"targetRefs": of_service("web"), "accessLogging": [{"providers": [{"name": "envoy"}]}]});
    let bytes = waypoint.apply(&[telemetry("shop", "web", spec)]).await.unwrap();
    assert!((1_000..9_000).contains(&bytes), "{bytes} bytes");
    logged_at(&waypoint, "10.96.0.1:80", "/own").await;
    // Connections to others are as they were.
    let answer = kept.send(get("/still", &[])).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers.get("connection")), (200, None));
    assert!(!waypoint.log().contains("/still"));
}

/// Sends a request and a stream until a collector has a text.
async fn until_sent(waypoint: &Waypoint, collector: &Collector, path: &str, text: &str) {
    let sent = until(LIMIT, async || {
        ask(waypoint, "10.96.0.1:80", "/told", &[("x-mine", "own-value")]).await;
        let mut db = waypoint.connect_as(CLIENT, "10.96.0.3:3306", &[]).await?.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut db, &mut [0; 5]).await?;
        Ok(collector.has(path, text).then_some(()))
    });
    sent.await.unwrap_or_else(|error| panic!("{text:?} was not sent to {path}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_are_sent_to_servers() {
    let collector = Collector::start().await.unwrap();
    let mut waypoint = waypoint(&service("logs", "10.96.0.20", "4317", "grpc", collector.port)).await;
    let at = |port| json!({"service": "logs.shop.svc.cluster.local", "port": port});
    let with = |mut of: Value, more: Value| {
        of.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of
    };
    let mesh = json!({
        "extensionProviders": [
            {"name": "otel", "envoyOtelAls": with(at(4317), json!({
                "logFormat": {"text": "otel %REQ(:PATH)%", "labels": {"method": "%REQ(:METHOD)%"}}}))},
            {"name": "http", "envoyHttpAls": with(at(4317), json!({
                "logName": "requests", "additionalRequestHeadersToLog": ["x-mine"]}))},
            {"name": "tcp", "envoyTcpAls": with(at(4317), json!({"logName": "streams"}))},
            {"name": "elsewhere", "envoyOtelAls": at(1)},
        ],
        "defaultProviders": {"accessLogging": ["otel"]},
    });
    waypoint.apply(&settings(&mesh)).await.unwrap();
    let otel = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    until_sent(&waypoint, &collector, otel, "otel /told").await;
    until_sent(&waypoint, &collector, otel, "method").await;
    let all = json!([{"providers": [{"name": "http"}, {"name": "tcp"}, {"name": "elsewhere"}]}]);
    waypoint.apply(&[telemetry("shop", "all", json!({"accessLogging": all}))]).await.unwrap();
    let als = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
    for text in ["requests", "own-value", "streams"] {
        until_sent(&waypoint, &collector, als, text).await;
    }
    // A provider that is not there is told, and costs nobody anything.
    let told: Vec<_> = waypoint.mesh.diagnostics().into_iter().filter(|of| of.code == "TM104").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message.contains("has no port 1"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_their_labels_are_what_a_telemetry_makes_of_them() {
    let mut waypoint = waypoint("").await;
    let web = json!({"targetRefs": of_service("web"), "metrics": [{"overrides": [
        {"match": {"metric": "REQUEST_SIZE"}, "disabled": true},
        {"match": {"metric": "REQUEST_COUNT", "mode": "SERVER"}, "tagOverrides": {
            "request_method": {"value": "request.method"},
            "request_host": {"value": "string(request.host)"},
            "mine": {"value": "request.headers['x-mine']"},
            "destination_app": {"value": "'other'"},
            "source_app": {"operation": "REMOVE"},
            "source_principal": {"operation": "REMOVE"},
            "response_flags": {"operation": "REMOVE"},
        }},
        {"match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"}, "tagOverrides": {"never": {"value": "'x'"}}},
    ]}]});
    let off = json!({"targetRefs": of_service("web-v2"), "metrics": [{"overrides": [{"disabled": true}]}]});
    waypoint.apply(&[telemetry("shop", "web", web), telemetry("shop", "off", off)]).await.unwrap();
    let nasty = "a\",source_app=\"b\\\",omitted=";
    let long = "x".repeat(1_000);
    for identity in [CLIENT, "spiffe://cluster.local/ns/shop/sa/other"] {
        for mine in ["plain", nasty, &long] {
            let stream = waypoint.connect_as(identity, "10.96.0.1:80", &[]).await.unwrap().unwrap();
            let mut http = super::traffic::Http::new(stream.into_inner()).await.unwrap();
            assert_eq!(http.send(get("/", &[("x-mine", mine)])).await.unwrap().status, 200);
        }
    }
    assert_eq!(ask(&waypoint, "10.96.0.2:80", "/", &[]).await, 200);
    // Both callers are one series now.
    let labels = until_counted(&waypoint, "istio_requests_total", &[("mine", "plain")], 2.0).await.unwrap();
    let of = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!(
        (of("request_method"), of("request_host"), of("destination_app")),
        (Some("GET"), Some("web"), Some("other"))
    );
    for gone in ["source_app", "source_principal", "response_flags", "omitted", "never"] {
        assert_eq!(of(gone), None, "{labels:?}");
    }
    assert_eq!((of("response_code"), of("request_protocol")), (Some("200"), Some("http")));
    assert_eq!(of("source_workload_namespace"), Some("shop"));
    let text = waypoint.metrics().await.unwrap();
    let samples = samples(&text);
    let of_metric = |name: &str| samples.iter().filter(|(of, ..)| of == name).collect::<Vec<_>>();
    // One that is counted by default, for those that are not turned off.
    assert!(of_metric("istio_request_bytes_count").is_empty());
    assert!(
        of_metric("istio_response_bytes_count")
            .iter()
            .all(|(_, labels, _)| labels["destination_app"] == "unknown")
    );
    let total: f64 = of_metric("istio_requests_total").iter().map(|(_, _, value)| value).sum();
    assert!((total - 6.0).abs() < 0.1, "{text}");
    // Whoever calls writes no labels, and no long ones.
    let longest = text.lines().filter(|line| line.starts_with("istio_requests_total{")).map(str::len).max();
    assert!(longest.is_some_and(|longest| longest < 1_500), "{longest:?}");
    assert!(!text.contains(&long));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_sent_with_tags_and_go_on_from_those_of_the_caller() {
    let collector = Collector::start().await.unwrap();
    let more = service("traces", "10.96.0.20", "4317", "grpc", collector.port)
        + &service("posted", "10.96.0.21", "4318", "http", collector.port);
    let mut waypoint = waypoint(&more).await;
    let mesh = json!({
        "extensionProviders": [
            {"name": "otel", "opentelemetry": {"service": "traces.shop.svc.cluster.local", "port": 4317}},
            {"name": "posted", "opentelemetry": {"service": "posted.shop.svc.cluster.local", "port": 4318,
                "http": {"path": "/v1/traces", "headers": [{"name": "x-key", "value": "a"}]}}},
            {"name": "zipkin", "zipkin": {"service": "posted.shop.svc.cluster.local", "port": 4318}},
        ],
        "defaultProviders": {"tracing": ["otel"]},
    });
    waypoint.apply(&settings(&mesh)).await.unwrap();
    let tags = json!({
        "one": {"literal": {"value": "text"}},
        "two": {"header": {"name": "x-mine", "defaultValue": "none"}},
        "three": {"environment": {"name": "NOT_THERE", "defaultValue": "default"}},
        "four": {"formatter": {"value": "%REQ(:METHOD)%"}},
    });
    let all = json!({"tracing": [{"randomSamplingPercentage": 100, "customTags": tags}]});
    waypoint.apply(&[telemetry("istio-system", "mesh", all)]).await.unwrap();
    let seen = |path: &str| {
        let spans = collector.spans(path).into_iter();
        move |mine: &str| -> Option<Seen> {
            spans.clone().find(|span| span.tags.get("two").is_some_and(|two| two == mine))
        }
    };
    let until_seen = async |waypoint: &Waypoint, path: &str, mine: &str, headers: &[(&str, &str)]| -> Seen {
        let found = until(LIMIT, async || {
            let headers: Vec<_> = headers.iter().copied().chain([("x-mine", mine)]).collect();
            ask(waypoint, "10.96.0.1:80", "/traced", &headers).await;
            Ok(seen(path)(mine))
        });
        found.await.unwrap_or_else(|error| panic!("no span of {mine}: {error}"))
    };
    let first = until_seen(&waypoint, TRACES, "first", &[]).await;
    let tag = |name: &str| first.tags.get(name).map(String::as_str);
    assert_eq!((first.service.as_str(), first.parent.len()), ("waypoint.shop", 0));
    assert_eq!(first.name, "web.shop.svc.cluster.local:80/*");
    assert_eq!(
        (tag("one"), tag("two"), tag("three"), tag("four")),
        (Some("text"), Some("first"), Some("default"), Some("GET"))
    );
    assert_eq!(
        (tag("istio.canonical_service"), tag("istio.namespace"), tag("istio.mesh_id")),
        (Some("waypoint"), Some("shop"), Some("cluster.local"))
    );
    assert_eq!(tag("http.status_code"), Some("200"));

    // What a caller began goes on; what it does not want traced is not.
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let header = format!("00-{trace}-{parent}-01");
    let span = until_seen(&waypoint, TRACES, "second", &[("traceparent", &header)]).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&span.trace), hex(&span.parent)), (trace.to_owned(), parent.to_owned()));
    let mut http = waypoint.http("10.96.0.1:80").await.unwrap();
    let answer = http.send(get("/", &[("traceparent", &header)])).await.unwrap();
    let at_backend = answer.body["headers"]["traceparent"].as_str().unwrap().to_owned();
    assert!(at_backend.starts_with(&format!("00-{trace}-")) && !at_backend.contains(parent), "{at_backend}");
    let made = until(LIMIT, async || {
        Ok(collector.spans(TRACES).iter().any(|span| at_backend.contains(&hex(&span.id))).then_some(()))
    });
    made.await.unwrap();
    let unwanted = format!("00-{trace}-{parent}-00");
    ask(&waypoint, "10.96.0.1:80", "/", &[("traceparent", &unwanted), ("x-mine", "unwanted")]).await;
    until_seen(&waypoint, TRACES, "third", &[]).await;
    assert!(seen(TRACES)("unwanted").is_none());

    // By HTTP, and to Zipkin; and not at all, where headers still go on.
    let to =
        |name: &str| json!({"targetRefs": of_service("web"), "tracing": [{"providers": [{"name": name}]}]});
    waypoint.apply(&[telemetry("shop", "web", to("posted"))]).await.unwrap();
    until_seen(&waypoint, "/v1/traces", "posted", &[]).await;
    waypoint.apply(&[telemetry("shop", "web", to("zipkin"))]).await.unwrap();
    let zipkin = until(LIMIT, async || {
        ask(&waypoint, "10.96.0.1:80", "/traced", &[("x-mine", "for-zipkin")]).await;
        Ok(collector.has("/api/v2/spans", "for-zipkin").then_some(()))
    });
    zipkin.await.unwrap();
    let off = json!({"targetRefs": of_service("web"), "tracing": [{"disableSpanReporting": true}]});
    waypoint.apply(&[telemetry("shop", "web", off)]).await.unwrap();
    let mut http = waypoint.http("10.96.0.1:80").await.unwrap();
    let answer = http.send(get("/", &[("traceparent", &header), ("x-mine", "off")])).await.unwrap();
    assert_eq!(answer.body["headers"]["traceparent"], header);
}

#[test]
fn what_has_no_effect_is_told() {
    let mut mesh =
        plane::Plane::new(&mesh::Options { configures_waypoints: true, ..mesh::Options::default() });
    let all = [
        telemetry("shop", "selected", json!({"selector": {"matchLabels": {"app": "a"}}, "tracing": []})),
        telemetry("shop", "old", json!({})),
        telemetry(
            "shop",
            "young",
            json!({"accessLogging": [
            {"filter": {"expression": "upstream_peer.name == 'a'"}}, {"providers": [{"name": "nobody"}]}]}),
        ),
        telemetry(
            "shop",
            "messages",
            json!({"targetRefs": of_service("gone"), "metrics": [{"overrides": [
            {"match": {"metric": "GRPC_REQUEST_MESSAGES"}, "tagOverrides": {"le": {"value": "'a'"}, "b": {"value": "f(1)"}}}]}]}),
        ),
    ];
    let mut events: Vec<Event> = Kind::ALL.iter().map(|kind| Event::Begin(*kind)).collect();
    for (n, (kind, mut object)) in all.into_iter().enumerate() {
        object["metadata"]["creationTimestamp"] = json!(format!("2026-01-0{}T00:00:00Z", n + 1));
        events.push(Event::Put(model::parse(kind, object.to_string().as_bytes()).unwrap()));
    }
    events.extend(Kind::ALL.iter().map(|kind| Event::Synced(*kind)));
    mesh.apply(events);
    let told: Vec<String> = mesh
        .diagnostics()
        .iter()
        .map(|of| format!("{} {} {}", of.code, of.object.as_ref().unwrap().name.name, of.field))
        .collect();
    for expected in [
        "TM102 selected spec.selector",
        "TM103 young spec",
        "TM101 young spec.accessLogging[0].filter.expression",
        "TM104 young spec.accessLogging[0].providers[0].name",
        "TM105 messages spec.metrics",
        "TM101 messages spec.metrics[0].overrides[0].tagOverrides[le]",
        "TM101 messages spec.metrics[0].overrides[0].tagOverrides[b].value",
        "TM106 messages spec.targetRefs",
    ] {
        assert!(told.iter().any(|of| of == expected), "{expected}: {told:#?}");
    }
}

/// Takes a connection as the proxy of a node does of a pod that calls a service: it goes on by HBONE, to the waypoint of
/// the service.
async fn node_proxy(listener: TcpListener, waypoint: &Waypoint, to: &str) {
    let (mut captured, _) = listener.accept().await.unwrap();
    // Of the connection, and not of the requests in it: a ztunnel sees none.
    let own = [("traceparent", "00-11111111111111111111111111111111-2222222222222222-00")];
    let mut tunnel = waypoint.connect_as(CLIENT, to, &own).await.unwrap().unwrap();
    tokio::io::copy_bidirectional(&mut captured, &mut tunnel).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_through_a_gateway_a_node_proxy_and_a_waypoint() {
    let collector = Collector::start().await.unwrap();
    let traces = service("traces", "10.96.0.20", "4317", "grpc", collector.port);
    let mesh = json!({
        "extensionProviders": [{"name": "otel", "opentelemetry": {"service": "traces.shop.svc.cluster.local", "port": 4317}}],
        "defaultProviders": {"tracing": ["otel"]},
    });
    let all = telemetry("istio-system", "mesh", json!({"tracing": [{"randomSamplingPercentage": 100}]}));
    let mut waypoint = waypoint(&traces).await;
    waypoint.apply(&settings(&mesh)).await.unwrap();
    waypoint.apply(std::slice::from_ref(&all)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let captured = listener.local_addr().unwrap().port();
    let edge = "options: {gateway_api: true, configures_waypoints: true, is_one_machine: true}\n---\n\
        {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {namespace: shop, name: edge}\n\
        spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {namespace: shop, name: web}\n\
        spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}\n";
    let edge = edge.to_owned() + &service("web", "10.96.0.1", "80", "http", captured) + &traces;
    let mut edge = Waypoint::at_the_edge(&edge).await.unwrap();
    edge.apply(&settings(&mesh)).await.unwrap();
    edge.apply(&[all]).await.unwrap();

    let port = edge.port("0.0.0.0_80").await.unwrap();
    let outside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut outside = super::traffic::Http::new(TokioIo::new(outside)).await.unwrap();
    let proxied = node_proxy(listener, &waypoint, "10.96.0.1:80");
    let answer = tokio::select! {
        answer = outside.send(get("/once", &[])) => answer.unwrap(),
        () = proxied => panic!("the connection ended"),
    };
    assert_eq!((answer.status.as_u16(), &answer.body["by"]), (200, &json!("first")));
    let at_backend = answer.body["headers"]["traceparent"].as_str().unwrap().to_owned();
    let spans = until(LIMIT, async || {
        let spans = collector.spans(TRACES);
        Ok((spans.len() >= 3).then_some(spans))
    });
    let spans = spans.await.unwrap_or_else(|error| panic!("{error}: {:?}", collector.spans(TRACES)));
    assert_eq!(spans.len(), 3, "{spans:?}");
    // Whoever called, the gateway as a server and as a client, the waypoint.
    let of = |service: &str, is_root: bool| {
        spans.iter().find(|span| span.service == service && span.parent.is_empty() == is_root).unwrap()
    };
    let (received, sent, passed) =
        (of("edge.shop", true), of("edge.shop", false), of("waypoint.shop", false));
    assert!(spans.iter().all(|span| span.trace == received.trace && span.trace.len() == 16), "{spans:?}");
    assert_eq!((&sent.parent, &passed.parent), (&received.id, &sent.id));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(at_backend, format!("00-{}-{}-01", hex(&passed.trace), hex(&passed.id)));
    assert_eq!(received.name, "web.shop.svc.cluster.local:80/*");
}
