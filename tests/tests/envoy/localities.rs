//! Instances by where they and a waypoint are, at real Envoys that are what instances of the waypoint are configured to
//! be.

use super::destination::{Backend, MESH};
use super::proxy::LIMIT;
use super::traffic::Waypoint;
use hyper::StatusCode;
use model::{Event, Kind, parse};
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const WEB: &str = "10.96.0.1:80";
/// The port of it that is not looked into.
const STREAMS: &str = "10.96.0.1:81";

/// Nodes of two zones and of another region, and an instance of the waypoint in each zone.
const NODES: &str = "\
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: b}}
---
apiVersion: v1
kind: Node
metadata: {name: n3, labels: {topology.kubernetes.io/region: q, topology.kubernetes.io/zone: c}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: at-a, labels: {gateway.networking.k8s.io/gateway-name: waypoint, version: three}}
spec: {nodeName: n1, containers: [{name: a, image: a}]}
status: {podIP: 127.0.0.1, phase: Running, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: at-b, labels: {gateway.networking.k8s.io/gateway-name: waypoint, version: two}}
spec: {nodeName: n2, containers: [{name: a, image: a}]}
status: {podIP: 127.0.0.1, phase: Running, conditions: [{type: Ready, status: \"True\"}]}
";

/// Backends `one` to `three` on the nodes of these numbers.
async fn backends() -> [Backend; 3] {
    [
        Backend::start("one", "127.0.41.1").await.unwrap(),
        Backend::start("two", "127.0.41.2").await.unwrap(),
        Backend::start("three", "127.0.41.3").await.unwrap(),
    ]
}

fn mesh(backends: &[Backend; 3], objects: &[Value]) -> String {
    let pods = backends.iter().zip(1..).map(|(of, n)| of.pod_on(&format!("n{n}")));
    let objects = objects.iter().map(|object| format!("---\n{object}\n"));
    [MESH, NODES].map(str::to_owned).into_iter().chain(pods).chain(objects).collect()
}

/// The service, with more in its spec.
fn service(more: Value) -> Value {
    let mut spec = json!({
        "clusterIP": "10.96.0.1",
        "selector": {"app": "web"},
        "ports": [
            {"name": "http", "port": 80, "targetPort": "http"}, {"name": "tcp", "port": 81, "targetPort": "http"},
        ],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web"}, "spec": spec})
}

fn rule(policy: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"host": "web", "trafficPolicy": policy},
    })
}

/// Who answers at a port, of many requests.
async fn who(waypoint: &Waypoint, to: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for _ in 0..4 {
        let mut http = waypoint.http(to).await.unwrap();
        for _ in 0..12 {
            let answer = http.get("/", &[]).await.unwrap();
            all.insert(answer.body["by"].as_str().unwrap_or_default().to_owned());
        }
    }
    all
}

fn names<const N: usize>(of: [&str; N]) -> BTreeSet<String> {
    of.map(str::to_owned).into()
}

/// Says of a pod whether it is ready.
fn readiness(backend: &Backend, node: &str, ready: bool) -> Event {
    let text = backend.pod_on(node).replace("\"True\"", if ready { "\"True\"" } else { "\"False\"" });
    let pod: Value = serde_yaml::from_str(text.trim_start_matches("---\n")).unwrap();
    Event::Put(parse(Kind::Pod, pod.to_string().as_bytes()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_prefers_what_is_in_its_own_zone() {
    let all = backends().await;
    let objects = mesh(&all, &[service(json!({"trafficDistribution": "PreferClose"}))]);
    let (mut at_a, at_b) =
        (Waypoint::at(&objects, "at-a").await.unwrap(), Waypoint::at(&objects, "at-b").await.unwrap());
    for to in [WEB, STREAMS] {
        assert_eq!(who(&at_a, to).await, names(["one"]), "{to}");
        assert_eq!(who(&at_b, to).await, names(["two"]), "{to}");
    }
    // What is not ready is as if it were not there: the region goes before what is further away.
    at_a.change(vec![readiness(&all[0], "n1", false)]).await.unwrap();
    assert_eq!(who(&at_a, WEB).await, names(["two"]));
    at_a.change(vec![readiness(&all[1], "n2", false)]).await.unwrap();
    assert_eq!(who(&at_a, WEB).await, names(["three"]));
    at_a.change(vec![readiness(&all[0], "n1", true), readiness(&all[1], "n2", true)]).await.unwrap();
    assert_eq!(who(&at_a, WEB).await, names(["one"]));
    // A service that prefers nothing any more has one resource for all, and back.
    for (more, expected) in [
        (json!({}), names(["one", "two", "three"])),
        (json!({"trafficDistribution": "PreferSameNode"}), names(["one"])),
        (json!({}), names(["one", "two", "three"])),
    ] {
        at_a.apply(&[(Kind::Service, service(more.clone()))]).await.unwrap();
        assert_eq!(who(&at_a, WEB).await, expected, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_one_node_is_that_of_the_waypoint() {
    let all = backends().await;
    let objects = mesh(&all, &[service(json!({"internalTrafficPolicy": "Local"}))]);
    let mut at_b = Waypoint::at(&objects, "at-b").await.unwrap();
    assert_eq!(who(&at_b, WEB).await, names(["two"]));
    at_b.change(vec![readiness(&all[1], "n2", false)]).await.unwrap();
    let answer = at_b.http(WEB).await.unwrap().get("/", &[]).await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn localities_have_the_shares_that_a_rule_says() {
    let all = backends().await;
    let balancer = json!({"localityLbSetting": {"distribute": [
        {"from": "r/a/*", "to": {"r/a/*": 75, "r/b": 25}},
    ]}});
    let objects = mesh(&all, &[rule(json!({"loadBalancer": balancer}))]);
    let (at_a, at_b) =
        (Waypoint::at(&objects, "at-a").await.unwrap(), Waypoint::at(&objects, "at-b").await.unwrap());
    let mut http = at_a.http(WEB).await.unwrap();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..400 {
        let answer = http.get("/", &[]).await.unwrap();
        *count.entry(answer.body["by"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    // Of 400 with a share of 3/4, 300: five deviations are 43.
    assert!((257..=343).contains(&count["one"]) && count["one"] + count["two"] == 400, "{count:?}");
    // Nothing is said of what comes from elsewhere.
    assert_eq!(who(&at_b, WEB).await, names(["one", "two", "three"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_gives_way_to_what_is_next() {
    let all = backends().await;
    let outliers = json!({"consecutive5xxErrors": 1, "maxEjectionPercent": 100, "baseEjectionTime": "300s", "interval": "1s"});
    for (setting, pod, first, second) in [
        // By region, zone and subzone: the default of the mesh.
        (json!({}), "at-a", "one", "two"),
        (json!({"localityLbSetting": {"failover": [{"from": "r", "to": "q"}]}}), "at-b", "two", "one"),
        // By what the waypoint's own pod is labelled with.
        (
            json!({"localityLbSetting": {"failoverPriority": ["version", "topology.kubernetes.io/region"]}}),
            "at-a",
            "three",
            "",
        ),
        (
            json!({"localityLbSetting": {"failoverPriority": ["version=two", "topology.kubernetes.io/zone"]}}),
            "at-a",
            "two",
            "",
        ),
    ] {
        let objects = mesh(&all, &[rule(json!({"outlierDetection": outliers, "loadBalancer": setting}))]);
        let waypoint = Waypoint::at(&objects, pod).await.unwrap();
        assert_eq!(who(&waypoint, WEB).await, names([first]), "{setting}");
        let failing = all.iter().find(|of| of.is(first)).unwrap();
        failing.answer_with(StatusCode::INTERNAL_SERVER_ERROR);
        until(LIMIT, async || {
            let by = who(&waypoint, WEB).await;
            let is_next = if second.is_empty() { !by.contains(first) } else { by == names([second]) };
            Ok(is_next.then_some(()))
        })
        .await
        .unwrap();
        failing.answer_with(StatusCode::OK);
    }
    // A rule that says so has no effect of where something is.
    let off =
        json!({"outlierDetection": outliers, "loadBalancer": {"localityLbSetting": {"enabled": false}}});
    let waypoint = Waypoint::at(&mesh(&all, &[rule(off)]), "at-a").await.unwrap();
    assert_eq!(who(&waypoint, WEB).await, names(["one", "two", "three"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_by_name_is_preferred_by_where_it_is_said_to_be() {
    let all = backends().await;
    let port = |n: usize| all[n].address.port();
    let entry = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {
            "namespace": "shop", "name": "api",
            "annotations": {"networking.istio.io/traffic-distribution": "PreferSameZone"},
        },
        "spec": {
            "hosts": ["api.example.org"],
            "addresses": ["240.0.0.1"],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [
                {"address": "127.0.41.1", "locality": "r/a", "ports": {"http": port(0)}},
                {"address": "127.0.41.2", "locality": "r/b", "ports": {"http": port(1)}},
            ],
        },
    });
    let objects = mesh(&all, &[entry]);
    for (pod, expected) in [("at-a", "one"), ("at-b", "two")] {
        let waypoint = Waypoint::at(&objects, pod).await.unwrap();
        assert_eq!(who(&waypoint, "240.0.0.1:80").await, names([expected]), "{pod}");
    }
}

#[test]
fn places_share_what_is_the_same_and_a_change_is_for_its_places_alone() {
    let all = format!("{MESH}{NODES}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &all).unwrap();
    let input = super::Input::read(file.path());
    let mut mesh = input.apply_at_once(input.events.clone());
    let put = |kind, object: &Value| Event::Put(parse(kind, object.to_string().as_bytes()).unwrap());
    let mut apply = |events: Vec<Event>| -> Vec<String> {
        let resources = mesh.apply(events).resources.into_iter();
        let of_proxies = resources.filter(|of| of.scope != proto::Scope::Mesh);
        of_proxies.map(|of| format!("{} {:?}", of.scope, of.resource_type)).collect()
    };
    let in_zone = put(Kind::Service, &service(json!({"trafficDistribution": "PreferSameZone"})));
    // Two ports, each in two zones; before it was one for both.
    let changed = apply(vec![in_zone]);
    let places = changed.iter().filter(|of| of.ends_with("Endpoint"));
    assert_eq!(places.collect::<BTreeSet<_>>().len(), 3, "{changed:?}");
    // A further instance in a zone that has one is nothing new to anybody.
    let pod = json!({
        "metadata": {
            "namespace": "shop", "name": "at-a-2",
            "labels": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
        },
        "spec": {"nodeName": "n1", "serviceAccountName": ""},
        "status": {"podIP": "127.0.0.1", "phase": "Running"},
    });
    assert_eq!(apply(vec![put(Kind::Pod, &pod)]), Vec::<String>::new());
    // One in a further zone has what is for that.
    let mut other = pod.clone();
    other["metadata"]["name"] = json!("at-c");
    other["spec"]["nodeName"] = json!("n3");
    let changed = apply(vec![put(Kind::Pod, &other)]);
    assert_eq!(changed, ["shop/waypoint@zone=q/c Endpoint"; 2]);
}
