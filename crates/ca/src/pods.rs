//! Which pods run where: what impersonation is decided by.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is known about one pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningPod<'a> {
    /// `metadata.uid`.
    pub uid: Cow<'a, str>,
    /// `spec.serviceAccountName`.
    pub service_account: &'a str,
    /// `spec.nodeName`, empty before the pod is scheduled.
    pub node: &'a str,
}

/// The pods of one cluster, but for those whose phase is Failed.
pub trait Pods {
    /// Returns the pod of this name.
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>>;

    /// Tells whether a pod of this service account is on this node.
    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool;

    /// Tells whether there is anything of this service account: a pod, on whatever node, or a workload
    /// outside of the cluster.
    fn has_account(&self, namespace: &str, service_account: &str) -> bool;
}

struct Entry {
    uid: String,
    service_account: String,
    node: String,
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
}

impl PodIndex {
    /// Adds a pod, or replaces the one of its name.
    pub fn put(&mut self, namespace: &str, name: &str, pod: RunningPod<'_>) {
        self.remove(namespace, name);
        if !pod.node.is_empty() {
            let by_node = self.accounts.entry(pod.node.to_owned()).or_default();
            let by_namespace = by_node.entry(namespace.to_owned()).or_default();
            *by_namespace.entry(pod.service_account.to_owned()).or_default() += 1;
        }
        *self.running.entry((namespace.to_owned(), pod.service_account.to_owned())).or_default() += 1;
        let entry = Entry {
            uid: pod.uid.into_owned(),
            service_account: pod.service_account.to_owned(),
            node: pod.node.to_owned(),
        };
        self.pods.entry(namespace.to_owned()).or_default().insert(name.to_owned(), entry);
    }

    /// Removes a pod: it is deleted, or has failed.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(of_namespace) = self.pods.get_mut(namespace) else { return };
        let Some(entry) = of_namespace.remove(name) else { return };
        if of_namespace.is_empty() {
            self.pods.remove(namespace);
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
        })
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let by_namespace = self.accounts.get(node).and_then(|by_node| by_node.get(namespace));
        !node.is_empty() && by_namespace.is_some_and(|accounts| accounts.contains_key(service_account))
    }

    fn has_account(&self, namespace: &str, service_account: &str) -> bool {
        self.running.contains_key(&(namespace.to_owned(), service_account.to_owned()))
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
            history in proptest::collection::vec((0..3u8, 0..4u8, 0..3u8, 0..3u8, any::<bool>()), 0..60),
        ) {
            let mut index = PodIndex::default();
            let mut all: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
            for (ns, name, account, node, put) in history {
                let (ns, name) = (format!("ns{ns}"), format!("pod{name}"));
                // Node 0 stands for a pod that is not scheduled.
                let node = if node == 0 { String::new() } else { format!("node{node}") };
                let account = format!("sa{account}");
                if put {
                    index.put(&ns, &name, RunningPod { uid: "u".into(), service_account: &account, node: &node });
                    all.insert((ns, name), (account, node));
                } else {
                    index.remove(&ns, &name);
                    all.remove(&(ns, name));
                }
            }
            prop_assert_eq!(index.len(), all.len());
            for node in ["", "node1", "node2"] {
                for ns in ["ns0", "ns1", "ns2"] {
                    for account in ["sa0", "sa1", "sa2"] {
                        let scanned = !node.is_empty() && all.iter().any(|((n, _), (a, on))| {
                            n == ns && a == account && on == node
                        });
                        prop_assert_eq!(index.runs_on(node, ns, account), scanned);
                    }
                }
            }
            for ns in ["ns0", "ns1", "ns2"] {
                for account in ["sa0", "sa1", "sa2"] {
                    let scanned = all.iter().any(|((n, _), (a, _))| n == ns && a == account);
                    prop_assert_eq!(index.has_account(ns, account), scanned);
                }
            }
            for (ns, name) in all.keys() {
                index.remove(ns, name);
            }
            prop_assert!(index.is_empty() && index.accounts.is_empty() && index.running.is_empty());
        }
    }
}
