//! What a waypoint that moves costs.

use std::collections::BTreeMap;

use mesh::Options;
use model::Event;
use model::Kind;
use plane::Plane;
use serde_json::{Value, json};

use crate::{parsed, synced};

fn put(kind: Kind, manifest: Value) -> Event {
    Event::Put(parsed(kind, manifest))
}

/// The waypoint of the namespace, for this traffic, with a name that leads to it.
fn waypoint(traffic: &str, hostname: &str) -> Event {
    put(
        Kind::Gateway,
        json!({
            "metadata": {"namespace": "shop", "name": "way", "labels": {"istio.io/waypoint-for": traffic}},
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
            "status": {"addresses": [{"type": "Hostname", "value": hostname}]},
        }),
    )
}

/// Two workloads of each kind in a namespace with a waypoint, and none in a service of it.
fn workloads() -> Vec<Event> {
    let labels = json!({"istio.io/use-waypoint": "way"});
    let mut all = vec![put(Kind::Namespace, json!({"metadata": {"name": "shop", "labels": labels}}))];
    for n in 1..=2 {
        let metadata = json!({"namespace": "shop", "name": format!("w{n}")});
        all.push(put(
            Kind::Pod,
            json!({"metadata": metadata, "status": {"phase": "Running", "podIP": format!("10.0.0.{n}")}}),
        ));
        all.push(put(
            Kind::WorkloadEntry,
            json!({"metadata": metadata, "spec": {"address": format!("10.1.0.{n}")}}),
        ));
        // Of a waypoint of its own it has none, but its endpoint has the namespace's.
        let outside = json!({
            "namespace": "shop", "name": format!("w{n}"), "labels": {"istio.io/use-waypoint": "none"},
        });
        all.push(put(
            Kind::ServiceEntry,
            json!({"metadata": outside, "spec": {
                "hosts": [format!("w{n}.test")], "resolution": "STATIC",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "endpoints": [{"address": format!("10.2.0.{n}")}],
            }}),
        ));
    }
    all
}

/// Workloads that were computed, by table.
fn work(mesh: &mut Plane, event: Event) -> BTreeMap<&'static str, u64> {
    let tables = ["pod_workloads", "entry_workloads", "inline_workloads"];
    let before: BTreeMap<_, _> = mesh.stats().into_iter().map(|s| (s.name, s.recomputed)).collect();
    mesh.apply([event]);
    let after = mesh.stats().into_iter().map(|s| (s.name, s.recomputed - before[s.name]));
    after.filter(|(name, count)| tables.contains(name) && *count > 0).collect()
}

#[test]
fn a_waypoint_for_services_that_moves_computes_no_workload_of_its_namespace() {
    let all = workloads().into_iter().chain([waypoint("service", "one.shop.svc.cluster.local")]);
    let mut mesh = synced(&Options::default(), all.collect());
    assert_eq!(work(&mut mesh, waypoint("service", "two.shop.svc.cluster.local")), BTreeMap::new());
    // One that is for workloads is that of each.
    let each = BTreeMap::from([("pod_workloads", 2), ("entry_workloads", 2), ("inline_workloads", 2)]);
    assert_eq!(work(&mut mesh, waypoint("all", "two.shop.svc.cluster.local")), each);
    assert_eq!(work(&mut mesh, waypoint("all", "one.shop.svc.cluster.local")), each);
}

/// A policy of one of two applications, which lets this account in.
fn allow(account: &str) -> Event {
    put(
        Kind::AuthorizationPolicy,
        json!({
            "metadata": {"namespace": "shop", "name": "allow"},
            "spec": {
                "action": "ALLOW", "selector": {"matchLabels": {"app": "one"}},
                "rules": [{"from": [{"source": {"serviceAccounts": [account]}}]}],
            },
        }),
    )
}

#[test]
fn an_edit_of_a_policys_rules_concerns_what_it_selects_and_no_other_service_of_the_waypoint() {
    let labels = json!({"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "way"});
    let mut all = vec![
        put(Kind::Namespace, json!({"metadata": {"name": "shop", "labels": labels}})),
        waypoint("all", "way.shop.svc.cluster.local"),
        put(
            Kind::Pod,
            json!({
                "metadata": {"namespace": "shop", "name": "way-1",
                             "labels": {"gateway.networking.k8s.io/gateway-name": "way"}},
                "spec": {"serviceAccountName": "way"},
                "status": {"phase": "Running", "podIP": "10.0.0.9"},
            }),
        ),
        allow("shop/a"),
    ];
    for (n, app) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let metadata = json!({"namespace": "shop", "name": app, "labels": {"app": app}});
        let port = json!({"name": "http", "port": 80});
        let spec =
            json!({"selector": {"app": app}, "clusterIP": format!("10.96.0.{}", n + 1), "ports": [port]});
        all.push(put(Kind::Service, json!({"metadata": metadata, "spec": spec})));
        let labels = json!({"ambient.istio.io/redirection": "enabled"});
        let mut metadata = metadata;
        metadata["annotations"] = labels;
        let status = json!({"phase": "Running", "podIP": format!("10.0.0.{}", n + 1)});
        all.push(put(
            Kind::Pod,
            json!({"metadata": metadata, "spec": {"serviceAccountName": app}, "status": status}),
        ));
    }
    let mut mesh = synced(&Options::default(), all);
    let computed = |mesh: &Plane| {
        mesh.stats().into_iter().find(|stage| stage.name == "waypoints_cut_off").map(|stage| stage.recomputed)
    };
    let before = computed(&mesh).unwrap();
    assert!(before > 1, "nothing is behind the waypoint");
    assert_eq!(mesh.diagnostics().iter().filter(|of| of.code == "AP112").count(), 1);
    // The waypoint is refused as before.
    mesh.apply([allow("shop/b")]);
    assert_eq!(computed(&mesh).unwrap(), before);
    mesh.apply([allow("shop/way")]);
    assert_eq!(mesh.diagnostics().iter().filter(|of| of.code == "AP112").count(), 0);
    let after = computed(&mesh).unwrap() - before;
    assert!((1..=2).contains(&after), "{after} of {before} rows were computed");
}
