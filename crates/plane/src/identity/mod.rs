//! What identity depends on of the mesh, published with each commit.
//!
//! ```text
//! rows of the mesh ──changes──▶ IdentitySnapshot: pods by name, those of gateways, accounts by node and
//!                                                 in all, namespaces that take part, settings of trust
//! ```
//!
//! A snapshot is immutable and shares with the one before what did not change, so that a commit costs its
//! change. Every question is a look-up.

mod presence;
mod shared_map;

use engine::Graph;
use hashbrown::Equivalent;
use mesh::identity::{self, Account, Instance, PodIdentity, Tables, TrustSettings};
use model::facts::Pod;
use model::{Name, Ns, Str, shared};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;

use presence::Presence;
use shared_map::SharedMap;

/// Pods, accounts, namespaces and settings of trust after one commit.
#[derive(Clone, Debug, Default)]
pub struct IdentitySnapshot {
    pods: SharedMap<Name, PodIdentity>,
    /// Those pods that are instances of gateways.
    instances: SharedMap<Name, GatewayInstance>,
    /// The pods of each account on each node.
    placed: SharedMap<Placed, Presence>,
    /// The pods of each account.
    accounts: SharedMap<Account, Presence>,
    /// How many workloads outside of the cluster have each account.
    outside: SharedMap<Account, u32>,
    namespaces: Arc<BTreeSet<Str>>,
    settings: Arc<TrustSettings>,
}

/// What one commit changed of an [`IdentitySnapshot`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentityDelta {
    /// Pods that are not live any more, another one under their name, instances of another gateway, or elsewhere;
    /// ascending.
    pub gone: Vec<Name>,
    /// Live pods that are being deleted since this commit, or until another time; ascending.
    pub leaving: Vec<Name>,
    /// Whether pods or accounts changed.
    pub pods: bool,
    /// Whether other namespaces take part.
    pub namespaces: bool,
    /// Whether the settings changed.
    pub settings: bool,
}

impl IdentityDelta {
    /// Tells whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a live pod that is an instance of a gateway is served as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayInstance {
    /// The gateway, one of the pod's own namespace.
    pub gateway: Str,
    /// The places that it is at: what follows the name of the gateway in the scopes of what is for these alone.
    pub places: [Str; 4],
}

/// A service account on a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Placed {
    node: Str,
    account: Account,
}

/// A key to look up a [`Placed`] of the own cluster by, with the same hash.
#[derive(Hash)]
struct PlacedRef<'a> {
    node: &'a str,
    account: AccountRef<'a>,
}

impl Equivalent<Placed> for PlacedRef<'_> {
    fn equivalent(&self, key: &Placed) -> bool {
        self.node == key.node && self.account.equivalent(&key.account)
    }
}

/// A key to look up an [`Account`] of the own cluster by, with the same hash.
#[derive(Hash)]
struct AccountRef<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Equivalent<Account> for AccountRef<'_> {
    fn equivalent(&self, key: &Account) -> bool {
        key.namespace.is_own(self.namespace) && self.name == key.name
    }
}

/// A key to look up a [`Name`] of the own cluster by, with the same hash.
#[derive(Hash)]
struct NameRef<'a> {
    ns: &'a str,
    name: &'a str,
}

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        key.ns.is_own(self.ns) && self.name == key.name
    }
}

impl IdentitySnapshot {
    /// Returns the live pod of this name: one that is neither deleted nor done. It may be gone by its
    /// [time](PodIdentity::is_gone).
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&PodIdentity> {
        self.pods.get(&NameRef { ns: namespace, name })
    }

    /// Returns of which gateway a live pod is an instance, and where.
    pub fn instance(&self, namespace: &str, pod: &str) -> Option<&GatewayInstance> {
        self.instances.get(&NameRef { ns: namespace, name: pod })
    }

    /// Tells whether a live pod of an account is on a node at a time, in seconds since 1970; no pod is on the node
    /// without a name.
    pub fn runs_on(&self, node: &str, namespace: &str, account: &str, now: i64) -> bool {
        let account = AccountRef { namespace, name: account };
        let pods = self.placed.get(&PlacedRef { node, account });
        !node.is_empty() && pods.is_some_and(|pods| pods.is_there(now))
    }

    /// Tells whether a live pod has an account at a time, in seconds since 1970.
    pub fn has_pod(&self, namespace: &str, account: &str, now: i64) -> bool {
        let pods = self.accounts.get(&AccountRef { namespace, name: account });
        pods.is_some_and(|pods| pods.is_there(now))
    }

    /// Tells whether a workload outside of the cluster has an account.
    pub fn has_outside(&self, namespace: &str, account: &str) -> bool {
        self.outside.get(&AccountRef { namespace, name: account }).is_some()
    }

    /// Returns the live pods, in no order. This walks all: it is meant for people and tests.
    pub fn pods(&self) -> impl Iterator<Item = (&Name, &PodIdentity)> {
        self.pods.iter()
    }

    /// Returns how many live pods there are.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Returns the namespaces of the own cluster that take part in the mesh.
    pub fn namespaces(&self) -> &Arc<BTreeSet<Str>> {
        &self.namespaces
    }

    /// Returns the settings that identities depend on.
    pub fn settings(&self) -> &Arc<TrustSettings> {
        &self.settings
    }

