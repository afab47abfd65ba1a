//! What identity depends on of the mesh, as rows: who is there, where, and what the settings say of trust.

use engine::{Builder, Memo, Table};
use model::facts::{Pod, WorkloadEntry};
use model::{Name, Ns, Str, Uid};

use crate::input::Inputs;
use crate::namespace::NamespaceView;
use crate::settings::Settings;

pub use crate::settings::TrustSettings;
pub use crate::waypoint::{Instance, is_live};

/// A service account of the own cluster.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Account {
    /// Its namespace.
    pub namespace: Ns,
    /// Its name.
    pub name: Str,
}

/// What identity depends on of a live pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodIdentity {
    /// `metadata.uid`; all zeros when unset.
    pub uid: Uid,
    /// `spec.nodeName`; empty when not scheduled.
    pub node: Str,
    /// `spec.serviceAccountName`, in the namespace of the pod.
    pub account: Str,
    /// `metadata.deletionTimestamp`, in seconds since 1970; `None` unless it is being deleted.
    deletion: Option<u32>,
}

/// How long a pod counts after its `deletionTimestamp`, in seconds: so long Kubernetes accepts a token that is bound to
/// it.
const AFTER_DELETION: i64 = 60;

/// The tables from which it is known.
#[derive(Clone, Copy)]
pub struct Tables {
    /// Pods, of which those count that [`is_live`].
    pub pods: Table<Name, Pod>,
    /// The live pods that are instances of gateways, by gateway.
    pub instances: Table<Name, Vec<Instance>>,
    /// Workloads outside of the cluster, of which [`account_outside`] is what counts.
    pub entries: Table<Name, WorkloadEntry>,
    /// The namespaces that take part in the mesh.
    pub namespaces: Table<Ns, ()>,
    /// The settings.
    pub settings: Table<(), TrustSettings>,
}

/// Declares them, for somebody who follows their changes.
pub(crate) fn declare(
    b: &mut Builder,
    inputs: Inputs,
    views: Memo<Ns, NamespaceView>,
    settings: Settings,
    instances: Table<Name, Vec<Instance>>,
) -> Tables {
    let namespaces = b.derive("participating_namespaces", inputs.namespaces, move |cx, ns, _| {
        // Another cluster is told by its own control plane.
        (ns.cluster().is_none() && cx.memo(views, ns)?.in_scope).then_some(())
    });
    let (pods, entries, settings) = (inputs.pods, inputs.workloadentries, settings.trust);
    let tables = Tables { pods, instances, entries, namespaces, settings };
    b.sink_unsorted(tables.pods);
    b.sink(tables.instances);
    b.sink_unsorted(tables.entries);
    b.sink(tables.namespaces);
    b.sink(tables.settings);
    tables
}

impl PodIdentity {
    /// Returns what identity depends on of a pod.
    pub fn of(pod: &Pod) -> Self {
        Self {
            uid: pod.uid.into(),
            node: pod.node.clone(),
            account: pod.service_account.clone(),
            deletion: pod.deletion,
        }
    }

    /// Tells whether it is gone at a time, in seconds since 1970.
    pub fn is_gone(&self, now: i64) -> bool {
        self.gone_at().is_some_and(|gone_at| now >= gone_at)
    }

    /// Returns from when on it is gone, though it may still be there, in seconds since 1970; `None` unless it is being
    /// deleted.
    pub fn gone_at(&self) -> Option<i64> {
        self.deletion.map(after)
    }
}

/// Returns from when on a pod is gone, as [`PodIdentity::gone_at`].
pub fn gone_at(pod: &Pod) -> Option<i64> {
    pod.deletion.map(after)
}

fn after(deletion: u32) -> i64 {
    i64::from(deletion) + AFTER_DELETION
}

/// Returns the account of a workload outside of the cluster, if it has one.
pub fn account_outside(name: &Name, entry: &WorkloadEntry) -> Option<Account> {
    let account = &entry.spec.service_account;
    (!account.is_empty() && name.ns.cluster().is_none())
        .then(|| Account { namespace: name.ns.clone(), name: account.clone() })
}
