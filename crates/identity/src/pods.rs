//! Live pods by name, and accounts, in all and by node.

use super::world::World;
use ca::{Caller, Pods, RunningPod};
use hashbrown::{Equivalent, HashMap, HashSet};
use model::facts::{Phase, Pod};
use model::{Name, Ns, Str};
use std::hash::Hash;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A UID as Kubernetes writes it: 36 characters of a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Uid([u8; 36]);

impl Uid {
    /// A pod without a UID, such as one in a file, has the one of all zeros.
    fn new(bits: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
        for (place, nibble) in places.zip((0..32).rev()) {
            let digit = (bits >> (nibble * 4)) & 0xf;
            text[place] = DIGITS[digit as usize];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

struct Entry {
    pod: Arc<Pod>,
    uid: Uid,
}

/// A service account on a node.
#[derive(PartialEq, Eq, Hash)]
struct Placed {
    node: Str,
    namespace: Ns,
    account: Str,
}

/// A key to look up a [`Placed`] of the own cluster by, with the same hash.
#[derive(Hash)]
struct PlacedRef<'a> {
    node: &'a str,
    namespace: &'a str,
    account: &'a str,
}

impl Equivalent<Placed> for PlacedRef<'_> {
    fn equivalent(&self, key: &Placed) -> bool {
        self.node == key.node && key.namespace.is_own(self.namespace) && self.account == key.account
    }
}

/// A service account.
#[derive(PartialEq, Eq, Hash)]
struct Account {
    namespace: Ns,
    account: Str,
}

/// A key to look up an [`Account`] of the own cluster by, with the same hash.
#[derive(Hash)]
struct AccountRef<'a> {
    namespace: &'a str,
    account: &'a str,
}

