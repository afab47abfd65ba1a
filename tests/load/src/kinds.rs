//! What a namespace has besides pods and services, where every kind is asked for: policies, a
//! waypoint that its services are bound to, two virtual machines behind a service, and entries for
//! external hosts, one with endpoints and one without an address.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::mesh::Mesh;

/// How many addresses a ztunnel is told of for it: a waypoint's pod, two machines, three endpoints of
/// the entries and their two hosts.
pub const ADDRESSES: usize = 8;

/// The label of a namespace whose services are bound to its waypoint.
pub const BOUND: (&str, &str) = ("istio.io/use-waypoint", "waypoint");

/// First address of waypoints, of their pods, of machines, and of external endpoints.
const WAYPOINTS: u32 = u32::from_be_bytes([100, 96, 0, 0]);
const WAYPOINT_PODS: u32 = u32::from_be_bytes([12, 0, 0, 0]);
const MACHINES: u32 = u32::from_be_bytes([13, 0, 0, 0]);
const EXTERNAL: u32 = u32::from_be_bytes([14, 0, 0, 0]);

/// An object to be written.
pub struct Written {
    /// The path of its collection.
    pub path: String,
    /// The object, without status.
    pub object: Value,
    /// Its status, where it must have one to count.
    pub status: Option<Value>,
}

/// The class of the waypoints.
pub fn class() -> Written {
    let path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses".to_owned();
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "istio-waypoint"},
        "spec": {"controllerName": "istio.io/mesh-controller"},
    });
    Written { path, object, status: None }
}

/// The objects of a namespace.
pub fn objects(mesh: &Mesh, namespace: usize) -> Vec<Written> {
    let space = mesh.namespace(namespace);
    let one = |api: &str, plural: &str, kind: &str, name: &str, spec: Value, status: Option<Value>| {
        let prefix = if api.contains('/') { "apis" } else { "api" };
        Written {
            path: format!("/{prefix}/{api}/namespaces/{space}/{plural}"),
            object: json!({
                "apiVersion": api, "kind": kind, "spec": spec,
                "metadata": {"name": name, "namespace": space, "labels": labels(kind)},
            }),
            status,
        }
    };
    let ip = |base: u32, n: usize| Ipv4Addr::from_bits(base.wrapping_add(n as u32 + 1)).to_string();
    let service = Mesh::service_name(0);
    let principal = format!("cluster.local/ns/{space}/sa/reader");
    let security = "security.istio.io/v1";
    let networking = "networking.istio.io/v1";
    let https = json!([{"number": 443, "name": "https", "protocol": "TLS"}]);
    let host = |name: &str| format!("{name}.{space}.example.com");
    let mut all = vec![
        one(
            security,
            "peerauthentications",
            "PeerAuthentication",
            "default",
            json!({"mtls": {"mode": "STRICT"}}),
            None,
        ),
        one(
            security,
            "authorizationpolicies",
            "AuthorizationPolicy",
            "allow",
            json!({
                "selector": {"matchLabels": {"app": service}}, "action": "ALLOW",
                "rules": [{"from": [{"source": {"principals": [principal]}}], "to": [{"operation": {"ports": ["8080"]}}]}],
            }),
            None,
        ),
        one(
            security,
            "authorizationpolicies",
            "AuthorizationPolicy",
            "only-get",
            json!({
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}],
                "action": "ALLOW", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}],
            }),
            None,
        ),
        one(
            "gateway.networking.k8s.io/v1",
            "gateways",
            "Gateway",
            "waypoint",
            json!({
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            }),
            Some(json!({"addresses": [{"type": "IPAddress", "value": ip(WAYPOINTS, namespace)}]})),
        ),
        one(
            "v1",
            "pods",
            "Pod",
            "waypoint-0",
            json!({
                "nodeName": Mesh::node_name(0), "serviceAccountName": "default",
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "istio-proxy", "image": "proxy"}],
            }),
            Some(Mesh::status(Ipv4Addr::from_bits(WAYPOINT_PODS + namespace as u32 + 1), true)),
        ),
        one(
            networking,
            "serviceentries",
            "ServiceEntry",
            "database",
            json!({
                "hosts": [host("database")], "ports": https, "resolution": "STATIC",
                "endpoints": [{"address": ip(EXTERNAL, 2 * namespace)}, {"address": ip(EXTERNAL, 2 * namespace + 1)}],
            }),
            None,
        ),
        one(
            networking,
            "serviceentries",
            "ServiceEntry",
            "partner",
            json!({"hosts": [host("partner")], "ports": https, "resolution": "DNS"}),
            None,
        ),
    ];
    all.extend((0..2).map(|vm| {
        let spec = json!({
            "address": ip(MACHINES, 2 * namespace + vm), "labels": {"app": service},
            "serviceAccount": "default", "weight": 1,
        });
        one(networking, "workloadentries", "WorkloadEntry", &format!("vm-{vm}"), spec, None)
    }));
    all
}

/// The label that makes a pod a waypoint's.
fn labels(kind: &str) -> Value {
    match kind {
        "Pod" => json!({"gateway.networking.k8s.io/gateway-name": "waypoint"}),
        _ => json!({}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_objects_share_a_place_and_none_an_address_with_a_pod() {
        let mesh =
            Mesh { namespaces: 2, services: 1, pods: 1, nodes: 1, prefix: "m".to_owned(), all_kinds: true };
        let all: Vec<_> = (0..2).flat_map(|namespace| objects(&mesh, namespace)).collect();
        let places: BTreeSet<_> =
            all.iter().map(|one| format!("{}/{}", one.path, one.object["metadata"]["name"])).collect();
        assert_eq!(places.len(), all.len());
        let text: Vec<_> = all.iter().map(|one| format!("{}{:?}", one.object, one.status)).collect();
        let first = mesh.pod_ip(mesh.pod_at(0).unwrap()).to_string();
        assert!(text.iter().all(|one| !one.contains(&first)));
    }
}
