//! What is on another network, through a real Envoy that is a waypoint and a stand-in for the gateway of that network.

use super::destination::{Backend, MESH};
use super::peers::{Gateway, Workload, listen};
use super::traffic::Waypoint;
use hyper::StatusCode;
use model::Kind;
use pilothouse_tests::certificates::NewCertificate;
use serde_json::json;
use std::collections::BTreeSet;

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
