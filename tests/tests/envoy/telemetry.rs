//! What a real Envoy that is a waypoint counts, as who reads its metrics gets it.

use super::proxy::LIMIT;
use super::traffic::{Http, Waypoint, echo, greeter, objects, service};
use anyhow::Context;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use model::Kind;
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
const BAGGAGE: (&str, &str) = (
    "baggage",
    "k8s.cluster.name=east,k8s.namespace.name=elsewhere,k8s.deployment.name=client,service.name=front,service.version=v7",
);

pub type Labels = BTreeMap<String, String>;

/// Reads the text form of metrics: name, labels, value.
pub fn samples(text: &str) -> Vec<(String, Labels, f64)> {
    let lines = text.lines().filter(|line| line.starts_with("istio_"));
    let read = |line: &str| {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let labels = labels.split("\",").filter_map(|of| {
            let (name, value) = of.split_once("=\"")?;
            Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        Some((name.to_owned(), labels.collect(), value.parse().ok()?))
    };
    lines.map(|line| read(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
}

/// Awaits that samples with these labels add up to a value, and returns the labels of the first of them.
pub async fn until_counted(
    waypoint: &Waypoint,
    name: &str,
    with: &[(&str, &str)],
    count: f64,
) -> anyhow::Result<Labels> {
    let counted = until(LIMIT, async || {
        let samples = samples(&waypoint.metrics().await?);
        let has =
            |labels: &Labels| with.iter().all(|(of, value)| labels.get(*of).is_some_and(|own| own == value));
        let found: Vec<_> = samples.into_iter().filter(|(of, labels, _)| of == name && has(labels)).collect();
        let sum: f64 = found.iter().map(|(_, _, value)| value).sum();
        Ok(((sum - count).abs() < 0.5)
            .then(|| found.into_iter().next())
            .flatten()
            .map(|(_, labels, _)| labels))
    });
    counted.await.with_context(|| format!("{name} {with:?} is not {count}"))
}

pub fn get(path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let request = Request::get(path).header("host", "web");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Empty::new()).unwrap()
}

/// A service whose instance is a pod, at a port of this machine.
fn shop(at: u16) -> String {
    format!(
        "---\n\
         apiVersion: v1\n\
         kind: Service\n\
         metadata: {{namespace: shop, name: shop}}\n\
         spec: {{clusterIP: 10.96.0.7, selector: {{app: shop}}, ports: [{{name: http, port: 80, targetPort: {at}}}]}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: Pod\n\
         metadata:\n  \
           namespace: shop\n  \
           name: shop-v3-5d9-abcde\n  \
           generateName: shop-v3-5d9-\n  \
           labels: {{app: shop, version: v3, pod-template-hash: 5d9}}\n  \
           ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: shop-v3-5d9, uid: a, controller: true}}]\n\
         spec: {{serviceAccountName: shop, containers: [{{name: web, image: web}}]}}\n\
         status: {{phase: Running, podIP: 127.0.0.1, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_with_the_labels_that_dashboards_know() {
    let (first, second, stream) =
        (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
    let waypoint = Waypoint::of(&(objects(first, second, stream) + &shop(first))).await.unwrap();
    let stream = waypoint.connect_as(CLIENT, "10.96.0.7:80", &[BAGGAGE]).await.unwrap().unwrap();
    let mut shop = Http::new(stream.into_inner()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(shop.send(get("/", &[])).await.unwrap().status, 200);
    }
    let labels =
        until_counted(&waypoint, "istio_requests_total", &[("response_code", "200")], 3.0).await.unwrap();
    let expected = [
        ("reporter", "waypoint"),
        ("source_workload", "client"),
        ("source_canonical_service", "front"),
        ("source_canonical_revision", "v7"),
        // By its certificate, whatever the header says.
        ("source_workload_namespace", "shop"),
        ("source_principal", CLIENT),
        ("source_app", "front"),
        ("source_version", "v7"),
        ("source_cluster", "east"),
        ("destination_workload", "shop-v3"),
        ("destination_workload_namespace", "shop"),
        ("destination_principal", "unknown"),
        ("destination_app", "shop"),
        ("destination_version", "v3"),
        ("destination_service", "shop.shop.svc.cluster.local"),
        ("destination_canonical_service", "shop"),
        ("destination_canonical_revision", "v3"),
        ("destination_service_name", "shop"),
        ("destination_service_namespace", "shop"),
        ("destination_cluster", "Kubernetes"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "mutual_tls"),
    ];
    let expected: Labels = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(labels, expected);
    for name in ["request_duration_milliseconds", "request_bytes", "response_bytes"] {
        until_counted(&waypoint, &format!("istio_{name}_count"), &[("response_code", "200")], 3.0)
            .await
            .unwrap();
        let all = [("response_code", "200"), ("le", "+Inf")];
        until_counted(&waypoint, &format!("istio_{name}_bucket"), &all, 3.0).await.unwrap();
    }
    assert_eq!(shop.send(get("/", &[("content-type", "application/grpc")])).await.unwrap().status, 200);
    until_counted(&waypoint, "istio_requests_total", &[("request_protocol", "grpc")], 1.0).await.unwrap();

    // Who says nothing of itself is still known by its certificate.
    let stream = waypoint.connect_as(CLIENT, "10.96.0.1:80", &[]).await.unwrap().unwrap();
    let mut web = Http::new(stream.into_inner()).await.unwrap();
    assert_eq!(web.send(get("/", &[("x-version", "2")])).await.unwrap().status, 200);
    assert_eq!(web.send(get("/away", &[])).await.unwrap().status, 301);
    assert_eq!(web.send(get("/nowhere", &[])).await.unwrap().status, 500);
    let to_other = [("destination_service_name", "web-v2"), ("source_workload", "unknown")];
    let labels = until_counted(&waypoint, "istio_requests_total", &to_other, 1.0).await.unwrap();
    assert_eq!(
        (labels["source_principal"].as_str(), labels["source_workload_namespace"].as_str()),
        (CLIENT, "shop")
    );
    for code in ["301", "500"] {
        let labels =
            until_counted(&waypoint, "istio_requests_total", &[("response_code", code)], 1.0).await.unwrap();
        assert_eq!(labels["destination_service"], "unknown", "{code}");
    }
    // Nothing else has changed its name.
    assert!(waypoint.metrics().await.unwrap().contains("\nenvoy_server_live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_say_of_themselves_ends_no_label() {
    let backend = echo("first").await.unwrap();
    let waypoint = Waypoint::of(&objects(backend, backend, backend)).await.unwrap();
    for (n, baggage) in [
        "k8s.deployment.name=a\";x;y,service.name=b\\\"}",
        "service.name=spiffe://other;;;,k8s.job.name= c",
        "nothing at all",
        "=,=;",
    ]
    .into_iter()
    .enumerate()
    {
        let stream =
            waypoint.connect_as(CLIENT, "10.96.0.1:80", &[("baggage", baggage)]).await.unwrap().unwrap();
        let mut web = Http::new(stream.into_inner()).await.unwrap();
        web.send(get("/", &[])).await.unwrap();
        let count = f64::from(u32::try_from(n).unwrap() + 1);
        let all = [("source_principal", CLIENT), ("destination_service_name", "web")];
        until_counted(&waypoint, "istio_requests_total", &all, count).await.unwrap();
    }
    let text = waypoint.metrics().await.unwrap();
    let samples = samples(&text).into_iter().filter(|(name, ..)| name == "istio_requests_total");
    let workloads: Vec<_> = samples.map(|(_, labels, _)| labels["source_workload"].clone()).collect();
    assert_eq!(workloads.iter().filter(|of| *of == "a").count(), 1, "{workloads:?}");
    assert!(workloads.iter().all(|of| of == "a" || of == "unknown"), "{workloads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_when_they_open_and_when_they_close() {
    let (backend, stream) = (echo("first").await.unwrap(), greeter().await.unwrap());
    let more = service("queue", "10.96.0.8", "5672", "amqp", stream);
    let waypoint = Waypoint::of(&(objects(backend, backend, stream) + &more)).await.unwrap();
    let mut db = waypoint.connect_as(CLIENT, "10.96.0.3:3306", &[BAGGAGE]).await.unwrap().unwrap();
    let mut first = [0; 5];
    db.read_exact(&mut first).await.unwrap();
    let to_db =
        [("destination_service_name", "db"), ("request_protocol", "tcp"), ("source_workload", "client")];
    let opened = until_counted(&waypoint, "istio_tcp_connections_opened_total", &to_db, 1.0).await.unwrap();
    assert_eq!((opened["source_principal"].as_str(), opened["response_flags"].as_str()), (CLIENT, "-"));
    assert!(!opened.contains_key("response_code"), "{opened:?}");
    db.write_all(b"and").await.unwrap();
    db.read_exact(&mut first[..3]).await.unwrap();
    drop(db);
    until_counted(&waypoint, "istio_tcp_connections_closed_total", &to_db, 1.0).await.unwrap();
    until_counted(&waypoint, "istio_tcp_sent_bytes_total", &to_db, 8.0).await.unwrap();
    until_counted(&waypoint, "istio_tcp_received_bytes_total", &to_db, 3.0).await.unwrap();
}

pub fn settings(mesh: &Value) -> [(Kind, Value); 1] {
    let map = json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh.to_string()}});
    [(Kind::ConfigMap, map)]
}

/// Sends requests until Envoy has written a line that has this, and returns it.
async fn until_written(waypoint: &Waypoint, path: &str, text: &str) -> String {
    let written = until(LIMIT, async || {
        let mut web = waypoint.http("10.96.0.1:80").await?;
        web.send(get(path, &[("x-request-id", "one")])).await?;
        Ok(waypoint.log().lines().rfind(|line| line.contains(text)).map(str::to_owned))
    });
    written.await.unwrap_or_else(|error| panic!("{text} is not written: {error}: {}", waypoint.log()))
}

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_are_written_as_the_mesh_settings_say() {
    let (backend, stream) = (echo("first").await.unwrap(), greeter().await.unwrap());
    let mut waypoint = Waypoint::of(&objects(backend, backend, stream)).await.unwrap();
    let mut web =
        Http::new(waypoint.connect_as(CLIENT, "10.96.0.1:80", &[]).await.unwrap().unwrap().into_inner())
            .await
            .unwrap();
    web.send(get("/silent", &[])).await.unwrap();
    waypoint.apply(&settings(&json!({"accessLogFile": "/dev/stdout"}))).await.unwrap();
    let line = until_written(&waypoint, "/written", "\"GET /written HTTP/1.1\" 200 - via_upstream").await;
    for part in [
        "\"one\"",
        "\"web\"",
        &format!("127.0.0.1:{backend}"),
        "inbound-vip|80|http|web.shop.svc.cluster.local",
    ] {
        assert!(line.contains(part), "{line} has no {part}");
    }
    assert!(!waypoint.log().contains("/silent"));
    // CONNECTs that are refused, and streams.
    assert!(waypoint.connect_as(CLIENT, "10.96.0.99:80", &[]).await.unwrap().is_err());
    let mut db = waypoint.connect_as(CLIENT, "10.96.0.3:3306", &[]).await.unwrap().unwrap();
    db.read_exact(&mut [0; 5]).await.unwrap();
    drop(db);
    until_written(&waypoint, "/again", "\"CONNECT - HTTP/2\" 404").await;
    until_written(&waypoint, "/again", "inbound-vip|3306|tcp|db.shop.svc.cluster.local").await;

    let commands = "%START_TIME(%Y)% %REQ(:AUTHORITY?HOST):3% %FILTER_STATE(a:PLAIN)% %DYNAMIC_METADATA(a:b)% \
        %TRACE_ID% %UNIQUE_ID% %ROUNDTRIP_DURATION% own %REQ(:PATH)%";
    waypoint
        .apply(&settings(&json!({"accessLogFile": "/dev/stdout", "accessLogFormat": commands})))
        .await
        .unwrap();
    let line = until_written(&waypoint, "/other", "own /other").await;
    assert!(line.starts_with("20"), "{line}");
    let json = json!({"accessLogFile": "/dev/stdout", "accessLogEncoding": "JSON"});
    waypoint.apply(&settings(&json)).await.unwrap();
    let line = until_written(&waypoint, "/json", "\"path\":\"/json\"").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["response_code"], &line["authority"]), (&json!(200), &json!("web")));
    // What is refused is not sent.
    let wrong = json!({"accessLogFile": "/dev/stdout", "accessLogFormat": "%NOTHING%"});
    waypoint.apply(&settings(&wrong)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_audits_is_let_through_and_marked_in_the_log() {
    let (backend, stream) = (echo("first").await.unwrap(), greeter().await.unwrap());
    let mut waypoint = Waypoint::of(&objects(backend, backend, stream)).await.unwrap();
    let format = "audited=%DYNAMIC_METADATA(envoy.common:access_log_hint)% path=%REQ(:PATH)% \
        to=%UPSTREAM_CLUSTER_RAW%\n";
    let logged = json!({"accessLogFile": "/dev/stdout", "accessLogFormat": format});
    waypoint.apply(&settings(&logged)).await.unwrap();
    let audit = |name: &str, service: &str, rules: Value| {
        let target = json!([{"group": "", "kind": "Service", "name": service}]);
        let spec = json!({"action": "AUDIT", "targetRefs": target, "rules": rules});
        (Kind::AuthorizationPolicy, json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}))
    };
    let of_client = json!([{"from": [{"source": {"serviceAccounts": ["shop/client"]}}]}]);
    let of_a = json!([{"to": [{"operation": {"paths": ["/a"]}}]}]);
    waypoint.apply(&[audit("requests", "web", of_a), audit("streams", "db", of_client)]).await.unwrap();
    let line = until_written(&waypoint, "/a", "audited=true path=/a").await;
    assert!(line.ends_with("to=inbound-vip|80|http|web.shop.svc.cluster.local"), "{line}");
    let line = until_written(&waypoint, "/b", "path=/b").await;
    assert!(!line.contains("audited=true"), "{line}");
    let mut web = waypoint.http("10.96.0.1:80").await.unwrap();
    assert_eq!(web.send(get("/a", &[])).await.unwrap().status, 200);

    for (identity, of) in [(CLIENT, "true"), ("spiffe://cluster.local/ns/far/sa/other", "false")] {
        let mut db = waypoint.connect_as(identity, "10.96.0.3:3306", &[]).await.unwrap().unwrap();
        let mut first = [0; 5];
        db.read_exact(&mut first).await.unwrap();
        // Envoy decides at the first byte of a client.
        db.write_all(b"and").await.unwrap();
        db.read_exact(&mut first[..3]).await.unwrap();
        drop(db);
        let text = format!("audited={of} path=- to=inbound-vip|3306|tcp|db");
        until_written(&waypoint, "/c", &text).await;
    }
}
