//! The mesh that is written: how large, and each of its objects.

use std::net::Ipv4Addr;

use clap::Args;
use serde_json::{Value, json};

use crate::kinds;

/// The size of a mesh. The same numbers always give the same names and addresses.
#[derive(Args, Clone, Debug)]
pub struct Mesh {
    /// Namespaces.
    #[arg(long, default_value_t = 10)]
    pub namespaces: usize,
    /// Services in each namespace.
    #[arg(long, default_value_t = 25)]
    pub services: usize,
    /// Pods of each service; one endpoint slice names them all.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub pods: u16,
    /// Nodes that the pods run on, in turn.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub nodes: u16,
    /// First part of the namespaces' names.
    #[arg(long, default_value = "load")]
    pub prefix: String,
    /// Policies, a waypoint, machines and entries in each namespace as well (needs their CRDs).
    #[arg(long)]
    pub all_kinds: bool,
}

/// One pod of the mesh by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodId {
    /// Its namespace's number.
    pub namespace: usize,
    /// Its service's number in the namespace.
    pub service: usize,
    /// Its number in the service.
    pub pod: usize,
}

/// The label that a service selects its pods by.
const APP: &str = "app";
/// First address of pods, of pods that moved, and of services written to a folder.
const PODS: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const MOVED: u32 = u32::from_be_bytes([11, 0, 0, 0]);
const SERVICES: u32 = u32::from_be_bytes([172, 16, 0, 0]);

impl Mesh {
    /// How many pods there are.
    pub fn pod_count(&self) -> usize {
        self.service_count() * usize::from(self.pods)
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.namespaces * self.services
    }

    /// How many addresses a ztunnel is told of at least: a workload per pod, the services, and those
    /// of the other kinds.
    pub fn addresses(&self) -> usize {
        let others = if self.all_kinds { kinds::ADDRESSES * self.namespaces } else { 0 };
        self.pod_count() + self.service_count() + others
    }

    /// The name of a namespace.
    pub fn namespace(&self, index: usize) -> String {
        format!("{}-{index:04}", self.prefix)
    }

    /// The name of a service, within its namespace.
    pub fn service_name(index: usize) -> String {
        format!("svc-{index:02}")
    }

    /// The name of a node.
    pub fn node_name(index: usize) -> String {
        format!("load-node-{index:03}")
    }

    /// The pod at a place of the whole mesh, counted round: neighbours are in different services.
    pub fn pod_at(&self, index: usize) -> Option<PodId> {
        let index = index % self.pod_count().max(1);
        let services = self.service_count();
        let service = index.checked_rem(services)?;
        let (namespace, service) = (service / self.services, service % self.services);
        (self.pods > 0).then_some(PodId { namespace, service, pod: index / services })
    }

    /// The name of a pod, within its namespace.
    pub fn pod_name(id: PodId) -> String {
        format!("{}-{:04}", Self::service_name(id.service), id.pod)
    }

    /// The address that a pod is given first.
    pub fn pod_ip(&self, id: PodId) -> Ipv4Addr {
        let service = id.namespace * self.services + id.service;
        Ipv4Addr::from_bits(PODS.wrapping_add((service * usize::from(self.pods) + id.pod) as u32 + 1))
    }

    /// An address that no pod was given first, the `n`-th.
    pub fn moved_ip(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(MOVED.wrapping_add(n).wrapping_add(1))
    }

