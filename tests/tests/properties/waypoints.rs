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
