//! Several networks: what moves between them, and what that costs.

use std::collections::{BTreeMap, BTreeSet};

use mesh::Options;
use model::Event;
use model::{Kind, Object};
use plane::{Plane, ResourceChange};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proto::ResourceType;
use proto::workload::address::Type;
use proto::workload::{Service, Workload};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::{ClusterState, Edit, address, follows, manifests, parsed, synced};

/// What decides who is behind which gateway; those that must come together come often.
const KINDS: [Kind; 10] = [
    Kind::WorkloadEntry,
    Kind::Service,
    Kind::Gateway,
    Kind::ConfigMap,
    Kind::WorkloadEntry,
    Kind::Service,
    Kind::Gateway,
    Kind::Namespace,
    Kind::ServiceEntry,
    Kind::Pod,
];

fn options() -> Options {
    // More than one namespace may declare gateways: there is more to decide.
    Options {
        multi_network: true,
        network_gateway_namespaces: vec!["infra".to_owned(), "shop".to_owned()],
        ..Options::default()
    }
}

fn told() -> impl Strategy<Value = Event> {
    (select(&KINDS[..]), vec(any::<u8>(), manifests::LENGTH))
        .prop_map(|(kind, bytes)| manifests::event(kind, &bytes))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![3 => told().prop_map(Edit::Feed), 1 => any::<Index>().prop_map(Edit::Remove)]
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_mesh_of_several_networks_after_edits_is_the_one_built_at_once(
        start in vec(told(), 20..60),
        batches in vec(vec(edit(), 1..4), 1..12),
    ) {
        follows(&options(), [start, beginnings()].concat(), batches)?;
    }
}

/// The property says something only if summaries come, go and differ.
#[test]
fn drawn_meshes_often_have_something_behind_a_gateway() {
    let mut random = StdRng::seed_from_u64(1);
    let with_summaries = (0..100).filter(|_| {
        let mut cluster = ClusterState::default();
        for _ in 0..40 {
            let mut bytes = [0; manifests::LENGTH];
            random.fill(&mut bytes[..]);
            cluster.feed(&manifests::event(KINDS[random.random_range(0..KINDS.len())], &bytes));
        }
        beginnings().iter().for_each(|event| cluster.feed(event));
        !summaries(&cluster.built_at_once(&options())).is_empty()
    });
    let count = with_summaries.count();
    assert!(count > 25, "{count} of 100");
}