impl Equivalent<Account> for AccountRef<'_> {
    fn equivalent(&self, key: &Account) -> bool {
        key.namespace.is_own(self.namespace) && self.account == key.account
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

struct Bound {
    id: u64,
    uid: String,
    gone: CancellationToken,
}

/// The pods that are neither deleted nor done, the streams that end with them, and the accounts of
/// workloads outside of the cluster.
#[derive(Default)]
pub struct PodTable {
    pods: HashMap<Name, Entry>,
    /// How many pods of each account are on each node.
    placed: HashMap<Placed, u32>,
    /// How many pods and workloads outside of the cluster have each account.
    accounts: HashMap<Account, u32>,
    /// The accounts of the latter, by the name of their WorkloadEntry.
    outside: HashMap<Name, Str>,
    bound: HashMap<Name, Vec<Bound>>,
    next_id: u64,
}

impl PodTable {
    /// Returns how many pods are known.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Tells whether no pod is known.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub(super) fn put(&mut self, pod: &Arc<Pod>) {
        if pod.phase == Phase::Done {
            return self.remove(&pod.name);
        }
        let entry = Entry { pod: Arc::clone(pod), uid: Uid::new(pod.uid) };
        // Streams of another pod that had the name end; those of this one go on.
        self.release(&pod.name, Some(entry.uid));
        self.count(pod);
        if let Some(old) = self.pods.insert(pod.name.clone(), entry) {
            self.discount(&old.pod);
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.release(name, None);
        if let Some(old) = self.pods.remove(name) {
            self.discount(&old.pod);
        }
    }

    /// Removes every pod that a listing did not name.
    pub(super) fn keep_only(&mut self, met: &HashSet<Name>) {
        let gone: Vec<Name> = self.pods.keys().filter(|name| !met.contains(*name)).cloned().collect();
        for name in gone {
            self.remove(&name);
        }
    }

    /// Takes the account of a WorkloadEntry; empty for none.
    pub(super) fn put_outside(&mut self, name: Name, account: Str) {
        self.remove_outside(&name);
        if !account.is_empty() {
            add(&mut self.accounts, Account { namespace: name.ns.clone(), account: account.clone() });
            self.outside.insert(name, account);
        }
    }

    pub(super) fn remove_outside(&mut self, name: &Name) {
        if let Some(account) = self.outside.remove(name) {
            subtract(&mut self.accounts, &Account { namespace: name.ns.clone(), account });
        }
    }

    /// Removes every workload outside of the cluster that a listing did not name.
    pub(super) fn keep_only_outside(&mut self, met: &HashSet<Name>) {
        let gone: Vec<Name> = self.outside.keys().filter(|name| !met.contains(*name)).cloned().collect();
        for name in gone {
            self.remove_outside(&name);
        }
    }

    pub(super) fn bind(&mut self, world: Arc<World>, caller: &Caller, node: String) -> Binding {
        let (name, uid) = match &caller.pod {
            Some(pod) => (Name::new(&caller.namespace, &pod.name), pod.uid.clone()),
            None => (Name::default(), String::new()),
        };
        let id = self.next_id;
        self.next_id += 1;
        let gone = CancellationToken::new();
        self.bound.entry(name.clone()).or_default().push(Bound { id, uid, gone: gone.clone() });
        Binding { world, pod: name, id, gone, node }
    }

    pub(super) fn unbind(&mut self, pod: &Name, id: u64) {
        if let Some(bound) = self.bound.get_mut(pod) {
            bound.retain(|b| b.id != id);
            if bound.is_empty() {
                self.bound.remove(pod);
            }
        }
    }

    fn release(&mut self, name: &Name, keep: Option<Uid>) {
        let Some(bound) = self.bound.get_mut(name) else { return };
        bound.retain(|b| {
            let stays = keep.as_ref().is_some_and(|uid| uid.as_str() == b.uid);
            if !stays {
                b.gone.cancel();
            }
            stays
        });
        if bound.is_empty() {
            self.bound.remove(name);
        }
    }

    fn count(&mut self, pod: &Pod) {
        add(&mut self.accounts, account(pod));
        if !pod.node.is_empty() {
            add(&mut self.placed, placed(pod));
        }
    }

    fn discount(&mut self, pod: &Pod) {
        subtract(&mut self.accounts, &account(pod));
        subtract(&mut self.placed, &placed(pod));
    }
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn account(pod: &Pod) -> Account {
    Account { namespace: pod.name.ns.clone(), account: pod.service_account.clone() }
}

fn placed(pod: &Pod) -> Placed {
    Placed { node: pod.node.clone(), namespace: pod.name.ns.clone(), account: pod.service_account.clone() }
}

impl Pods for PodTable {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let entry = self.pods.get(&NameRef { ns: namespace, name })?;
        Some(RunningPod {
            uid: entry.uid.as_str(),
            service_account: &entry.pod.service_account,
            node: &entry.pod.node,
        })
    }

    fn runs_on(&self, node: &str, namespace: &str, account: &str) -> bool {
        !node.is_empty() && self.placed.contains_key(&PlacedRef { node, namespace, account })
    }

    fn has_account(&self, namespace: &str, account: &str) -> bool {
        self.accounts.contains_key(&AccountRef { namespace, account })
    }
}

/// The tie of a stream to the pod that opened it; dropping it unties.
pub struct Binding {
    world: Arc<World>,
    pod: Name,
    id: u64,
    /// Cancelled when the pod is deleted, done, or replaced.
    pub gone: CancellationToken,
    /// The node of the pod.
    pub node: String,
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.world.unbind(&self.pod, self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    fn pod(name: &str, account: &str, node: &str, uid: u128) -> Arc<Pod> {
        Arc::new(Pod {
            name: Name::new("shop", name),
            uid,
            service_account: account.into(),
            node: node.into(),
            ..Pod::default()
        })
    }

    #[test]
    fn uid_is_written_as_kubernetes_writes_it() {
        let bits = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(Uid::new(bits).as_str(), "01234567-89ab-cdef-0011-223344556677");
    }

    #[test]
    fn table_answers_as_a_scan_would_after_any_history() {
        // A fixed sequence that is long enough to meet every transition.
        let mut seed = 7_u64;
        let mut draw = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        let mut table = PodTable::default();
        let mut all: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
        let mut outside: BTreeMap<Name, Str> = BTreeMap::new();
        for step in 0..3000 {
            let name = format!("p{}", draw(5));
            match draw(9) {
                0 => {
                    table.remove(&Name::new("shop", &name));
                    all.remove(&name);
                }
                1 => {
                    let done = Pod { phase: Phase::Done, ..(*pod(&name, "a0", "n1", 1)).clone() };
                    table.put(&Arc::new(done));
                    all.remove(&name);
                }
                2 => {
                    let keep: HashSet<Name> = all.keys().take(3).map(|n| Name::new("shop", n)).collect();
                    table.keep_only(&keep);
                    all.retain(|n, _| keep.contains(&Name::new("shop", n)));
                }
                3 => {
                    let account: Str = ["", "a0", "a3"][draw(3) as usize].into();
                    table.put_outside(Name::new("shop", &name), account.clone());
                    outside.insert(Name::new("shop", &name), account);
                }
                4 => {
                    table.remove_outside(&Name::new("shop", &name));
                    outside.remove(&Name::new("shop", &name));
                }
                5 => {
                    let keep: HashSet<Name> = outside.keys().take(2).cloned().collect();
                    table.keep_only_outside(&keep);
                    outside.retain(|name, _| keep.contains(name));
                }
                _ => {
                    let node = ["", "n1", "n2"][draw(3) as usize];
                    let new = pod(&name, &format!("a{}", draw(3)), node, u128::from(draw(9)));
                    table.put(&new);
                    all.insert(name, new);
                }
            }
            assert_eq!(table.len(), all.len());
            for account in ["a0", "a1", "a2", "a3"] {
                let scanned = all.values().any(|p| p.service_account == account)
                    || outside.values().any(|outside| outside == account);
                assert_eq!(table.has_account("shop", account), scanned, "step {step}");
                assert!(!table.has_account("bank", account));
            }
            for node in ["", "n1", "n2"] {
                for account in ["a0", "a1", "a2"] {
                    let scanned = !node.is_empty()
                        && all.values().any(|p| p.node == node && p.service_account == account);
                    assert_eq!(table.runs_on(node, "shop", account), scanned, "step {step}");
                }
            }
        }
        table.keep_only(&HashSet::new());
        table.keep_only_outside(&HashSet::new());
        assert!(table.is_empty() && table.placed.is_empty());
        assert!(table.accounts.is_empty() && table.outside.is_empty());
    }
}