    /// A namespace as an object.
    pub fn namespace_object(&self, index: usize) -> Value {
        let mut labels = json!({"istio.io/dataplane-mode": "ambient"});
        if self.all_kinds {
            let (label, waypoint) = kinds::BOUND;
            labels[label] = json!(waypoint);
        }
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": self.namespace(index), "labels": labels,
        }})
    }

    /// The service account that pods of a namespace run as: one that a controller would make.
    pub fn account_object(&self, index: usize) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "default", "namespace": self.namespace(index),
        }})
    }

    /// A node as an object.
    pub fn node_object(index: usize) -> Value {
        let name = Self::node_name(index);
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/region": "region-1",
            "topology.kubernetes.io/zone": format!("zone-{}", index % 3),
        }}})
    }

    /// A service as an object; with an address of its own only if `address` is set, as an API
    /// server gives one itself.
    pub fn service_object(&self, namespace: usize, service: usize, address: bool) -> Value {
        let name = Self::service_name(service);
        let mut spec = json!({
            "selector": {APP: name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        });
        if address {
            let number = (namespace * self.services + service) as u32 + 1;
            let ip = Ipv4Addr::from_bits(SERVICES.wrapping_add(number)).to_string();
            spec["clusterIP"] = json!(ip);
            spec["clusterIPs"] = json!([ip]);
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": self.namespace(namespace)}, "spec": spec,
        })
    }

    /// A pod as an object, without status.
    pub fn pod_object(&self, id: PodId) -> Value {
        self.pod_named(id, &Self::pod_name(id))
    }

    /// A pod of another name in the place of `id`, without status.
    pub fn pod_named(&self, id: PodId, name: &str) -> Value {
        let service = Self::service_name(id.service);
        json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": self.namespace(id.namespace),
            "labels": {APP: service, "version": "v1"},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        },
        "spec": {
            "nodeName": Self::node_name(self.node_of(id)),
            "serviceAccountName": "default",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": "app",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            }],
        }})
    }

    /// The status of a running pod.
    pub fn status(ip: Ipv4Addr, ready: bool) -> Value {
        let condition = if ready { "True" } else { "False" };
        json!({
            "phase": "Running",
            "podIP": ip.to_string(),
            "podIPs": [{"ip": ip.to_string()}],
            "conditions": [{"type": "Ready", "status": condition}],
        })
    }

    /// The endpoint slice of a service; `uids` are those of its pods, in order.
    pub fn slice_object(&self, namespace: usize, service: usize, uids: &[String]) -> Value {
        let name = Self::service_name(service);
        let space = self.namespace(namespace);
        let endpoints: Vec<Value> = uids
            .iter()
            .enumerate()
            .map(|(pod, uid)| {
                let id = PodId { namespace, service, pod };
                json!({
                    "addresses": [self.pod_ip(id).to_string()],
                    "conditions": {"ready": true},
                    "nodeName": Self::node_name(self.node_of(id)),
                    "targetRef": {
                        "kind": "Pod", "namespace": space, "name": Self::pod_name(id), "uid": uid,
                    },
                })
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-load"), "namespace": space,
                "labels": {
                    "kubernetes.io/service-name": name,
                    // As the controller of Kubernetes makes it: it says nothing that the selector does not.
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        })
    }

    fn node_of(&self, id: PodId) -> usize {
        let service = id.namespace * self.services + id.service;
        (service * usize::from(self.pods) + id.pod) % usize::from(self.nodes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mesh() -> Mesh {
        Mesh { namespaces: 3, services: 4, pods: 5, nodes: 2, prefix: "m".to_owned(), all_kinds: false }
    }

    #[test]
    fn every_pod_is_reached_once_with_its_own_name_and_address() {
        let mesh = mesh();
        let ids: Vec<_> = (0..mesh.pod_count()).map(|index| mesh.pod_at(index).unwrap()).collect();
        let names: BTreeSet<_> = ids.iter().map(|id| (id.namespace, Mesh::pod_name(*id))).collect();
        let ips: BTreeSet<_> = ids.iter().map(|id| mesh.pod_ip(*id)).collect();
        assert_eq!((names.len(), ips.len()), (60, 60));
        assert_eq!(mesh.pod_at(60), mesh.pod_at(0));
        assert!(!ips.contains(&Mesh::moved_ip(0)));
    }

    #[test]
    fn a_mesh_without_pods_has_none_to_change() {
        assert_eq!(Mesh { pods: 0, ..mesh() }.pod_at(0), None);
        assert_eq!(Mesh { services: 0, ..mesh() }.pod_at(0), None);
    }
}
