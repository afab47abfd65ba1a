//! Properties of the mesh under random objects and edits.
//!
//! A [`ClusterState`] is what a source has told so far, kept in the plainest way. The mesh, which recomputes
//! only what a change reaches, must at every commit be the one that is built at once from it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clusters;
mod enforcement;
mod health;
mod identity;
mod lifetimes;
mod manifests;
mod networks;
mod slices;
mod tenants;
mod waypoints;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::Options;
use model::Event;
use model::{Diagnostic, Kind, Name, Object, ObjectRef, Scope};
use pilothouse_tests::client::State;
use plane::{Delta, Plane, ResourceChange};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message;
use proto::ResourceType;
use proto::discovery::{DeltaDiscoveryResponse, Resource};
use proto::security::Authorization;
use proto::workload::Address;
use proto::workload::address::Type;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What exists, and what was refused, after some events.
#[derive(Clone, Default)]
struct ClusterState {
    objects: BTreeMap<ObjectRef, Object>,
    refused: BTreeMap<ObjectRef, Diagnostic>,
    /// Kinds that are being listed, with what was named so far.
    listings: BTreeMap<Kind, BTreeSet<ObjectRef>>,
}

impl ClusterState {
    fn feed(&mut self, event: &Event) {
        match event {
            Event::Begin(kind) => {
                self.listings.insert(*kind, BTreeSet::new());
            }
            Event::Put(object) => {
                let of = object.reference();
                self.note(&of);
                self.refused.remove(&of);
                let object = match (object, self.objects.get(&of)) {
                    // A part of the settings that is refused keeps its last good value.
                    (Object::ConfigMap(new), Some(Object::ConfigMap(last))) if !new.refused.is_empty() => {
                        Object::ConfigMap(Arc::new((**new).clone().keep(last)))
                    }
                    _ => object.clone(),
                };
                self.objects.insert(of, object);
            }
            Event::Reject(of, diagnostic) => {
                self.note(of);
                self.refused.insert(of.clone(), diagnostic.clone());
            }
            Event::Remove(of) => {
                self.objects.remove(of);
                self.refused.remove(of);
            }
            Event::Synced(kind) => {
                let Some(named) = self.listings.remove(kind) else { return };
                self.objects.retain(|of, _| of.kind != *kind || named.contains(of));
                self.refused.retain(|of, _| of.kind != *kind || named.contains(of));
            }
            // Nothing here is read by reference.
            Event::OnDemand | Event::Answer(..) | Event::Forget(_) | Event::Keys(..) => {}
        }
    }

    fn note(&mut self, of: &ObjectRef) {
        if let Some(named) = self.listings.get_mut(&of.kind) {
            named.insert(of.clone());
        }
    }

    /// The events that tell of this cluster and nothing else. A refused object keeps its last good
    /// version, so that one comes first.
    fn events(&self) -> Vec<Event> {
        let puts = self.objects.values().cloned().map(Event::Put);
        let refused =
            self.refused.iter().map(|(of, diagnostic)| Event::Reject(of.clone(), diagnostic.clone()));
        puts.chain(refused).collect()
    }

    fn built_at_once(&self, options: &Options) -> Plane {
        synced(options, self.events())
    }
}

/// A mesh that is told of everything in its first commit.
fn synced(options: &Options, events: Vec<Event>) -> Plane {
    let mut mesh = Plane::new(options);
    let begin = Kind::ALL.iter().map(|k| Event::Begin(*k));
    mesh.apply(begin.chain(events).chain(Kind::ALL.iter().map(|k| Event::Synced(*k))));
    assert!(mesh.is_synced());
    mesh
}

/// What a client has that applied every delta, and what a ztunnel makes of it.
#[derive(Default)]
struct Mirror(BTreeMap<(ResourceType, String), Arc<[u8]>>, State);

impl Mirror {
    fn apply(&mut self, delta: Delta) -> Result<(), TestCaseError> {
        // Policies go out before the workloads that name them.
        for kind in [ResourceType::Authorization, ResourceType::Address] {
            self.1.apply(&response(kind, &delta));
        }
        let mut named = BTreeSet::new();
        for change in delta.resources {
            let key = (change.resource_type, change.name);
            prop_assert!(named.insert(key.clone()), "{key:?} stands twice in one delta");
            let before = match change.body {
                Some(body) => {
                    let before = self.0.insert(key.clone(), body.clone());
                    let is_same = before.as_ref() == Some(&body);
                    prop_assert_eq!(
                        change.resend,
                        is_same,
                        "{:?}: sent again without need, or unmarked",
                        key
                    );
                    continue;
                }
                None => self.0.remove(&key),
            };
            prop_assert!(before.is_some(), "{key:?} is removed but was never there");
        }
        Ok(())
    }

