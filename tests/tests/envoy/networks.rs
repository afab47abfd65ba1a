//! What is on another network, through a real Envoy that is a waypoint and a stand-in for the gateway of that network.

use super::destination::{Backend, MESH};
use super::peers::{Call, Gateway, Workload, listen};
use super::proxy::Authority;
use super::traffic::{Http, Waypoint};
use hyper::StatusCode;
use model::Kind;
use pilothouse_tests::certificates::NewCertificate;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const WEB: &str = "10.96.0.1:80";
const STREAMS: &str = "10.96.0.1:81";
const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/eastwest";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";

/// The mesh with a network `far`, whose gateway is at a port of this machine, and a workload there.
fn mesh(gateway: u16, multi_network: bool, pods: &str) -> String {
    let own = MESH.replace(
        "configures_waypoints: true}",
        &format!("configures_waypoints: true, multi_network: {multi_network}}}"),
    );
    let own = own.replace("name: web}", "name: web, labels: {istio.io/global: \"true\"}}");
    format!(
        "{own}---\n\
         apiVersion: v1\n\
         kind: Namespace\n\
         metadata: {{name: istio-system, labels: {{topology.istio.io/network: near}}}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: ConfigMap\n\
         metadata: {{namespace: istio-system, name: istio}}\n\
         data: {{mesh: \"serviceScopeConfigs: [{{servicesSelector: {{matchLabels: {{istio.io/global: \\\"true\\\"}}}}, scope: GLOBAL}}]\"}}\n\
         ---\n\
         apiVersion: gateway.networking.k8s.io/v1\n\
         kind: Gateway\n\
         metadata:\n  namespace: istio-system\n  name: far\n  labels: {{topology.istio.io/network: far}}\n  \
         annotations: {{gateway.istio.io/service-account: eastwest}}\n\
         spec: {{gatewayClassName: istio-remote, listeners: [{{name: cross, port: {gateway}, protocol: HBONE, tls: {{mode: Terminate}}}}]}}\n\
         status: {{addresses: [{{type: IPAddress, value: 127.0.31.1}}]}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\n\
         kind: WorkloadEntry\n\
         metadata: {{namespace: shop, name: far, labels: {{app: web}}}}\n\
         spec: {{address: 10.2.0.1, network: far, serviceAccount: server, ports: {{http: 8080}}}}\n{pods}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_another_network_is_reached_through_its_gateway_and_is_who_it_should_be() {
    for multi_network in [true, false] {
        // The gateway's port has to be known before the mesh is.
        let [server, gateway] =
            ["127.0.31.2:0", "127.0.31.1:0"].map(|at| listen(at.parse().unwrap()).unwrap());
        let objects = mesh(gateway.local_addr().unwrap().port(), multi_network, "");
        let waypoint = Waypoint::of(&objects).await.unwrap();
        let shown = |identity: &str| {
            let (chain, key_pem) = waypoint.authority.certificate_of("peer", identity).unwrap();
            NewCertificate { key_pem, chain: vec![chain, waypoint.authority.root_pem.clone()] }
        };
        let behind = server.local_addr().unwrap();
        let server = Workload::at(server, &shown(SERVER)).unwrap();
        let gateway = Gateway::at(gateway, &shown(GATEWAY), behind).unwrap();
        for (to, target) in
            [(WEB, "web.shop.svc.cluster.local:80"), (STREAMS, "web.shop.svc.cluster.local:81")]
        {
            let answer = waypoint.http(to).await.unwrap().get("/", &[]).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{} {}", answer.text, waypoint.log());
            // The workload sees the waypoint, and so does the gateway, which sees where it goes.
            let peer = "spiffe://cluster.local/ns/shop/sa/waypoint";
            assert_eq!(answer.body, json!({"peer": peer, "to": target, "path": "/"}));
            let seen = gateway.last().unwrap();
            assert_eq!((seen.peer.as_str(), seen.to.as_str()), (peer, target));
            assert_eq!(seen.headers["x-istio-source"], "waypoint");
            assert!(!seen.headers.contains_key("x-forwarded-network"), "that is for who is behind it");
        }
        // Neither is believed that is somebody else.
        for (of_gateway, of_server) in [(SERVER, SERVER), (GATEWAY, GATEWAY)] {
            gateway.renew(&shown(of_gateway)).unwrap();
            server.renew(&shown(of_server)).unwrap();
            let waypoint = Waypoint::with(&objects, &waypoint.authority).await.unwrap();
            let answer = waypoint.http(WEB).await.unwrap().get("/", &[]).await.unwrap();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{of_gateway} {of_server}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_near_goes_before_another_network_where_a_service_prefers_it() {
    let near = Backend::start("near", "127.0.31.3").await.unwrap();
    let [server, gateway] = ["127.0.31.2:0", "127.0.31.1:0"].map(|at| listen(at.parse().unwrap()).unwrap());
    let objects = mesh(gateway.local_addr().unwrap().port(), true, &near.pod());
    let mut waypoint = Waypoint::of(&objects).await.unwrap();
    let shown = |identity: &str| {
        let (chain, key_pem) = waypoint.authority.certificate_of("peer", identity).unwrap();
        NewCertificate { key_pem, chain: vec![chain, waypoint.authority.root_pem.clone()] }
    };
    let behind = server.local_addr().unwrap();
    let _server = Workload::at(server, &shown(SERVER)).unwrap();
    let _gateway = Gateway::at(gateway, &shown(GATEWAY), behind).unwrap();
    // The workload there has no name of its own in what it answers.
    let both = BTreeSet::from(["near".to_owned(), String::new()]);
    let who = async |waypoint: &Waypoint| {
        let mut http = waypoint.http(WEB).await.unwrap();
        let mut by = BTreeSet::new();
        for _ in 0..40 {
            let answer = http.get("/", &[]).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            by.insert(answer.body["by"].as_str().unwrap_or_default().to_owned());
        }
        by
    };
    assert_eq!(who(&waypoint).await, both);
    let service = json!({
        "metadata": {"namespace": "shop", "name": "web", "labels": {"istio.io/global": "true"}},
        "spec": {
            "clusterIP": "10.96.0.1", "selector": {"app": "web"}, "trafficDistribution": "PreferClose",
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "tcp", "port": 81, "targetPort": "http"}],
        },
    });
    waypoint.apply(&[(Kind::Service, service)]).await.unwrap();
    assert_eq!(who(&waypoint).await, BTreeSet::from(["near".to_owned()]));
}

/// The mesh of the network `far`, as its own control plane sees it: a gateway for others, and a service for every network
/// with a pod at an address of this machine. Its namespace, the service and the pod are labelled so.
fn far(namespace: &str, service: &str) -> String {
    let own = MESH.replace("configures_waypoints: true,", "configures_waypoints: true, multi_network: true,");
    let own = own.replace(
        "name: shop, labels: {istio.io/use-waypoint: waypoint}}",
        &format!("name: shop, labels: {{{namespace}}}}}"),
    );
    let own =
        own.replace("name: web}", &format!("name: web, labels: {{istio.io/global: \"true\"{service}}}}}"));
    format!(
        "{own}---\n\
         apiVersion: v1\n\
         kind: Namespace\n\
         metadata: {{name: istio-system, labels: {{topology.istio.io/network: far}}}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: ConfigMap\n\
         metadata: {{namespace: istio-system, name: istio}}\n\
         data: {{mesh: \"serviceScopeConfigs: [{{servicesSelector: {{matchLabels: {{istio.io/global: \\\"true\\\"}}}}, scope: GLOBAL}}]\"}}\n\
         ---\n\
         apiVersion: gateway.networking.k8s.io/v1\n\
         kind: GatewayClass\n\
         metadata: {{name: istio-east-west}}\n\
         spec: {{controllerName: istio.io/eastwest-controller}}\n\
         ---\n\
         apiVersion: gateway.networking.k8s.io/v1\n\
         kind: Gateway\n\
         metadata: {{namespace: istio-system, name: eastwest, labels: {{topology.istio.io/network: far}}}}\n\
         spec: {{gatewayClassName: istio-east-west, listeners: [{{name: cross, port: 15008, protocol: HBONE, tls: {{mode: Terminate}}}}]}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: Service\n\
         metadata: {{namespace: shop, name: local}}\n\
         spec: {{clusterIP: 10.96.0.2, selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: http}}]}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{namespace: shop, name: web, labels: {{app: web}}, annotations: {{ambient.istio.io/redirection: enabled}}}}\n\
         spec: {{serviceAccountName: server, containers: [{{name: web, image: web, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{phase: Running, podIP: 127.0.31.4, conditions: [{{type: Ready, status: \"True\"}}]}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{namespace: shop, name: waypoint, labels: {{gateway.networking.k8s.io/gateway-name: waypoint}}}}\n\
         spec: {{serviceAccountName: waypoint, containers: [{{name: proxy, image: proxy}}]}}\n\
         status: {{phase: Running, podIP: 127.0.31.5, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
    )
}

/// What the two ends of a network show.
fn shown(authority: &Authority, identity: &str) -> NewCertificate {
    let (chain, key_pem) = authority.certificate_of("peer", identity).unwrap();
    NewCertificate { key_pem, chain: vec![chain, authority.root_pem.clone()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_between_networks_passes_what_is_for_services_of_every_network() {
    let authority = Arc::new(Authority::new().unwrap());
    let _pod = Workload::start("127.0.31.7:15008".parse().unwrap(), &shown(&authority, SERVER)).unwrap();
    // Tests run beside each other.
    let objects = far("", "").replace("127.0.31.4", "127.0.31.7");
    let gateway = Waypoint::gateway("istio-system/eastwest", &objects, &authority).await.unwrap();
    let port = gateway.port("connect_terminate").await.unwrap();
    // Another network, whose waypoint sends to it by the gateway.
    let near = mesh(port, true, "").replace("127.0.31.1", "127.0.0.1");
    let waypoint = Waypoint::with(&near, &authority).await.unwrap();
    for (to, target) in [(WEB, "web.shop.svc.cluster.local:80"), (STREAMS, "web.shop.svc.cluster.local:81")] {
        let answer = waypoint.http(to).await.unwrap().get("/", &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{} {} {}", answer.text, waypoint.log(), gateway.log());
        // The pod sees who calls, and not the gateway.
        let peer = "spiffe://cluster.local/ns/shop/sa/waypoint";
        assert_eq!(answer.body, json!({"peer": peer, "to": target, "path": "/"}));
    }
    // What is not for every network, what is no service, and what is no name, is not there.
    for to in [
        "local.shop.svc.cluster.local:80",
        "web.shop.svc.cluster.local:82",
        "10.96.0.1:80",
        "127.0.31.7:8080",
    ] {
        let refused = gateway.connect_as("spiffe://cluster.local/ns/far/sa/client", to, &[]).await.unwrap();
        assert_eq!(refused.err(), Some(StatusCode::NOT_FOUND), "{to}");
    }
    // Nor does it take who is of another mesh.
    let other = shown(&Authority::new().unwrap(), SERVER);
    let other = Call::open(&other, ([127, 0, 0, 1], port).into(), "web.shop.svc.cluster.local:80");
    assert!(other.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_between_networks_leads_through_the_waypoint_of_a_service_unless_that_is_done() {
    let authority = Arc::new(Authority::new().unwrap());
    let waypoint = "spiffe://cluster.local/ns/shop/sa/waypoint";
    let _pod = Workload::start("127.0.31.4:15008".parse().unwrap(), &shown(&authority, SERVER)).unwrap();
    let _waypoint =
        Workload::start("127.0.31.5:15008".parse().unwrap(), &shown(&authority, waypoint)).unwrap();
    let bound = ", istio.io/use-waypoint: waypoint";
    let through_edges = ", istio.io/use-waypoint: waypoint, istio.io/ingress-use-waypoint: \"true\"";
    for (labels, source, expected) in [
        (bound, "", waypoint),
        (bound, "ztunnel", waypoint),
        (bound, "waypoint", SERVER),
        (bound, "gateway", SERVER),
        (through_edges, "gateway", waypoint),
        (through_edges, "waypoint", SERVER),
    ] {
        let gateway = Waypoint::gateway("istio-system/eastwest", &far("", labels), &authority).await.unwrap();
        let headers: &[_] = if source.is_empty() { &[] } else { &[("x-istio-source", source)] };
        let to = "web.shop.svc.cluster.local:80";
        let client = "spiffe://cluster.local/ns/far/sa/client";
        let stream = gateway.connect_as(client, to, headers).await.unwrap().unwrap();
        let server = Call::server(&shown(&authority, client), stream).await.unwrap();
        assert_eq!(server, expected, "{labels} {source:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_is_called_by_name_from_other_networks() {
    let backend = Backend::start("named", "127.0.31.6").await.unwrap();
    let objects = far("istio.io/use-waypoint: waypoint", "")
        .replace("name: web, labels: {app: web}", "name: web, labels: {app: none}");
    let mut waypoint = Waypoint::of(&(objects + &backend.pod())).await.unwrap();
    let client = "spiffe://cluster.local/ns/far/sa/client";
    let ask = async |waypoint: &Waypoint, to: &str| {
        let stream = waypoint.connect_as(client, to, &[]).await?;
        let stream = stream.map_err(|status| anyhow::anyhow!("{status}"))?;
        Http::new(stream.into_inner()).await?.get("/", &[]).await
    };
    for to in ["web.shop.svc.cluster.local:80", "web.shop.svc.cluster.local:81", WEB] {
        let answer = ask(&waypoint, to).await.unwrap();
        assert_eq!(answer.body["by"], "named", "{to}: {}", answer.text);
    }
    for to in [
        "local.shop.svc.cluster.local:80",
        "web.shop.svc.cluster.local:82",
        "web.shop.svc.cluster.local",
        "10.96.0.1",
    ] {
        assert!(ask(&waypoint, to).await.is_err(), "{to}");
    }
    // Policies are about both ways.
    let spec = json!({
        "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "action": "DENY",
        "rules": [{"from": [{"source": {"namespaces": ["far"]}}]}],
    });
    let policy = json!({"metadata": {"namespace": "shop", "name": "far"}, "spec": spec});
    waypoint.apply(&[(Kind::AuthorizationPolicy, policy)]).await.unwrap();
    let answer = ask(&waypoint, "web.shop.svc.cluster.local:80").await.unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(ask(&waypoint, "web.shop.svc.cluster.local:81").await.is_err());
}
