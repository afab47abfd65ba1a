//! Workloads that are called at their own addresses, through a real Envoy that is their waypoint.

use super::peers::Workload;
use super::proxy::LIMIT;
use super::traffic::{Http, Waypoint};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use model::Kind;
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";

const MESH: &str = "\
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
metadata: {namespace: shop, name: waypoint, labels: {istio.io/waypoint-for: all}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: one, labels: {app: one}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {serviceAccountName: one, containers: [{name: one, image: one}]}
status: {phase: Running, podIP: 127.0.21.1, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: two, labels: {app: two}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {serviceAccountName: two, containers: [{name: two, image: two}]}
status: {phase: Running, podIP: 127.0.21.2, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: outside}
spec: {serviceAccountName: two, containers: [{name: two, image: two}]}
status: {phase: Running, podIP: 127.0.21.3, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: alone
  labels: {istio.io/use-waypoint: none}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {serviceAccountName: two, containers: [{name: two, image: two}]}
status: {phase: Running, podIP: 127.0.21.4, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: six}
spec: {clusterIP: 'fd00::6', clusterIPs: ['fd00::6'], ports: [{name: http, port: 80}, {name: mysql, port: 3306}]}
";

async fn start() -> (Waypoint, [Workload; 2]) {
    let waypoint = Waypoint::of(MESH).await.unwrap();
    let workloads = ["127.0.21.1", "127.0.21.2"].map(|ip| {
        let at = SocketAddr::new(ip.parse().unwrap(), mesh::destination::HBONE);
        Workload::start(at, &waypoint.authority.issued(ip).unwrap()).unwrap()
    });
    (waypoint, workloads)
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header("host", "one").body(Empty::new()).unwrap()
}

async fn status(waypoint: &Waypoint, to: &str, path: &str) -> anyhow::Result<StatusCode> {
    Ok(waypoint.http(to).await?.send(get(path)).await?.status)
}

fn policy(rules: Value) -> (Kind, Value) {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}]);
    let spec = json!({"targetRefs": target, "action": "DENY", "rules": rules});
    (Kind::AuthorizationPolicy, json!({"metadata": {"namespace": "shop", "name": "denied"}, "spec": spec}))
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_reached_at_their_own_addresses_at_any_port() {
    let (mut waypoint, _workloads) = start().await;
    // Requests, also on one connection of the client's node, each to where it was to.
    for to in ["127.0.21.1:8080", "127.0.21.2:8080", "127.0.21.1:9999"] {
        let mut http = waypoint.http(to).await.unwrap();
        for path in ["/a", "/b"] {
            let answer = http.send(get(path)).await.unwrap();
            assert_eq!((answer.status, &answer.body["to"]), (StatusCode::OK, &json!(to)));
            assert_eq!(answer.body["path"], path);
        }
        // Envoy has looked at them.
        assert_eq!(http.send(get("/x/../c//d")).await.unwrap().body["path"], "/c/d");
    }
    // Whoever speaks first.
    let mut stream = waypoint.connect_as(CLIENT, "127.0.21.2:3306", &[]).await.unwrap().unwrap();
    stream.write_all(b"\x01\x02\r\n").await.unwrap();
    let mut first = [0; 9];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"hello\x01\x02\r\n");

    // A workload that takes no HBONE, one that has no waypoint, and none at all.
    for to in ["127.0.21.3:80", "127.0.21.4:80", "127.0.21.5:80", "localhost:80"] {
        let refused = waypoint.connect_as(CLIENT, to, &[]).await.unwrap().err();
        assert_eq!(refused, Some(StatusCode::NOT_FOUND), "{to}");
    }
    // No client says which scope it wants.
    for scope in ["connect|127.0.21.1", "direct", "connect|"] {
        let headers = [("x-pilothouse-scope", scope)];
        let refused = waypoint.connect_as(CLIENT, "127.0.21.5:80", &headers).await.unwrap().err();
        assert_eq!(refused, Some(StatusCode::NOT_FOUND), "{scope}");
    }

    // Policies of the waypoint hold here, too, for requests and for streams.
    let denied = policy(json!([{"to": [{"operation": {"paths": ["/admin"]}}]}]));
    waypoint.apply(&[denied]).await.unwrap();
    let is_so = async |path: &str, expected: u16| {
        let is = async || Ok((status(&waypoint, "127.0.21.1:8080", path).await? == expected).then_some(()));
        until(LIMIT, is).await.unwrap();
    };
    is_so("/admin", 403).await;
    is_so("/", 200).await;
    let denied = policy(json!([{"to": [{"operation": {"ports": ["3306"]}}]}]));
    waypoint.apply(&[denied]).await.unwrap();
    let is_closed = until(LIMIT, async || {
        let mut stream = waypoint.connect_as(CLIENT, "127.0.21.2:3306", &[]).await?.unwrap();
        stream.write_all(b"\x01\x02\r\n").await?;
        let mut all = Vec::new();
        // What is denied is closed, or reset; what is not says hello and waits.
        let read = tokio::time::timeout(LIMIT, stream.read(&mut [0; 5])).await?;
        all.extend(read.ok().filter(|n| *n > 0));
        Ok(all.is_empty().then_some(()))
    });
    is_closed.await.unwrap();
    assert_eq!(status(&waypoint, "127.0.21.2:8080", "/admin").await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_is_one_scope_and_goes_again() {
    let mut waypoint = Waypoint::of(MESH).await.unwrap();
    let pod = json!({
        "metadata": {"namespace": "shop", "name": "new", "annotations": {"ambient.istio.io/redirection": "enabled"}},
        "spec": {"serviceAccountName": "new", "containers": [{"name": "a", "image": "a"}]},
        "status": {"phase": "Running", "podIP": "10.2.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let bytes = waypoint.apply(&[(Kind::Pod, pod)]).await.unwrap();
    assert!((1..500).contains(&bytes), "{bytes} bytes");
    waypoint.connect_as(CLIENT, "10.2.0.7:1234", &[]).await.unwrap().unwrap();
    let gone = model::ObjectRef { kind: Kind::Pod, name: model::Name::new("shop", "new") };
    waypoint.change(vec![model::Event::Remove(gone)]).await.unwrap();
    let is_gone = until(LIMIT, async || {
        let refused = waypoint.connect_as(CLIENT, "10.2.0.7:1234", &[]).await?.err();
        Ok((refused == Some(StatusCode::NOT_FOUND)).then_some(()))
    });
    is_gone.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_addresses_of_either_family() {
    let waypoint = Waypoint::of(MESH).await.unwrap();
    let mut six: Http = waypoint.http("[fd00::6]:80").await.unwrap();
    // It has no instance.
    assert_eq!(six.send(get("/")).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    let refused = waypoint.connect_as(CLIENT, "[fd00::6]:3306", &[]).await.unwrap().err();
    assert_eq!(refused, Some(StatusCode::SERVICE_UNAVAILABLE));
    for to in ["[fd00::6]:81", "[fd00::7]:80"] {
        let refused = waypoint.connect_as(CLIENT, to, &[]).await.unwrap().err();
        assert_eq!(refused, Some(StatusCode::NOT_FOUND), "{to}");
    }
}
