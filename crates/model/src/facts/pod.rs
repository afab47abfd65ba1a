use super::Facts;
use crate::{Labels, Name, Str};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// `status.phase`, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// `Pending`, `Running`, `Unknown` or unset.
    #[default]
    Live,
    /// `Succeeded` or `Failed`: its address may belong to another pod already.
    Done,
}

/// Facts of a core `Pod`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pod {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid` as 128 bits; 0 when unset. A uid that is not a UUID is hashed into 128 bits.
    pub uid: u128,
    /// All labels.
    pub labels: Labels,
    /// The annotations that are read, without `ambient.istio.io/redirection` (see `captured`).
    pub annotations: Labels,
    /// The labels and annotations of the mesh that have no effect: the path of each, such as
    /// `metadata.labels[istio.io/waypoint-for]`, and its value.
    pub ignored: Labels,
    /// Whether `status.phase` still counts.
    pub phase: Phase,
    /// `status.podIPs`, else `status.podIP`, in order. Empty when there is none or **any** of them
    /// does not parse: such a pod is no workload.
    pub ips: SmallVec<[IpAddr; 1]>,
    /// `spec.nodeName`; empty when not scheduled.
    pub node: Str,
    /// `spec.serviceAccountName`, as written (the API server always fills it).
    pub service_account: Str,
    /// Name of the workload that owns the pod, by the owner heuristic.
    pub workload_name: Str,
    /// TCP container ports that have a name, first in containers, then in init containers whose
    /// `restartPolicy` is `Always`, in order.
    pub named_ports: Arc<[(Str, u16)]>,
    /// `Ready` is `True`: it serves what comes, also while it is being deleted.
    pub serving: bool,
    /// `metadata.deletionTimestamp`, in seconds since 1970: when it is to be gone, of a pod that is being deleted. One that
    /// cannot be read is 0. Of 32 bits, since there are many pods: until 2106.
    pub deletion: Option<u32>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// Annotation `ambient.istio.io/redirection` is exactly `enabled`.
    pub captured: bool,
}

impl Pod {
    /// Tells whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.deletion.is_some()
    }

    /// Tells whether it is to be sent what is new.
    pub fn is_ready(&self) -> bool {
        self.serving && !self.is_terminating()
    }
}

impl Facts for Pod {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}
