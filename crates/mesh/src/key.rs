//! Keys under which rows find each other.

use model::{Labels, Name, Ns, Str};

/// One pair of a selector, in the namespace where it selects.
///
/// A selector is indexed under its least pair only, an object under all of its own: whatever matches
/// is then among the few found under one of them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Anchor {
    /// Where the selector selects; `None` for everywhere.
    pub ns: Option<Ns>,
    pub key: Str,
    pub value: Str,
}

impl Anchor {
    /// Returns the anchor of a selector; `None` for an empty one, which no index can find.
    pub fn of_selector(ns: Option<&Ns>, selector: &Labels) -> Option<Self> {
        let (key, value) = selector.iter().next()?;
        Some(Self { ns: ns.cloned(), key: key.clone(), value: value.clone() })
    }

    /// Returns every anchor under which a selector that matches `labels` can stand.
    pub fn of_labels(ns: Option<&Ns>, labels: &Labels) -> impl Iterator<Item = Self> {
        labels.iter().map(move |(key, value)| Self {
            ns: ns.cloned(),
            key: key.clone(),
            value: value.clone(),
        })
    }
}

/// A namespace and a set of labels: everything that decides what selects an object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Selected {
    pub ns: Ns,
    pub labels: Labels,
}

/// Returns the id of the cluster that a namespace is in; `own` is that of the own one.
pub(crate) fn cluster_id<'a>(own: &'a str, ns: &'a Ns) -> &'a str {
    ns.cluster().unwrap_or(own)
}

/// Returns the name of a pod's resource.
pub(crate) fn pod_uid(own: &str, pod: &Name) -> String {
    let cluster = cluster_id(own, &pod.ns);
    [cluster, "//Pod/", &pod.ns, "/", &pod.name].concat()
}

/// Returns the name of the resource of an endpoint that is no pod.
pub(crate) fn slice_endpoint_uid(own: &str, slice: &Name, address: &std::net::IpAddr) -> String {
    let cluster = cluster_id(own, &slice.ns);
    format!("{cluster}/discovery.k8s.io/EndpointSlice/{}/{}/{address}", slice.ns, slice.name)
}

/// Returns the name of a network gateway's resource.
pub(crate) fn network_gateway_uid(network: &str, address: &str, port: u16) -> String {
    format!("NetworkGateway/{network}/{address}/{port}")
}

/// Returns the name of what stands for the workloads of a service behind a gateway of their network.
pub(crate) fn split_horizon_uid(network: &str, gateway: &Name, address: &str, service: &str) -> String {
    format!("{network}/SplitHorizonWorkload/{}/{}/{address}/{service}", gateway.ns, gateway.name)
}

/// Returns the name of a WorkloadEntry's resource.
pub(crate) fn workload_entry_uid(own: &str, entry: &Name) -> String {
    let cluster = cluster_id(own, &entry.ns);
    format!("{cluster}/networking.istio.io/WorkloadEntry/{}/{}", entry.ns, entry.name)
}

/// Returns the name of the resource of an endpoint of a ServiceEntry.
pub(crate) fn service_entry_uid(own: &str, entry: &Name, address: &str) -> String {
    let cluster = cluster_id(own, &entry.ns);
    format!("{cluster}/networking.istio.io/ServiceEntry/{}/{}/{address}", entry.ns, entry.name)
}