    /// Takes the changes of the last commit; tells what became different.
    pub(crate) fn follow(this: &mut Arc<Self>, graph: &mut Graph, tables: Tables) -> IdentityDelta {
        let mut delta = IdentityDelta::default();
        let pods = graph.changes(tables.pods);
        let instances = graph.changes(tables.instances);
        let entries = graph.changes(tables.entries);
        let namespaces = graph.changes(tables.namespaces);
        let settings = graph.changes(tables.settings).into_iter().filter_map(|change| change.new).last();
        let is_first = this.pods.len() == 0;
        let mut own = Counting { snapshot: this, last: None };
        let mut first = Vec::new();
        for change in &instances {
            let of = [change.old.as_deref(), change.new.as_deref()];
            delta.pods |= own.follow_instances(&change.key, of, &mut delta.gone);
        }
        for change in pods {
            let is_live = |pod: &&Pod| identity::is_live(&change.key, pod);
            let (old, new) = (change.old.as_deref().filter(is_live), change.new.as_deref().filter(is_live));
            match (old, new) {
                (None, None) => continue,
                (Some(old), Some(new)) if parts(old) == parts(new) => continue,
                _ => delta.pods = true,
            }
            if let Some(old) = old {
                own.add(&change.key.ns, old, -1);
                if new.is_none_or(|new| new.uid != old.uid) {
                    delta.gone.push(change.key.clone());
                }
            }
            if let Some(new) = new {
                own.add(&change.key.ns, new, 1);
                let gone_at = identity::gone_at(new);
                if gone_at.is_some() && old.is_none_or(|old| identity::gone_at(old) != gone_at) {
                    delta.leaving.push(change.key.clone());
                }
            }
            match new.map(PodIdentity::of) {
                Some(new) if is_first => first.push((change.key, new)),
                new => own.snapshot().pods.edit(&change.key, |_| new),
            }
        }
        if !first.is_empty() {
            own.snapshot().pods = SharedMap::of(first);
        }
        own.flush();
        for change in &entries {
            let account = |entry: &Option<Arc<_>>| {
                entry.as_deref().and_then(|entry| identity::account_outside(&change.key, entry))
            };
            let (old, new) = (account(&change.old), account(&change.new));
            if old != new {
                delta.pods = true;
                let outside = &mut own.snapshot().outside;
                old.iter().for_each(|account| count(outside, account, -1));
                new.iter().for_each(|account| count(outside, account, 1));
            }
        }
        if !namespaces.is_empty() {
            delta.namespaces = true;
            let all = Arc::make_mut(&mut own.snapshot().namespaces);
            for change in namespaces {
                match change.new {
                    Some(_) => all.insert(shared(&change.key)),
                    None => all.remove(&*change.key),
                };
            }
        }
        if let Some(settings) = settings.filter(|settings| **settings != *own.snapshot.settings) {
            delta.settings = true;
            own.snapshot().settings = settings;
        }
        delta.gone.sort();
        delta.gone.dedup();
        delta.leaving.sort();
        delta
    }
}

/// What identity depends on of a pod that is live.
fn parts(pod: &Pod) -> (u128, &Str, &Str, Option<u32>) {
    (pod.uid, &pod.node, &pod.service_account, pod.deletion)
}

/// Counts pods by account, and by node and account. What comes in a row alike, as in a listing, is one step.
struct Counting<'s> {
    snapshot: &'s mut Arc<IdentitySnapshot>,
    last: Option<(Placed, Option<i64>, i32)>,
}

impl Counting<'_> {
    fn snapshot(&mut self) -> &mut IdentitySnapshot {
        Arc::make_mut(self.snapshot)
    }

    /// Takes the instances of a gateway; tells whether any is another one, and adds those that are, and that there
    /// were, to `gone`.
    fn follow_instances(
        &mut self,
        gateway: &Name,
        of: [Option<&Vec<Instance>>; 2],
        gone: &mut Vec<Name>,
    ) -> bool {
        let [old, new] = of.map(|all| all.into_iter().flatten());
        let places = |of: &Instance| (of.pod.clone(), of.location.scope_suffixes());
        let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (old.map(places).collect(), new.map(places).collect());
        let mut is_changed = false;
        for pod in old.keys().filter(|pod| !new.contains_key(*pod)) {
            // It may be another gateway's by now.
            if self.snapshot.instances.get(pod).is_some_and(|of| of.gateway == gateway.name) {
                self.snapshot().instances.edit(pod, |_| None);
            }
            gone.push(pod.clone());
            is_changed = true;
        }
        for (pod, places) in new.iter().filter(|(pod, places)| old.get(*pod) != Some(*places)) {
            let instance = GatewayInstance { gateway: gateway.name.clone(), places: places.clone() };
            self.snapshot().instances.edit(pod, |_| Some(instance));
            gone.extend(self.snapshot.pods.get(pod).map(|_| pod.clone()));
            is_changed = true;
        }
        is_changed
    }

    fn add(&mut self, ns: &Ns, pod: &Pod, by: i32) {
        let gone_at = identity::gone_at(pod);
        if let Some((Placed { node, account }, leaves, count)) = &mut self.last
            && *leaves == gone_at
            && account.name == pod.service_account
            && account.namespace == *ns
            && *node == pod.node
        {
            *count += by;
            return;
        }
        self.flush();
        let account = Account { namespace: ns.clone(), name: pod.service_account.clone() };
        self.last = Some((Placed { node: pod.node.clone(), account }, gone_at, by));
    }

    fn flush(&mut self) {
        let Some((placed, gone_at, by)) = self.last.take().filter(|(_, _, by)| *by != 0) else { return };
        let with = |pods: Option<Presence>| pods.unwrap_or_default().with(gone_at, by);
        let snapshot = self.snapshot();
        snapshot.accounts.edit(&placed.account, with);
        if !placed.node.is_empty() {
            snapshot.placed.edit(&placed, with);
        }
    }
}

fn count<K: Clone + Eq + Hash>(counts: &mut SharedMap<K, u32>, key: &K, by: i32) {
    counts.edit(key, |old| old.unwrap_or_default().checked_add_signed(by).filter(|count| *count > 0));
}
