//! Which pods run where: what impersonation is decided by.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What is known about one pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningPod<'a> {
    /// `metadata.uid`.
    pub uid: Cow<'a, str>,
    /// `spec.serviceAccountName`.
    pub service_account: &'a str,
    /// `spec.nodeName`, empty before the pod is scheduled.
    pub node: &'a str,
    /// Whether it counts no more, since a minute has passed after its `deletionTimestamp`, though it is still there.
    pub is_gone: bool,
}

/// The pods of one cluster, but for those whose phase is Failed, at the time of the question.
pub trait Pods {
    /// Returns the pod of this name, also one that is gone.
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>>;

    /// Tells whether a pod of this service account is on this node, and not gone.
    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool;

    /// Tells whether a pod of this service account is on whatever node, and not gone.
    fn has_pod(&self, namespace: &str, service_account: &str) -> bool;

    /// Tells whether a workload outside of the cluster has this service account: a WorkloadEntry names it.
    fn has_outside(&self, namespace: &str, service_account: &str) -> bool;
}

struct Entry {
    uid: String,
    service_account: String,
    node: String,
    is_gone: bool,
}

/// Pods by name and, counted, accounts by node: every question is a look-up.
#[derive(Default)]
pub struct PodIndex {
    /// By namespace, then by name.
    pods: BTreeMap<String, BTreeMap<String, Entry>>,
    /// How many pods, by node, then namespace, then service account.
    accounts: BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>,
    /// How many pods, by namespace and service account.
    running: BTreeMap<(String, String), usize>,
    /// The accounts, by namespace, of workloads outside of the cluster.
    outside: BTreeSet<(String, String)>,
}

impl PodIndex {
    /// Adds a pod, or replaces the one of its name.
    pub fn put(&mut self, namespace: &str, name: &str, pod: RunningPod<'_>) {
        self.remove(namespace, name);
        if !pod.node.is_empty() && !pod.is_gone {
            let by_node = self.accounts.entry(pod.node.to_owned()).or_default();
            let by_namespace = by_node.entry(namespace.to_owned()).or_default();
            *by_namespace.entry(pod.service_account.to_owned()).or_default() += 1;
        }
        if !pod.is_gone {
            *self.running.entry((namespace.to_owned(), pod.service_account.to_owned())).or_default() += 1;
        }
        let entry = Entry {
            uid: pod.uid.into_owned(),
            service_account: pod.service_account.to_owned(),
            node: pod.node.to_owned(),
            is_gone: pod.is_gone,
        };
        self.pods.entry(namespace.to_owned()).or_default().insert(name.to_owned(), entry);
    }

    /// Adds an account that a workload outside of the cluster has.
    pub fn put_outside(&mut self, namespace: &str, account: &str) {
        self.outside.insert((namespace.to_owned(), account.to_owned()));
    }

    /// Removes a pod: it is deleted, or has failed.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(of_namespace) = self.pods.get_mut(namespace) else { return };
        let Some(entry) = of_namespace.remove(name) else { return };
        if of_namespace.is_empty() {
            self.pods.remove(namespace);
        }
        if entry.is_gone {
            return;
        }
        let account = (namespace.to_owned(), entry.service_account);
        if let Some(count) = self.running.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&account);
            }
        }
        let Some(by_node) = self.accounts.get_mut(&entry.node) else { return };
        if let Some(by_namespace) = by_node.get_mut(namespace) {
            if let Some(count) = by_namespace.get_mut(&account.1) {
                *count -= 1;
                if *count == 0 {
                    by_namespace.remove(&account.1);
                }
            }
            if by_namespace.is_empty() {
                by_node.remove(namespace);
            }
        }
        if by_node.is_empty() {
            self.accounts.remove(&entry.node);
        }
    }

    /// Returns how many pods are known.
    pub fn len(&self) -> usize {
        self.pods.values().map(BTreeMap::len).sum()
    }

    /// Tells whether no pod is known.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

impl Pods for PodIndex {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let entry = self.pods.get(namespace)?.get(name)?;
        Some(RunningPod {
            uid: entry.uid.as_str().into(),
            service_account: &entry.service_account,
            node: &entry.node,
            is_gone: entry.is_gone,
        })
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let by_namespace = self.accounts.get(node).and_then(|by_node| by_node.get(namespace));
        !node.is_empty() && by_namespace.is_some_and(|accounts| accounts.contains_key(service_account))
    }

    fn has_pod(&self, namespace: &str, service_account: &str) -> bool {
        self.running.contains_key(&(namespace.to_owned(), service_account.to_owned()))
    }

    fn has_outside(&self, namespace: &str, service_account: &str) -> bool {
        self.outside.contains(&(namespace.to_owned(), service_account.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The index answers as a scan over the pods would, after any history.
        #[test]
        fn index_answers_as_a_scan_would(
            history in proptest::collection::vec((0..3u8, 0..4u8, 0..3u8, 0..3u8, 0..3u8), 0..60),
        ) {
            let mut index = PodIndex::default();
            let mut all: BTreeMap<(String, String), (String, String, bool)> = BTreeMap::new();
            for (ns, name, account, node, event) in history {
                let (ns, name) = (format!("ns{ns}"), format!("pod{name}"));
                // Node 0 stands for a pod that is not scheduled.
                let node = if node == 0 { String::new() } else { format!("node{node}") };
                let account = format!("sa{account}");
                if event == 0 {
                    index.remove(&ns, &name);
                    all.remove(&(ns, name));
                } else {
                    let is_gone = event == 1;
                    let pod = RunningPod { uid: "u".into(), service_account: &account, node: &node, is_gone };
                    index.put(&ns, &name, pod);
                    all.insert((ns, name), (account, node, is_gone));
                }
            }
            prop_assert_eq!(index.len(), all.len());
            for node in ["", "node1", "node2"] {
                for ns in ["ns0", "ns1", "ns2"] {
                    for account in ["sa0", "sa1", "sa2"] {
                        let scanned = !node.is_empty() && all.iter().any(|((n, _), (a, on, is_gone))| {
                            n == ns && a == account && on == node && !is_gone
                        });
                        prop_assert_eq!(index.runs_on(node, ns, account), scanned);
                    }
                }
            }
            for ns in ["ns0", "ns1", "ns2"] {
                for account in ["sa0", "sa1", "sa2"] {
                    let scanned =
                        all.iter().any(|((n, _), (a, _, is_gone))| n == ns && a == account && !is_gone);
                    prop_assert_eq!(index.has_pod(ns, account), scanned);
                }
            }
            for (ns, name) in all.keys() {
                index.remove(ns, name);
            }
            prop_assert!(index.is_empty() && index.accounts.is_empty() && index.running.is_empty());
        }
    }
}
