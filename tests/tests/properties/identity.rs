//! What identity is told of the mesh, after any edits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::facts::Phase;
use model::{Event, Kind, Name, Object, Uid};
use plane::{IdentitySnapshot, Plane, PodIdentity};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{ClusterState, Edit, config, edit, options, told};

/// UID, node, account and gateway of a pod.
type Parts = (Uid, String, String, String);

const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";

/// The live pods of a snapshot, each with what identity depends on.
fn pods(snapshot: &IdentitySnapshot) -> BTreeMap<Name, Parts> {
    let gateway = |name: &Name| snapshot.instance(&name.ns, &name.name).map(|of| of.gateway.to_string());
    let parts = |(name, pod): (&Name, &PodIdentity)| {
        let gateway = gateway(name).unwrap_or_default();
        (name.clone(), (pod.uid, pod.node.to_string(), pod.account.to_string(), gateway))
    };
    snapshot.pods().map(parts).collect()
}

/// Checks a snapshot against a plain look at every object.
fn is_as_looked_up(snapshot: &IdentitySnapshot, cluster: &ClusterState) -> Result<(), TestCaseError> {
    // Nothing that is drawn is being deleted: `lifetimes` has the rest.
    const NOW: i64 = 1_800_000_000;
    let mut live = BTreeMap::new();
    let (mut accounts, mut outside, mut placed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut namespaces, mut nodes, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for object in cluster.objects.values() {
        let ns = object.name().ns.to_string();
        let (account, node) = match object {
            Object::Pod(pod) if pod.phase == Phase::Live => {
                let (account, node) = (pod.service_account.to_string(), pod.node.to_string());
                let gateway = pod.labels.get(GATEWAY).map(ToString::to_string).unwrap_or_default();
                live.insert(pod.name.clone(), (pod.uid.into(), node.clone(), account.clone(), gateway));
                (account, node)
            }
            Object::Pod(pod) => {
                nodes.insert(pod.node.to_string());
                names.insert(pod.service_account.to_string());
                continue;
            }
            Object::WorkloadEntry(entry) if !entry.spec.service_account.is_empty() => {
                let account = entry.spec.service_account.to_string();
                namespaces.insert(ns.clone());
                names.insert(account.clone());
                outside.insert((ns, account));
                continue;
            }
            _ => continue,
        };
        namespaces.insert(ns.clone());
        nodes.insert(node.clone());
        names.insert(account.clone());
        placed.insert((node, ns.clone(), account.clone()));
        accounts.insert((ns, account));
    }
    prop_assert_eq!(snapshot.pod_count(), live.len());
    prop_assert_eq!(pods(snapshot), live);
    for (ns, account) in namespaces.iter().flat_map(|ns| names.iter().map(move |account| (ns, account))) {
        let expected = accounts.contains(&(ns.clone(), account.clone()));
        prop_assert_eq!(snapshot.has_pod(ns, account, NOW), expected, "{}/{}", ns, account);
        let expected = outside.contains(&(ns.clone(), account.clone()));
        prop_assert_eq!(snapshot.has_outside(ns, account), expected, "{}/{}", ns, account);
        for node in &nodes {
            let expected = !node.is_empty() && placed.contains(&(node.clone(), ns.clone(), account.clone()));
            prop_assert_eq!(
                snapshot.runs_on(node, ns, account, NOW),
                expected,
                "{}/{} on {}",
                ns,
                account,
                node
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_snapshot_after_edits_is_the_one_built_at_once_and_tells_which_pods_went(
        options in options(),
        start in vec(told(), 0..30),
        batches in vec(vec(edit(), 1..4), 1..12),
    ) {
        let mut cluster = ClusterState::default();
        start.iter().for_each(|event| cluster.feed(event));
        let mut mesh = Plane::new(&options);
        mesh.apply(start);
        prop_assert_eq!(mesh.identity().pod_count(), 0, "part of a mesh was published");
        let mut first = mesh.apply(Kind::ALL.iter().map(|kind| Event::Synced(*kind))).identity;
        prop_assert!(std::mem::take(&mut first.gone).is_empty());
        for batch in batches {
            let before = Arc::clone(mesh.identity());
            let (known, settings) = (pods(&before), Arc::clone(before.settings()));
            let events: Vec<Event> = batch.iter().flat_map(|edit: &Edit| {
                let events = edit.events(&cluster);
                events.iter().for_each(|event| cluster.feed(event));
                events
            }).collect();
            let delta = mesh.apply(events).identity;
            let after = mesh.identity();
            is_as_looked_up(after, &cluster)?;
            let scratch = cluster.built_at_once(&options);
            prop_assert_eq!(after.namespaces(), scratch.identity().namespaces());
            prop_assert_eq!(after.settings(), scratch.identity().settings());
            // Whoever holds the snapshot of before sees nothing of this.
            prop_assert_eq!(pods(&before), known.clone());
            let now = pods(after);
            let served = |of: &IdentitySnapshot, name: &Name| of.instance(&name.ns, &name.name).cloned();
            let is_other = |name: &Name, old: &Parts, new: &Parts| {
                old.0 != new.0 || served(&before, name) != served(after, name)
            };
            let went = known.iter().filter(|(name, of)| now.get(*name).is_none_or(|new| is_other(name, of, new)));
            prop_assert_eq!(&delta.gone, &went.map(|(name, _)| name.clone()).collect::<Vec<_>>());
            prop_assert!(delta.pods || known == now);
            prop_assert_eq!(delta.namespaces, before.namespaces() != after.namespaces());
            prop_assert_eq!(delta.settings, settings != *after.settings());
        }
    }
}