    fn check(&self, resources: &[ResourceChange]) -> Result<(), TestCaseError> {
        let all: BTreeMap<_, _> = resources
            .iter()
            .map(|r| ((r.resource_type, r.name.clone()), r.body.clone().expect("a resource that is there")))
            .collect();
        prop_assert_eq!(all.len(), resources.len(), "one name, two resources");
        prop_assert_eq!(&self.0, &all);
        prop_assert_eq!(self.1.forgotten(), [], "a ztunnel has forgotten endpoints that did not come again");
        Ok(())
    }
}

/// A delta as it would go out, in order.
fn response(kind: ResourceType, delta: &Delta) -> DeltaDiscoveryResponse {
    let type_url = kind.type_url();
    let of_kind = || delta.resources.iter().filter(|change| change.resource_type == kind);
    let resources = of_kind().filter_map(|change| {
        let any = prost_types::Any { type_url: type_url.to_owned(), value: change.body.as_ref()?.to_vec() };
        let resource = Resource { name: change.name.clone(), resource: Some(any), ..Resource::default() };
        Some(resource.encode_to_vec().into())
    });
    DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        resources: resources.collect(),
        removed_resources: of_kind().filter(|c| c.body.is_none()).map(|c| c.name.clone()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// A ztunnel skips a policy that is listed and missing: it would let in what the policy denies. So each is
/// sent, and to every client unless it is in dry run: skipping such a one is what its author wants.
fn every_listed_policy_is_sent(resources: &[ResourceChange]) -> Result<(), TestCaseError> {
    let policies = || resources.iter().filter(|r| r.resource_type == ResourceType::Authorization);
    let sent: BTreeSet<&str> = policies().map(|r| r.name.as_str()).collect();
    for resource in policies().filter(|r| r.needs != 0) {
        let policy = Authorization::decode(resource.body.as_deref().unwrap()).unwrap();
        prop_assert!(policy.dry_run, "{} is not in dry run and not for every client", resource.name);
    }
    for resource in resources.iter().filter(|r| r.resource_type == ResourceType::Address) {
        if let Some(Type::Workload(workload)) = address(resource).r#type {
            for policy in &workload.authorization_policies {
                prop_assert!(
                    sent.contains(policy.as_str()),
                    "{} lists {policy}, which is not sent",
                    resource.name
                );
            }
        }
    }
    Ok(())
}

fn address(resource: &ResourceChange) -> Address {
    Address::decode(resource.body.as_deref().unwrap()).unwrap()
}

fn namespace(resource: &ResourceChange) -> String {
    match resource.resource_type {
        ResourceType::Authorization => {
            Authorization::decode(resource.body.as_deref().unwrap()).unwrap().namespace
        }
        ResourceType::Address => match address(resource).r#type.unwrap() {
            Type::Workload(workload) => workload.namespace,
            Type::Service(service) => service.namespace,
        },
        other => panic!("a mesh has no {other:?}"),
    }
}

fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort();
    diagnostics
}

fn options() -> impl Strategy<Value = Options> {
    any::<[bool; 6]>().prop_map(
        |[canary, dry_run, allow_waypoints, require_waypoints, multi_network, any]| Options {
            revision: if canary { "default".to_owned() } else { String::new() },
            dry_run_policies: dry_run,
            allow_waypoints,
            require_waypoints,
            multi_network,
            network_gateway_namespaces: if any { vec!["*".to_owned()] } else { Vec::new() },
            ..Options::default()
        },
    )
}

/// An object that was put, or refused.
fn told() -> impl Strategy<Value = Event> {
    (select(Kind::ALL), vec(any::<u8>(), manifests::LENGTH))
        .prop_map(|(kind, bytes)| manifests::event(kind, &bytes))
}