fn of<T>(mesh: &Plane, pick: impl Fn(Type) -> Option<T>) -> BTreeMap<String, T> {
    let all = mesh.resources().into_iter().filter(|r| r.resource_type == ResourceType::Address);
    all.filter_map(|r| Some((r.name.clone(), pick(address(&r).r#type?)?))).collect()
}

fn workloads(mesh: &Plane) -> BTreeMap<String, Workload> {
    of(mesh, |address| if let Type::Workload(w) = address { Some(w) } else { None })
}

fn summaries(mesh: &Plane) -> BTreeMap<String, Workload> {
    let all = workloads(mesh).into_iter();
    all.filter(|(name, _)| name.contains("/SplitHorizonWorkload/")).collect()
}

fn service(mesh: &Plane, name: &str) -> Service {
    of(mesh, |address| if let Type::Service(s) = address { Some(s) } else { None }).remove(name).unwrap()
}

fn put(kind: Kind, manifest: serde_json::Value) -> Event {
    Event::Put(parsed(kind, manifest))
}

fn entry(name: &str, network: &str, account: &str) -> Event {
    weighing(name, network, account, 0)
}

fn weighing(name: &str, network: &str, account: &str, weight: u32) -> Event {
    put(
        Kind::WorkloadEntry,
        json!({
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
            "spec": {"address": "10.2.0.1", "network": network, "serviceAccount": account, "weight": weight},
        }),
    )
}

fn web(labels: serde_json::Value) -> Event {
    put(
        Kind::Service,
        json!({
            "metadata": {"namespace": "shop", "name": "web", "labels": labels},
            "spec": {"clusterIP": "10.1.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
        }),
    )
}

fn gateway(name: &str, address: &str) -> Event {
    gateway_of("far", name, address)
}

fn gateway_of(network: &str, name: &str, address: &str) -> Event {
    gateway_in("infra", network, name, address, "2024-01-01T00:00:00Z")
}

fn gateway_in(namespace: &str, network: &str, name: &str, address: &str, created: &str) -> Event {
    let labels = json!({"topology.istio.io/network": network});
    put(
        Kind::Gateway,
        json!({
            "metadata": {
                "namespace": namespace, "name": name, "labels": labels, "creationTimestamp": created,
            },
            "spec": {"gatewayClassName": "istio-remote", "listeners": [{"port": 15008, "protocol": "HBONE"}]},
            "status": {"addresses": [{"type": "IPAddress", "value": address}]},
        }),
    )
}

const WEB: &str = "shop/web.shop.svc.cluster.local";

fn behind(gateway: &str, address: &str) -> String {
    format!("far/SplitHorizonWorkload/infra/{gateway}/{address}/{WEB}")
}

fn settings(mesh: &str) -> Event {
    put(
        Kind::ConfigMap,
        json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh}}),
    )
}

/// What drawn meshes start with, so that something is behind a gateway; edits may take it away.
fn beginnings() -> Vec<Event> {
    vec![settings("serviceScopeConfigs: [{scope: GLOBAL}]"), gateway_of("net-a", "a", "192.0.2.7")]
}

fn mesh_with(entries: impl IntoIterator<Item = Event>) -> Plane {
    let scopes = "serviceScopeConfigs: [{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]";
    let global = web(json!({"istio.io/global": "true"}));
    let events = [settings(scopes), global, gateway("far", "192.0.2.7")].into_iter().chain(entries);
    synced(&options(), events.collect())
}

/// Names of resources, each with whether it is there after the change.
fn named(changes: &[ResourceChange]) -> BTreeMap<&str, bool> {
    changes.iter().map(|c| (c.name.as_str(), c.body.is_some())).collect()
}

#[test]
fn a_workload_that_moves_to_another_network_goes_and_stands_behind_its_gateway_in_one_commit() {
    let mut mesh = mesh_with([entry("a", "", "a")]);
    let uid = "Kubernetes/networking.istio.io/WorkloadEntry/shop/a";
    let summary = behind("far", "192.0.2.7");
    assert!(workloads(&mesh).contains_key(uid) && summaries(&mesh).is_empty());

    let away = mesh.apply([entry("a", "far", "a")]).resources;
    assert_eq!(named(&away), BTreeMap::from([(uid, false), (&summary, true), (WEB, true)]));
    let made_from = format!("{:?}", mesh.why(&summary, 9));
    assert!(made_from.contains(uid) && made_from.contains("NetworkGateway/far/192.0.2.7"), "{made_from}");
    assert_eq!(service(&mesh, WEB).subject_alt_names, ["spiffe://cluster.local/ns/shop/sa/a"]);

    let back = mesh.apply([entry("a", "", "a")]).resources;
    assert_eq!(named(&back), BTreeMap::from([(uid, true), (&summary, false), (WEB, true)]));
    assert_eq!(service(&mesh, WEB).subject_alt_names, [""; 0]);
}

#[test]
fn the_cluster_moving_to_their_network_shows_its_workloads() {
    let mut mesh = mesh_with([entry("a", "far", "a")]);
    let moved = put(
        Kind::Namespace,
        json!({
            "metadata": {"name": "istio-system", "labels": {"topology.istio.io/network": "far"}},
        }),
    );
    let delta = mesh.apply([moved]).resources;
    let uid = "Kubernetes/networking.istio.io/WorkloadEntry/shop/a";
    assert_eq!(
        named(&delta),
        BTreeMap::from([
            (uid, true),
            (&behind("far", "192.0.2.7"), false),
            (WEB, true),
            // No gateway leads to the own network.
            ("NetworkGateway/far/192.0.2.7/15008", false),
        ])
    );
}

#[test]
fn a_summary_follows_the_first_gateway_and_goes_with_the_last() {
    let mut mesh = mesh_with([entry("a", "far", "a")]);
    let (first, other) = (behind("other", "192.0.2.5"), behind("far", "192.0.2.7"));
    // A younger one changes nothing, wherever its address would stand; its author is told.
    assert_eq!(
        mesh.apply([gateway_in("infra", "far", "a", "192.0.2.1", "2024-01-02T00:00:00Z")]).resources,
        []
    );
    assert_eq!(codes(&mesh), ["NW003"]);
    let older = gateway_in("infra", "far", "other", "192.0.2.5", "2023-12-31T00:00:00Z");
    let delta = mesh.apply([older]).resources;
    let sent = |address: &str| format!("NetworkGateway/far/{address}/15008");
    assert_eq!(
        named(&delta),
        BTreeMap::from([
            (&*sent("192.0.2.5"), true),
            (&*sent("192.0.2.7"), false),
            (&*other, false),
            (&*first, true)
        ])
    );
    assert_eq!(codes(&mesh), ["NW003", "NW003"]);
    let remove = |name: &str| match gateway(name, "192.0.2.5") {
        Event::Put(Object::Gateway(gateway)) => Event::Remove(Object::Gateway(gateway).reference()),
        event => panic!("{event:?}"),
    };
    mesh.apply([remove("other"), remove("far"), remove("a")]);
    assert!(summaries(&mesh).is_empty());
    assert_eq!(codes(&mesh), ["NW001"]);
}

fn codes(mesh: &Plane) -> Vec<&'static str> {
    mesh.diagnostics().iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn a_gateway_of_a_namespace_that_declares_none_or_of_the_own_network_changes_nothing_that_is_sent() {
    let mut mesh = mesh_with([entry("a", "far", "a"), entry("near", "", "near")]);
    let old = "2020-01-01T00:00:00Z";
    for (network, code) in [("far", "NW003"), ("elsewhere", "NW003")] {
        let delta = mesh.apply([gateway_in("bank", network, "mine", "192.0.2.1", old)]);
        assert_eq!((delta.resources, codes(&mesh)), (Vec::new(), vec![code]), "{network}");
    }
    // The cluster's own network gets a name, and then a gateway: nothing is sent anew for that.
    let system =
        json!({"metadata": {"name": "istio-system", "labels": {"topology.istio.io/network": "near"}}});
    mesh.apply([put(Kind::Namespace, system)]);
    let delta = mesh.apply([gateway_in("istio-system", "near", "own", "192.0.2.1", old)]);
    assert_eq!((delta.resources, codes(&mesh)), (Vec::new(), vec!["NW003", "NW003"]));
}

proptest! {
    #![proptest_config(crate::config())]

    /// Which Gateway counts for a network, said in the plainest way: of those with an address that may declare one, and
    /// not of the own network, the oldest, then the first by namespace and name.
    #[test]
    fn the_gateway_of_a_network_is_the_oldest_that_may_declare_it(
        drawn in vec((0..3usize, 0..3usize, 0..3u8, 0..4u8, 0..3u8, any::<bool>()), 0..12),
        any_namespace in any::<bool>(),
    ) {
        let namespaces = if any_namespace { vec!["*".to_owned()] } else { vec!["infra".to_owned()] };
        let options = Options { network_gateway_namespaces: namespaces, ..options() };
        let system = json!({"metadata": {"name": "istio-system", "labels": {"topology.istio.io/network": "own"}}});
        let mut mesh = synced(&options, vec![put(Kind::Namespace, system)]);
        let mut all = BTreeMap::new();
        for (namespace, network, name, address, day, is_there) in drawn {
            let namespace = ["infra", "istio-system", "shop"][namespace];
            let network = ["own", "a", "b"][network];
            let (name, address) = (format!("g{name}"), format!("192.0.2.{address}"));
            let event = gateway_in(namespace, network, &name, &address, &format!("2024-01-0{}T00:00:00Z", day + 1));
            if is_there {
                all.insert((namespace, name), (day, network, address));
                mesh.apply([event]);
            } else if all.remove(&(namespace, name)).is_some() {
                let Event::Put(object) = event else { unreachable!() };
                mesh.apply([Event::Remove(object.reference())]);
            }
        }
        let mut expected = BTreeMap::new();
        for network in ["a", "b"] {
            let may = all.iter().filter(|((namespace, _), (_, of, _))| {
                *of == network && (any_namespace || *namespace != "shop")
            });
            if let Some(((namespace, name), (_, _, address))) = may.min_by_key(|(who, (day, ..))| (*day, *who)) {
                let account = format!("{namespace}/{name}-istio-remote");
                expected.insert(format!("NetworkGateway/{network}/{address}/15008"), account);
            }
        }
        let sent: BTreeMap<_, _> = workloads(&mesh)
            .into_iter()
            .map(|(name, of)| (name, format!("{}/{}", of.namespace, of.service_account)))
            .collect();
        prop_assert_eq!(&sent, &expected);
        prop_assert_eq!(codes(&mesh).len(), all.len() - expected.len(), "each that does not count is told");
    }
}

#[test]
fn a_service_that_becomes_local_leaves_other_networks_and_its_own_workloads_alone() {
    let mut mesh = mesh_with([entry("a", "far", "a"), entry("near", "", "near")]);
    let delta = mesh.apply([web(json!({}))]).resources;
    assert_eq!(named(&delta), BTreeMap::from([(&*behind("far", "192.0.2.7"), false), (WEB, true)]));
    assert_eq!(mesh.apply([web(json!({"istio.io/global": "true"}))]).resources.len(), 2);
}

#[test]
fn only_a_client_that_knows_gateways_is_sent_what_stands_behind_one() {
    let mesh = mesh_with([entry("a", "far", "a"), entry("near", "", "near")]);
    let is_sent_to = |version: &str| -> BTreeSet<String> {
        let sent = mesh.resources().into_iter();
        let sent = sent.filter(|r| r.needs & !mesh::understood_by(version) == 0);
        sent.map(|r| r.name).collect()
    };
    let withheld: Vec<String> = is_sent_to("1.26.0").difference(&is_sent_to("1.25.5")).cloned().collect();
    assert_eq!(withheld, [behind("far", "192.0.2.7")]);
    assert_eq!(is_sent_to(""), is_sent_to("1.31.0"));
    assert_eq!(is_sent_to("1.31.0").len(), mesh.resources().len());
}

/// Rows that were computed, by table, for those tables that computed any.
fn work(mesh: &mut Plane, event: Event) -> BTreeMap<&'static str, u64> {
    let before: BTreeMap<_, _> = mesh.stats().into_iter().map(|s| (s.name, s.recomputed)).collect();
    mesh.apply([event]);
    let after = mesh.stats().into_iter().map(|s| (s.name, s.recomputed - before[s.name]));
    after.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_remote_workload_costs_its_own_sum_and_nothing_that_stays_equal() {
    let many = (0..50).map(|n| entry(&format!("w{n}"), "far", "a"));
    let elsewhere = (0..50).map(|n| entry(&format!("x{n}"), "other", "a"));
    let mut mesh = mesh_with(many.chain(elsewhere).collect::<Vec<_>>());
    // One more: its part, the sum of its network and service, and what follows from that. The service
    // itself stays equal, as does whatever is on the other network.
    let more = BTreeMap::from([
        ("entry_workloads", 1),
        ("remote_parts", 1),
        ("remote_sums", 1),
        ("remote_accounts", 1),
        ("split_horizon", 1),
        ("reached_services", 1),
        ("unreached_entry_findings", 1),
        ("workload_entry_conditions", 1),
    ]);
    assert_eq!(work(&mut mesh, entry("one", "far", "a")), more);
    assert_eq!(summaries(&mesh)[&behind("far", "192.0.2.7")].capacity, Some(51));
    // Another account: the service as well, which lists it. The summary is sent as it was.
    let mut account = more;
    account.extend([("services_sent", 1), ("service_conditions", 1)]);
    assert_eq!(work(&mut mesh, entry("one", "far", "b")), account);
    // A weight of 1 is what it had: nothing is summed up.
    let nothing = BTreeMap::from([("entry_workloads", 1), ("workload_entry_conditions", 1)]);
    assert_eq!(work(&mut mesh, weighing("one", "far", "b", 1)), nothing);
}
