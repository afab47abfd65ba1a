//! What is said where a waypoint is required.

use crate::case::{Cases, and, named, no_address};
use crate::world::{Text, World, entry, service, waypoint, waypoint_for, workload_entry};
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};

const REQUIRED: &str = "pilothouse.io/WaypointRequired";
const WITHOUT_POD: &str = "all connections are refused until waypoint shop/new is attached and has pods";
const UNNAMED: &str = "all connections are refused, since no waypoint is named";
const BY_WAY: &str = "connections are refused unless they come from waypoint shop/way";
const EXPOSED: &str =
    "at workloads before which no ztunnel of this network stands, or which are a gateway's own";
const DATAGRAMS: &str = "at ports of other protocols than TCP, which no ztunnel sees";

fn required(status: &'static str, reason: &'static str, message: &str) -> [String; 4] {
    [REQUIRED, status, reason, message].map(str::to_owned)
}

fn guarded(message: &str) -> [String; 4] {
    required("True", "Guarded", message)
}

fn not_so(message: &str, exceptions: &str) -> [String; 4] {
    required("False", "NotEnforced", &format!("{message}; not so {exceptions}"))
}

fn to(waypoint: &str) -> [String; 4] {
    let message = format!("Successfully attached to waypoint shop/{waypoint}");
    ["istio.io/WaypointBound", "True", "WaypointAccepted", &message].map(str::to_owned)
}

fn at(waypoint: &str) -> Value {
    json!({"istio.io/use-waypoint": waypoint})
}

fn yes() -> Value {
    json!({"ambient.pilothouse.io/require-waypoint": "true"})
}

/// A running pod; `labels` and `annotations` say whose.
fn pod(name: &str, ip: &str, labels: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "main"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn instance(of: &str, ip: &str) -> String {
    pod(of, ip, json!({"gateway.networking.k8s.io/gateway-name": of}), json!({})).to_string()
}

fn captured() -> Value {
    json!({"ambient.istio.io/redirection": "enabled"})
}

fn cases() -> Cases {
    let mut cases = Cases::default();
    for yaml in [
        waypoint("shop", "way", "Same"),
        waypoint_for("shop", "any", "all"),
        waypoint_for("shop", "new", "all"),
        instance("way", "10.0.0.1"),
        instance("any", "10.0.0.2"),
    ] {
        cases.with(&yaml);
    }
    let mut put = |object: Value, labels: Value, annotations: Value, conditions: &[[String; 4]]| {
        let conditions: Vec<Text<'_>> =
            conditions.iter().map(|[t, s, r, m]| (t.as_str(), s.as_str(), r.as_str(), m.as_str())).collect();
        cases.add(named(object, labels, annotations), &conditions);
    };
    let of = |name: &str| service("shop", name, json!({}));

    put(of("guarded"), at("way"), yes(), &[to("way"), guarded(BY_WAY)]);
    let canary = json!({"istio.io/use-waypoint-canary": "any"});
    let weight = json!({"istio.io/use-waypoint-canary-weight": "10"});
    let both = "connections are refused unless they come from waypoints shop/way, shop/any";
    put(of("canary"), and(&at("way"), canary), and(&yes(), weight), &[to("way"), guarded(both)]);
    put(of("no-pod"), at("new"), yes(), &[to("new"), required("True", "WaypointMissing", WITHOUT_POD)]);
    put(of("unnamed"), json!({}), yes(), &[required("True", "WaypointMissing", UNNAMED)]);
    let no = json!({"ambient.pilothouse.io/require-waypoint": "false"});
    put(of("no"), at("way"), no, &[to("way")]);
    let mut datagrams = of("datagrams");
    datagrams["spec"]["ports"] =
        json!([{"name": "a", "port": 80}, {"name": "b", "port": 53, "protocol": "UDP"}]);
    put(datagrams, at("way"), yes(), &[to("way"), not_so(BY_WAY, DATAGRAMS)]);

    let external = |name: &str| entry("shop", name, &[&format!("{name}.test")]);
    let not_at_endpoint = not_so(BY_WAY, EXPOSED);
    put(external("outside"), and(&at("way"), no_address()), yes(), &[to("way"), not_at_endpoint]);
    let mut datagrams = external("datagrams");
    datagrams["spec"]["ports"][0]["protocol"] = json!("UDP");
    let neither = not_so(BY_WAY, &format!("{EXPOSED}, and {DATAGRAMS}"));
    put(datagrams, and(&at("way"), no_address()), yes(), &[to("way"), neither]);

    let vm = |name: &str| workload_entry("shop", name, json!({}), json!({}));
    let any = "connections are refused unless they come from waypoint shop/any";
    put(vm("guarded"), at("any"), and(&yes(), captured()), &[to("any"), guarded(any)]);
    put(vm("exposed"), at("any"), yes(), &[to("any"), not_so(any, EXPOSED)]);
    let missing = required("True", "WaypointMissing", WITHOUT_POD);
    put(vm("no-pod"), at("new"), and(&yes(), captured()), &[to("new"), missing]);
    let unnamed = required("True", "WaypointMissing", UNNAMED);
    put(vm("unnamed"), json!({}), and(&yes(), captured()), &[unnamed]);
    shared_ports(&mut cases);
    cases
}

/// Services that require nothing and lead to a port of one that does, or of a workload that does.
fn shared_ports(cases: &mut Cases) {
    cases.with(&pod("web", "10.0.0.3", json!({"app": "web"}), captured()).to_string());
    cases.with(&pod("strict", "10.0.0.4", json!({"app": "strict"}), and(&captured(), yes())).to_string());
    let web = named(service("shop", "web", json!({})), at("way"), yes());
    let bound = "Successfully attached to waypoint shop/way";
    let to_way = ("istio.io/WaypointBound", "True", "WaypointAccepted", bound);
    cases.add(web, &[to_way, (REQUIRED, "True", "Guarded", BY_WAY)]);
    let mut side = service("shop", "side", json!({}));
    side["spec"]["selector"] = json!({"app": "web"});
    let by_web = "connections to port 80 of its workloads are refused unless they come from a waypoint, since shop/web.shop.svc.cluster.local requires one";
    cases.add(side, &[(REQUIRED, "True", "PortShared", by_web)]);
    let by_itself = "connections to port 80 of its workloads are refused unless they come from a waypoint, since its workloads require one";
    cases.add(service("shop", "strict", json!({})), &[(REQUIRED, "True", "PortShared", by_itself)]);
    // Bound itself, it is reached all the same.
    let mut behind = service("shop", "behind", at("way"));
    behind["spec"]["selector"] = json!({"app": "web"});
    cases.add(behind, &[to_way]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_requires_a_waypoint_is_told_once_whether_all_else_is_refused() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    let has_account = async || {
        let path = "/api/v1/namespaces/shop/serviceaccounts/default";
        let found = world.client.request::<Value>(http::Request::get(path).body(Vec::new())?).await;
        Ok(found.is_ok().then_some(()))
    };
    until(LIMIT, has_account).await?;
    cases().check(&world).await
}
