//! What a service that begins to want unready endpoints needs again: a ztunnel has forgotten those of a
//! service that wanted only healthy ones.

use mesh::Options;
use model::Event;
use model::Kind;
use pilothouse_tests::client::State;
use plane::{Delta, Plane};
use proto::ResourceType;
use serde_json::{Value, json};

use crate::{parsed, response, synced};

const SERVICE: &str = "shop/web.shop.svc.cluster.local";
const UNREADY: &str = "Kubernetes//Pod/shop/unready";
const READY: &str = "Kubernetes//Pod/shop/ready";
const OUTSIDE: &str = "Kubernetes/discovery.k8s.io/EndpointSlice/shop/web-1/192.0.2.1";

fn put(kind: Kind, manifest: Value) -> Event {
    Event::Put(parsed(kind, manifest))
}

fn service(wants_all: bool, port: u16) -> Event {
    put(
        Kind::Service,
        json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {
                "clusterIP": "10.1.0.1", "selector": {"app": "web"}, "publishNotReadyAddresses": wants_all,
                "ports": [{"name": "http", "port": port}],
            },
        }),
    )
}

fn pod(name: &str, address: &str, ready: &str) -> Event {
    put(
        Kind::Pod,
        json!({
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
            "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
        }),
    )
}

fn slice() -> Event {
    put(
        Kind::EndpointSlice,
        json!({
            "metadata": {
                "namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": false}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }),
    )
}

/// A mesh whose service wants only healthy endpoints, of which it has one, and a ztunnel that follows.
fn start() -> (Plane, State) {
    let objects = || [pod("ready", "10.0.0.1", "True"), pod("unready", "10.0.0.2", "False"), slice()];
    let mut mesh = synced(&Options::default(), Vec::new());
    let mut ztunnel = State::new(false);
    follow(&mut ztunnel, &mesh.apply([service(false, 80)].into_iter().chain(objects())));
    assert_eq!(endpoints(&ztunnel), [READY]);
    (mesh, ztunnel)
}

fn follow(ztunnel: &mut State, delta: &Delta) {
    ztunnel.apply(&response(ResourceType::Address, delta));
}

fn endpoints(ztunnel: &State) -> Vec<&str> {
    ztunnel.endpoints_of(SERVICE).into_iter().map(|(name, _)| name).collect()
}

/// The names in a delta in order, and which are marked to be sent although they are the same.
fn names(delta: &Delta) -> Vec<(&str, bool)> {
    delta.resources.iter().map(|change| (change.name.as_str(), change.resend)).collect()
}

#[test]
fn a_service_that_begins_to_want_all_comes_before_its_unready_endpoints_which_come_again() {
    let (mut mesh, mut ztunnel) = start();
    // Off and on again it needs them again.
    for _ in 0..2 {
        let on = mesh.apply([service(true, 80)]);
        assert_eq!(names(&on), [(SERVICE, false), (OUTSIDE, true), (UNREADY, true)]);
        follow(&mut ztunnel, &on);
        assert_eq!(endpoints(&ztunnel), [READY, UNREADY, OUTSIDE]);

        let off = mesh.apply([service(false, 80)]);
        assert_eq!(names(&off)[0], (SERVICE, false));
        follow(&mut ztunnel, &off);
        assert_eq!(endpoints(&ztunnel), [READY]);
    }
}

#[test]
fn another_change_of_a_service_sends_no_endpoint_again() {
    let (mut mesh, _) = start();
    mesh.apply([service(true, 80)]);
    let (mut bare, _) = start();
    // The port is another one for the endpoints too: their bytes change, and nothing is sent twice.
    for delta in [mesh.apply([service(true, 81)]), bare.apply([service(false, 81)])] {
        assert!(names(&delta).iter().all(|(_, again)| !again), "{:?}", names(&delta));
    }
    assert!(mesh.apply([service(true, 81)]).is_empty());
}

#[test]
fn an_endpoint_that_is_ready_meanwhile_comes_once() {
    let (mut mesh, mut ztunnel) = start();
    let delta = mesh.apply([service(true, 80), pod("unready", "10.0.0.2", "True")]);
    assert_eq!(names(&delta), [(SERVICE, false), (OUTSIDE, true), (UNREADY, false)]);
    follow(&mut ztunnel, &delta);
    assert_eq!(endpoints(&ztunnel).len(), 3);
}
