//! EndpointSlices, and the pods that they name.

use mesh::Options;
use model::Event;
use model::Kind;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proto::ResourceType;
use proto::workload::Workload;
use proto::workload::address::Type;
use serde_json::json;

use crate::{ClusterState, Edit, address, follows, parsed};

const PODS: [&str; 2] = ["a", "b"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "192.0.2.1"];
const UIDS: [&str; 3] = ["", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"];
/// A port that only slices have.
const OF_SLICE: u16 = 9000;

fn pod() -> impl Strategy<Value = Event> {
    let phase = select(&["Running", "Running", "Succeeded"][..]);
    let uid = select(&[UIDS[1], UIDS[1], UIDS[2]][..]);
    (0..PODS.len(), uid, prop::bool::weighted(0.8), phase, any::<[bool; 2]>()).prop_map(
        |(n, uid, is_at_home, phase, [is_ready, is_selected])| {
            let (name, ip) = (PODS[n], ADDRESSES[if is_at_home { n } else { 1 - n }]);
            let labels = if is_selected { json!({"app": "web"}) } else { json!({}) };
            let ready = if is_ready { "True" } else { "False" };
            let manifest = json!({
                "metadata": {"namespace": "shop", "name": name, "uid": uid, "labels": labels},
                "status": {"phase": phase, "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]},
            });
            Event::Put(parsed(Kind::Pod, manifest))
        },
    )
}

fn service() -> impl Strategy<Value = Event> {
    (select(&["x", "y"][..]), any::<[bool; 2]>()).prop_map(|(name, [selects, wants_all])| {
        let selector = if selects { json!({"app": "web"}) } else { json!(null) };
        let manifest = json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "selector": selector, "publishNotReadyAddresses": wants_all,
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81}],
            },
        });
        Event::Put(parsed(Kind::Service, manifest))
    })
}

fn slice() -> impl Strategy<Value = Event> {
    let target = (0..PODS.len(), select(&["", "", UIDS[1], UIDS[2]][..]));
    // Mostly where the pod mostly is.
    let target = target.prop_flat_map(|(pod, uid)| {
        let own = ADDRESSES[pod];
        let address = prop_oneof![3 => Just(own), 1 => select(&ADDRESSES[..])];
        (address, weighted(0.8, Just((PODS[pod], uid))))
    });
    let endpoint = (target, weighted(0.7, any::<bool>()));
    let ports = select(&["http", "admin"][..]);
    let family = select(&["IPv4", "IPv4", "IPv4", "FQDN"][..]);
    let names = (select(&["s1", "s2", "s3"][..]), select(&["x", "y"][..]));
    (names, any::<bool>(), family, ports, vec(endpoint, 0..3)).prop_map(
        |((name, service), is_managed, family, port, endpoints)| {
            let by = if is_managed { "endpointslice-controller.k8s.io" } else { "me" };
            let endpoints: Vec<_> = endpoints
                .into_iter()
                .map(|((address, target), is_ready)| {
                    let target = target.map(|(name, uid)| json!({"kind": "Pod", "name": name, "uid": uid}));
                    json!({"addresses": [address], "conditions": {"ready": is_ready}, "targetRef": target})
                })
                .collect();
            let labels =
                json!({"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": by});
            let manifest = json!({
                "metadata": {"namespace": "shop", "name": name, "labels": labels},
                "addressType": family, "endpoints": endpoints,
                "ports": [{"name": port, "port": OF_SLICE, "protocol": "TCP"}],
            });
            Event::Put(parsed(Kind::EndpointSlice, manifest))
        },
    )
}

fn told() -> impl Strategy<Value = Event> {
    prop_oneof![pod(), service(), slice()]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![3 => told().prop_map(Edit::Feed), 1 => any::<Index>().prop_map(Edit::Remove)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..crate::config() })]

    #[test]
    fn endpoints_after_edits_are_those_of_a_mesh_built_at_once(
        start in vec(told(), 0..20),
        batches in vec(vec(edit(), 1..4), 1..12),
    ) {
        follows(&Options::default(), start, batches)?;
    }
}

/// The property says something only if slices name pods that are there, and others.
#[test]
fn drawn_meshes_often_have_endpoints_that_are_pods_and_others() {
    let mut runner = TestRunner::deterministic();
    let (mut with_pods, mut with_others) = (0, 0);
    for _ in 0..100 {
        let mut state = ClusterState::default();
        let events = vec(told(), 20).new_tree(&mut runner).unwrap().current();
        events.iter().for_each(|event| state.feed(event));
        let mesh = state.built_at_once(&Options::default());
        let addresses = mesh.resources().into_iter().filter(|r| r.resource_type == ResourceType::Address);
        let workloads = addresses.filter_map(|resource| match address(&resource).r#type {
            Some(Type::Workload(workload)) => Some(workload),
            _ => None,
        });
        let is_by_slice = |workload: &Workload| {
            let mut ports = workload.services.values().flat_map(|list| &list.ports);
            ports.any(|port| port.target_port == u32::from(OF_SLICE))
        };
        let by_slice: Vec<String> = workloads.filter(is_by_slice).map(|workload| workload.uid).collect();
        with_pods += usize::from(by_slice.iter().any(|uid| uid.contains("//Pod/")));
        with_others += usize::from(by_slice.iter().any(|uid| uid.contains("/EndpointSlice/")));
    }
    assert!(with_pods > 20 && with_others > 40, "{with_pods} and {with_others} of 100");
}