/// One step of a source.
#[derive(Clone, Debug)]
enum Edit {
    Feed(Event),
    /// Removes what this picks of all that exists.
    Remove(Index),
    /// Lists a kind again; of what is listed only the objects of that kind are told.
    Relist(Kind, Vec<Vec<u8>>),
    /// Begins to list a kind again; the end comes later, or never.
    Begin(Kind),
    End(Kind),
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || vec(any::<u8>(), manifests::LENGTH);
    prop_oneof![
        12 => told().prop_map(Edit::Feed),
        4 => any::<Index>().prop_map(Edit::Remove),
        2 => (select(Kind::ALL), vec(bytes(), 0..4)).prop_map(|(kind, all)| Edit::Relist(kind, all)),
        1 => select(Kind::ALL).prop_map(Edit::Begin),
        1 => select(Kind::ALL).prop_map(Edit::End),
    ]
}

impl Edit {
    fn events(&self, cluster: &ClusterState) -> Vec<Event> {
        match self {
            Edit::Feed(event) => vec![event.clone()],
            Edit::Remove(index) => {
                let all: Vec<&ObjectRef> = cluster.objects.keys().chain(cluster.refused.keys()).collect();
                if all.is_empty() { Vec::new() } else { vec![Event::Remove((*index.get(&all)).clone())] }
            }
            Edit::Relist(kind, all) => {
                let told = all.iter().map(|bytes| manifests::event(*kind, bytes));
                [Event::Begin(*kind)].into_iter().chain(told).chain([Event::Synced(*kind)]).collect()
            }
            Edit::Begin(kind) => vec![Event::Begin(*kind)],
            Edit::End(kind) => vec![Event::Synced(*kind)],
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Checks that a mesh is, after each batch of edits, the one that is built at once, and that a client
/// which applied every delta has exactly that.
fn follows(options: &Options, start: Vec<Event>, batches: Vec<Vec<Edit>>) -> Result<(), TestCaseError> {
    let mut cluster = ClusterState::default();
    start.iter().for_each(|event| cluster.feed(event));
    let mut mesh = Plane::new(options);
    let mut mirror = Mirror::default();
    let begin = Kind::ALL.iter().map(|k| Event::Begin(*k)).chain(start);
    mirror.apply(mesh.apply(begin))?;
    prop_assert!(mirror.0.is_empty(), "part of a mesh was published");
    mirror.apply(mesh.apply(Kind::ALL.iter().map(|k| Event::Synced(*k))))?;
    for batch in batches {
        let mut events = Vec::new();
        for edit in batch {
            for event in edit.events(&cluster) {
                cluster.feed(&event);
                events.push(event);
            }
        }
        mirror.apply(mesh.apply(events))?;
        let resources = mesh.resources();
        mirror.check(&resources)?;
        every_listed_policy_is_sent(&resources)?;
        let scratch = cluster.built_at_once(options);
        prop_assert_eq!(resources, scratch.resources());
        prop_assert_eq!(sorted(mesh.diagnostics()), sorted(scratch.diagnostics()));
        prop_assert_eq!(mesh.conditions(), scratch.conditions());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_mesh_after_edits_is_the_one_built_at_once(
        options in options(),
        start in vec(told(), 0..30),
        batches in vec(vec(edit(), 1..4), 1..12),
    ) {
        follows(&options, start, batches)?;
    }

    #[test]
    fn the_order_of_objects_does_not_matter(
        options in options(),
        (objects, shuffled) in vec(told(), 0..40).prop_map(cluster_events).prop_flat_map(|events| {
            (Just(events.clone()), Just(events).prop_shuffle())
        }),
    ) {
        let expected = synced(&options, objects);
        let at_once = synced(&options, shuffled.clone());
        prop_assert_eq!(at_once.resources(), expected.resources());
        let mut one_by_one = synced(&options, Vec::new());
        for event in shuffled {
            one_by_one.apply([event]);
        }
        prop_assert_eq!(one_by_one.resources(), expected.resources());
        prop_assert_eq!(sorted(one_by_one.diagnostics()), sorted(expected.diagnostics()));
    }

    #[test]
    fn putting_and_taking_back_restores_the_mesh(
        options in options(),
        start in vec(told(), 0..30),
        changes in vec(told(), 1..4),
    ) {
        let mut cluster = ClusterState::default();
        start.iter().for_each(|event| cluster.feed(event));
        let mut mesh = cluster.built_at_once(&options);
        let (resources, diagnostics) = (mesh.resources(), sorted(mesh.diagnostics()));
        let mut mirror = Mirror::default();
        mirror.0.extend(resources.iter().map(|r| ((r.resource_type, r.name.clone()), r.body.clone().unwrap())));
        let mut back = Vec::new();
        for change in changes {
            let of = match &change {
                Event::Put(object) => object.reference(),
                Event::Reject(of, _) => of.clone(),
                other => panic!("{other:?} is nothing that was told"),
            };
            mirror.apply(mesh.apply([change]))?;
            // What was there before, or nothing: first gone, then as it was.
            back.push(Event::Remove(of.clone()));
            back.extend(cluster.objects.get(&of).cloned().map(Event::Put));
            back.extend(cluster.refused.get(&of).map(|diagnostic| Event::Reject(of.clone(), diagnostic.clone())));
        }
        mirror.apply(mesh.apply(back))?;
        mirror.check(&resources)?;
        prop_assert_eq!(mesh.resources(), resources);
        prop_assert_eq!(sorted(mesh.diagnostics()), diagnostics);
    }

    #[test]
    fn a_namespace_out_of_discovery_is_as_if_its_objects_were_not_there(
        options in options(),
        objects in vec(told(), 0..40),
        out in select(&manifests::NAMESPACES[..]),
    ) {
        let mut cluster = ClusterState::default();
        objects.iter().for_each(|event| cluster.feed(event));
        let mut mesh = cluster.built_at_once(&options);
        // All namespaces are in but one; the settings stand outside of it.
        let selectors = format!(
            "discoverySelectors: [{{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: NotIn, values: [{out}]}}]}}]"
        );
        let settings = parsed(Kind::ConfigMap, serde_json::json!({
            "metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": selectors},
        }));
        let labelled = manifests::NAMESPACES.map(|name| parsed(Kind::Namespace, serde_json::json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        })));
        for object in labelled.into_iter().chain([settings]) {
            cluster.feed(&Event::Put(object.clone()));
            mesh.apply([Event::Put(object)]);
        }
        let is_out = |of: &ObjectRef| of.kind.scope() == Scope::Namespaced && of.kind != Kind::ConfigMap && &*of.name.ns == out;
        cluster.objects.retain(|of, _| !is_out(of));
        let without = cluster.built_at_once(&options);
        prop_assert_eq!(mesh.resources(), without.resources());
        // The policy made of all others is named after the root namespace, which may be out itself.
        let strict = Name::new("istio-system", "istio_converted_static_strict").to_string();
        for resource in mesh.resources().iter().filter(|r| r.name != strict) {
            prop_assert_ne!(namespace(resource), out, "{} is still there", resource.name);
        }
    }
}

/// The events of the cluster that these make: one for each object, so that their order is free.
fn cluster_events(told: Vec<Event>) -> Vec<Event> {
    let mut cluster = ClusterState::default();
    told.iter().for_each(|event| cluster.feed(event));
    // A refusal and the good version before it have an order of their own.
    cluster.refused.retain(|of, _| !cluster.objects.contains_key(of));
    cluster.events()
}

fn parsed(kind: Kind, manifest: serde_json::Value) -> Object {
    model::parse(kind, manifest.to_string().as_bytes()).unwrap()
}

#[test]
fn drawn_manifests_are_mostly_understood_but_not_always() {
    let mut bytes = [0; manifests::LENGTH];
    let mut random = StdRng::seed_from_u64(1);
    let mut refused = 0;
    for kind in Kind::ALL {
        let understood = (0..256)
            .filter(|_| {
                random.fill(&mut bytes[..]);
                matches!(manifests::event(*kind, &bytes), Event::Put(object) if object.kind() == *kind)
            })
            .count();
        assert!(understood > 128, "{kind}: {understood} of 256");
        refused += 256 - understood;
    }
    assert!(refused > 128, "{refused} were refused");
}

#[test]
fn a_client_that_would_enforce_a_policy_in_dry_run_skips_it_though_workloads_list_it() {
    let policy = parsed(
        Kind::AuthorizationPolicy,
        serde_json::json!({
            "metadata": {"namespace": "shop", "name": "tried", "annotations": {"istio.io/dry-run": "true"}},
            "spec": {"action": "DENY", "selector": {"matchLabels": {"app": "a"}}, "rules": [{}]},
        }),
    );
    let pod = parsed(
        Kind::Pod,
        serde_json::json!({
            "metadata": {"namespace": "shop", "name": "a", "labels": {"app": "a"}},
            "status": {"podIP": "10.0.0.1"},
        }),
    );
    let options = Options { dry_run_policies: true, ..Options::default() };
    let mesh = synced(&options, vec![Event::Put(policy), Event::Put(pod)]);
    let resources = mesh.resources();
    let [workload, policy] = &resources[..] else { panic!("{resources:?}") };
    // One body for all clients, which the older one reads as naming a policy that it has not.
    let Some(Type::Workload(listing)) = address(workload).r#type else { panic!("{workload:?}") };
    assert_eq!((listing.authorization_policies, workload.needs), (vec!["shop/tried".to_owned()], 0));
    let is_sent_to = |version: &str| policy.needs & !mesh::understood_by(version) == 0;
    assert_eq!(["1.28.9", "", "1.29.0"].map(is_sent_to), [false, false, true]);
}

#[test]
fn settings_with_a_selector_that_is_not_valid_leave_the_last_ones_active() {
    let settings = |mesh: &str| {
        let manifest = serde_json::json!({
            "metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh},
        });
        match model::parse(Kind::ConfigMap, manifest.to_string().as_bytes()) {
            Ok(object) => Event::Put(object),
            Err(diagnostic) => Event::Reject(diagnostic.object.clone().unwrap(), diagnostic),
        }
    };
    let visibility = |operator: &str| {
        settings(&format!(
            "serviceEntryVisibility: {{defaultVisibility: PUBLIC, policies: [{{visibility: NAMESPACE, matchingRules: \
             [{{namespaceSelector: {{matchExpressions: [{{key: hidden, operator: {operator}}}]}}}}]}}]}}"
        ))
    };
    let shop = parsed(
        Kind::Namespace,
        serde_json::json!({"metadata": {"name": "shop", "labels": {"hidden": "yes"}}}),
    );
    let entry = parsed(
        Kind::ServiceEntry,
        serde_json::json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": {
            "hosts": ["a.example.org"], "addresses": ["240.0.0.1"], "resolution": "STATIC",
        }}),
    );
    let mut mesh = synced(&Options::default(), vec![Event::Put(shop), Event::Put(entry)]);
    let public = mesh.resources();
    assert_eq!(mesh.apply([visibility("Exists")]).resources.len(), 1);
    let hidden = mesh.resources();
    assert_ne!(hidden, public);
    let delta = mesh.apply([visibility("Sometimes")]);
    assert!(delta.is_empty(), "{delta:?}");
    assert_eq!(mesh.resources(), hidden);
    let codes: Vec<_> = mesh.diagnostics().iter().map(|d| d.code).collect();
    assert_eq!(codes, ["MS002"]);
    assert_eq!(mesh.apply([visibility("DoesNotExist")]).resources.len(), 1);
    assert_eq!(mesh.resources(), public);
}

#[test]
fn a_service_takes_a_hostname_over_from_an_entry_and_gives_it_back() {
    let entry = parsed(
        Kind::ServiceEntry,
        serde_json::json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": {
            "hosts": ["a.shop.svc.cluster.local"], "addresses": ["240.0.0.1"], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        }}),
    );
    let service = parsed(
        Kind::Service,
        serde_json::json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": {
            "clusterIP": "10.1.0.1", "ports": [{"name": "http", "port": 80}],
        }}),
    );
    let mut mesh = synced(&Options::default(), vec![Event::Put(entry)]);
    let first = mesh.resources();
    let only = |delta: Delta| -> Option<Arc<[u8]>> {
        let [change] = &delta.resources[..] else { panic!("{:?}", delta.resources) };
        assert_eq!(change.name, "shop/a.shop.svc.cluster.local");
        change.body.clone()
    };
    let taken = only(mesh.apply([Event::Put(service.clone())]));
    assert_eq!(taken, mesh.resources()[0].body);
    assert_ne!(taken, first[0].body);
    assert_eq!(only(mesh.apply([Event::Remove(service.reference())])), first[0].body);
    assert_eq!(mesh.resources(), first);
}
