//! What the Envoy of a waypoint refuses, as it is told of the objects that made it.

use crate::fixture::{Fixture, service};
use crate::replica::Replica;
use anyhow::{Context, ensure};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Target, transport};
use prost::Message;
use proto::ResourceType;
use proto::discovery::{DeltaDiscoveryRequest, Node, Resource};
use runtime::controllers::ReportIntervals;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

const PROGRAMMED: &str = "pilothouse.io/Programmed";
const WEB: &str = "inbound-vip|80|http|web.shop.svc.cluster.local";

/// What is told may be told otherwise soon.
const INTERVALS: ReportIntervals = ReportIntervals {
    awaiting: Duration::from_millis(200),
    idle: Duration::from_secs(1),
    settle: Duration::from_secs(1),
    refresh: Duration::from_secs(600),
};

/// A waypoint that takes traffic, two services behind it, and what their authors want of it.
const SHOP: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: waypoint, labels: {gateway.istio.io/managed: istio.io-mesh-controller}}
spec: {ports: [{name: mesh, port: 15008}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: waypoint-1, labels: {kubernetes.io/service-name: waypoint}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]
ports: [{name: mesh, port: 15008}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: web}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}, {group: \"\", kind: Service, name: other}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: other}
spec: {parentRefs: [{group: \"\", kind: Service, name: other}], rules: [{backendRefs: [{name: other, port: 80}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: web}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: web}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{to: [{operation: {methods: [GET]}}]}]
";

/// Types and names of resources.
type Resources = BTreeSet<(ResourceType, &'static str)>;

/// An Envoy of the waypoint that refuses some resources, whatever they are, and takes all else.
struct Envoy {
    refuses: Arc<Mutex<Resources>>,
    task: JoinHandle<()>,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Envoy {
    async fn connect(replica: &Replica, refuses: &[(ResourceType, &'static str)]) -> anyhow::Result<Self> {
        let target = Target { address: replica.xds().to_string(), ..Target::default() };
        let node = Node {
            id: "waypoint~10.0.0.9~waypoint-1.shop~shop.svc.cluster.local".to_owned(),
            cluster: "shop/waypoint".to_owned(),
            metadata: None,
        };
        let all = [ResourceType::Cluster, ResourceType::Listener, ResourceType::ScopedRoute];
        let first = all.map(|of| DeltaDiscoveryRequest {
            node: Some(node.clone()),
            type_url: of.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        });
        let mut wire = transport::open(&target, first.into()).await?;
        let refuses = Arc::new(Mutex::new(refuses.iter().copied().collect::<Resources>()));
        let refused = Arc::clone(&refuses);
        let run = async move {
            while let Ok(Some(response)) = wire.responses.message().await {
                let names: Vec<String> = response
                    .resources
                    .iter()
                    .filter_map(|bytes| Some(Resource::decode(bytes.clone()).ok()?.name))
                    .collect();
                let of = ResourceType::from_type_url(&response.type_url);
                let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let bad = refused.iter().find_map(|(kind, name)| {
                    (of == Some(*kind) && names.iter().any(|of| of == name)).then_some(*name)
                });
                let message = bad.map(|name| format!("Error adding/updating {name}: \"odd\"\n\tfield"));
                let _ = wire.requests.send(DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    error_detail: message.map(|message| proto::rpc::Status { code: 3, message }),
                    ..DeltaDiscoveryRequest::default()
                });
            }
        };
        Ok(Self { refuses, task: tokio::spawn(run) })
    }

    /// Takes everything from now on.
    fn relent(&self) {
        self.refuses.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A condition of a list: whether it is there and `True`, its reason and its message.
fn condition(of: &Value, kind: &str) -> Option<(bool, String, String)> {
    let all = of["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((found["status"] == "True", text("reason"), text("message")))
}

/// Waits until a part of the status of an object has a condition, or has none, as `is_it` says; returns it.
async fn until_told(
    fixture: &Fixture,
    (kind, name): (Kind, &str),
    (at, of): (&str, &str),
    is_it: impl Fn(Option<&(bool, String, String)>) -> bool,
) -> anyhow::Result<Option<(bool, String, String)>> {
    let mut last = Value::Null;
    let told = until(LIMIT, async || {
        last = fixture.get(kind, "shop", name).await?["status"].clone();
        let found = last.pointer(at).and_then(|part| condition(part, of));
        Ok(is_it(found.as_ref()).then_some(found))
    });
    told.await.with_context(|| format!("{kind} {name}, {of}: {last:#}"))
}

fn is_rejected(told: Option<&(bool, String, String)>) -> bool {
    told.is_some_and(|(status, reason, _)| !status && reason == "Rejected")
}

fn is_absent(told: Option<&(bool, String, String)>) -> bool {
    told.is_none()
}

fn is_fine(told: Option<&(bool, String, String)>) -> bool {
    told.is_some_and(|(status, ..)| *status)
}

const GATEWAY: (Kind, &str) = (Kind::Gateway, "waypoint");
const ROUTE: (Kind, &str) = (Kind::HTTPRoute, "web");
const RULE: (Kind, &str) = (Kind::DestinationRule, "web");
const POLICY: (Kind, &str) = (Kind::AuthorizationPolicy, "web");

async fn shop() -> anyhow::Result<(Fixture, Replica)> {
    let labels = json!({"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"});
    let fixture = Fixture::start(&[("shop", labels)]).await?;
    fixture.put_all(SHOP).await?;
    for name in ["web", "other"] {
        let mut service = service("shop", name, json!({}));
        service["spec"]["ports"][0]["name"] = json!("http");
        fixture.put(service).await?;
    }
    let replica = Replica::start_with_waypoints(&fixture.account, "one", INTERVALS).await?;
    replica.leading().await?;
    until_told(&fixture, GATEWAY, ("", "Programmed"), is_fine).await?;
    until_told(&fixture, POLICY, ("", "WaypointAccepted"), is_fine).await?;
    Ok((fixture, replica))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_refuses_is_told_of_its_authors_until_it_takes_another_version() -> anyhow::Result<()> {
    let (fixture, replica) = shop().await?;
    let envoy = Envoy::connect(&replica, &[(ResourceType::ScopedRoute, WEB)]).await?;
    let told = until_told(&fixture, ROUTE, ("/parents/0", PROGRAMMED), is_rejected).await?;
    let (_, _, message) = told.context("told")?;
    // In quotes, and escaped.
    ensure!(message.contains(WEB) && message.ends_with("\\\"odd\\\"\\n\\tfield\""), "{message}");
    ensure!(message.contains("this and AuthorizationPolicy shop/web"), "{message}");
    until_told(&fixture, ROUTE, ("/parents/0", "Accepted"), is_fine).await?;
    let (_, reason, of_gateway) =
        until_told(&fixture, GATEWAY, ("", "Programmed"), |told| !is_fine(told)).await?.context("told")?;
    ensure!(reason == "Invalid" && of_gateway.contains("HTTPRoute shop/web"), "{reason}: {of_gateway}");
    until_told(&fixture, POLICY, ("", PROGRAMMED), is_rejected).await?;
    until_told(&fixture, POLICY, ("", "WaypointAccepted"), is_fine).await?;
    // The other parent, and the other route, lead to what was taken.
    let route = fixture.get(Kind::HTTPRoute, "shop", "web").await?;
    assert_eq!(condition(&route["status"]["parents"][1], PROGRAMMED), None);
    let other = fixture.get(Kind::HTTPRoute, "shop", "other").await?;
    assert_eq!(condition(&other["status"]["parents"][0], PROGRAMMED), None);
    assert_eq!(condition(&other["status"]["parents"][0], "Accepted").map(|(status, ..)| status), Some(true));

    // Another resource is taken: the first one stays refused. Then its next version is taken.
    fixture.put(service("shop", "third", json!({}))).await?;
    until_told(&fixture, ROUTE, ("/parents/0", PROGRAMMED), is_rejected).await?;
    envoy.relent();
    let rules =
        "rules: [{matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: web, port: 80}]}]";
    fixture.put_all(&SHOP.replace("rules: [{backendRefs: [{name: web, port: 80}]}]", rules)).await?;
    until_told(&fixture, ROUTE, ("/parents/0", PROGRAMMED), is_absent).await?;
    until_told(&fixture, GATEWAY, ("", "Programmed"), is_fine).await?;
    until_told(&fixture, POLICY, ("", PROGRAMMED), is_absent).await?;
    until_told(&fixture, POLICY, ("", "WaypointAccepted"), is_fine).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_refused_is_told_no_more_once_it_has_gone() -> anyhow::Result<()> {
    let (fixture, replica) = shop().await?;
    let envoy = Envoy::connect(&replica, &[(ResourceType::Cluster, WEB)]).await?;
    until_told(&fixture, RULE, ("", PROGRAMMED), is_rejected).await?;
    until_told(&fixture, GATEWAY, ("", "Programmed"), |told| !is_fine(told)).await?;
    // A route is none of a cluster's authors.
    let route = fixture.get(Kind::HTTPRoute, "shop", "web").await?;
    assert_eq!(condition(&route["status"]["parents"][0], PROGRAMMED), None);
    drop(envoy);
    until_told(&fixture, RULE, ("", PROGRAMMED), is_absent).await?;
    until_told(&fixture, RULE, ("", "pilothouse.io/Accepted"), is_fine).await?;
    until_told(&fixture, GATEWAY, ("", "Programmed"), is_fine).await?;
    Ok(())
}
