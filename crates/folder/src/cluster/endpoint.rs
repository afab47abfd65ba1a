//! Makes the endpoint slices of services.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{add, items_at, labels_at, of_kind, text_at};
use crate::hash::{Hasher, letters};
use crate::{Key, Object, Objects};

/// The most endpoints in one slice, as the API server allows.
const MAX_ENDPOINTS: usize = 1_000;

const GROUP: &str = "discovery.k8s.io";
const API_VERSION: &str = "discovery.k8s.io/v1";
/// The label that ties a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Adds the slices of every service for which the folder declares none.
pub(super) fn slices(objects: &mut Objects) {
    let declared: BTreeSet<(String, String)> = of_kind(objects, GROUP, "EndpointSlice")
        .filter_map(|slice| {
            let labels = labels_at(&slice.value, "/metadata/labels");
            Some((slice.key.namespace.clone(), (*labels.get(SERVICE_NAME)?).to_owned()))
        })
        .collect();
    let mut made = Vec::new();
    {
        let pods = Pods::index(objects);
        for service in of_kind(objects, "", "Service") {
            let Key { namespace, name, .. } = &service.key;
            if declared.contains(&(namespace.clone(), name.clone()))
                || text_at(&service.value, "/spec/type") == Some("ExternalName")
            {
                continue;
            }
            let selector = labels_at(&service.value, "/spec/selector");
            if selector.is_empty() {
                if let Some(endpoints) = objects.get(&Key::new("", "Endpoints", namespace, name)) {
                    made.extend(mirrored(service, endpoints));
                }
            } else {
                made.extend(selected(service, &pods.select(namespace, &selector)));
            }
        }
    }
    for (cause, name, value) in made {
        let key = Key::new(GROUP, "EndpointSlice", &cause.key.namespace, &name);
        add(objects, API_VERSION, key, value, Some(&cause));
    }
}

type Made = (Arc<Object>, String, Value);

/// The pods of the cluster by namespace and by each of their labels.
struct Pods<'o> {
    by_label: BTreeMap<(&'o str, &'o str, &'o str), Vec<&'o Object>>,
    zones: BTreeMap<&'o str, &'o str>,
}

/// A pod as an endpoint.
struct Selected<'o> {
    pod: &'o Object,
    zone: Option<&'o str>,
}

impl<'o> Pods<'o> {
    fn index(objects: &'o Objects) -> Self {
        let mut by_label: BTreeMap<(&str, &str, &str), Vec<&Object>> = BTreeMap::new();
        for pod in of_kind(objects, "", "Pod") {
            let over = matches!(text_at(&pod.value, "/status/phase"), Some("Failed" | "Succeeded"));
            if over || addresses(&pod.value).is_empty() {
                continue;
            }
            for (name, value) in labels_at(&pod.value, "/metadata/labels") {
                by_label.entry((&pod.key.namespace, name, value)).or_default().push(pod);
            }
        }
        let zones = of_kind(objects, "", "Node")
            .filter_map(|node| {
                let zone = *labels_at(&node.value, "/metadata/labels").get("topology.kubernetes.io/zone")?;
                Some((node.key.name.as_str(), zone))
            })
            .collect();
        Self { by_label, zones }
    }

    /// The pods that a selector with at least one label selects: those with its rarest label are
    /// looked at.
    fn select(&self, namespace: &str, selector: &BTreeMap<&str, &str>) -> Vec<Selected<'o>> {
        let lists = selector.iter().map(|(name, value)| {
            self.by_label.get(&(namespace, *name, *value)).map_or(&[][..], Vec::as_slice)
        });
        let candidates = lists.min_by_key(|list| list.len()).unwrap_or_default();
        candidates
            .iter()
            .filter(|pod| {
                let labels = labels_at(&pod.value, "/metadata/labels");
                selector.iter().all(|(name, value)| labels.get(name) == Some(value))
            })
            .map(|pod| {
                let node = text_at(&pod.value, "/spec/nodeName");
                Selected { pod, zone: node.and_then(|node| self.zones.get(node).copied()) }
            })
            .collect()
    }
}

/// The slices of a service that selects pods: one for each set of port numbers that named ports
/// lead to, cut at the most endpoints that a slice can hold.
fn selected(service: &Arc<Object>, pods: &[Selected<'_>]) -> Vec<Made> {
    let mut by_ports: BTreeMap<Vec<ResolvedPort>, Vec<&Selected<'_>>> = BTreeMap::new();
    for selected in pods {
        by_ports.entry(ports_of(&service.value, &selected.pod.value)).or_default().push(selected);
    }
    let publish = service.value.pointer("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let mut made = Vec::new();
    for (ports, pods) in &by_ports {
        for (number, pods) in pods.chunks(MAX_ENDPOINTS).enumerate() {
            let endpoints = pods.iter().map(|selected| endpoint(selected, publish)).collect();
            let ports: Vec<Value> = ports.iter().map(ResolvedPort::to_json).collect();
            made.push(slice(service, "endpointslice-controller.k8s.io", "IPv4", number, ports, endpoints));
        }
    }
    made
}

/// A port of a service at one pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ResolvedPort {
    name: String,
    protocol: String,
    port: u64,
    app_protocol: Option<String>,
}

impl ResolvedPort {
    fn to_json(&self) -> Value {
        let mut port = json!({"name": self.name, "protocol": self.protocol, "port": self.port});
        if let Some(app_protocol) = &self.app_protocol {
            port["appProtocol"] = json!(app_protocol);
        }
        port
    }
}

/// The ports of a service at a pod; a named port that the pod does not have is left out.
fn ports_of(service: &Value, pod: &Value) -> Vec<ResolvedPort> {
    let resolve = |port: &Value| {
        let protocol = text_at(port, "/protocol").unwrap_or("TCP");
        let number = match port.get("targetPort") {
            Some(Value::Number(number)) => number.as_u64()?,
            Some(Value::String(name)) => container_port(pod, name, protocol)?,
            _ => port.get("port")?.as_u64()?,
        };
        Some(ResolvedPort {
            name: text_at(port, "/name").unwrap_or_default().to_owned(),
            protocol: protocol.to_owned(),
            port: number,
            app_protocol: text_at(port, "/appProtocol").map(str::to_owned),
        })
    };
    items_at(service, "/spec/ports").iter().filter_map(resolve).collect()
}

/// The number of a named container port, of containers first and of restarting init containers next.
fn container_port(pod: &Value, name: &str, protocol: &str) -> Option<u64> {
    let sidecars = items_at(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text_at(container, "/restartPolicy") == Some("Always"));
    items_at(pod, "/spec/containers")
        .iter()
        .chain(sidecars)
        .flat_map(|container| items_at(container, "/ports"))
        .find(|port| {
            text_at(port, "/name") == Some(name) && text_at(port, "/protocol").unwrap_or("TCP") == protocol
        })
        .and_then(|port| port.get("containerPort")?.as_u64())
}

/// The IPv4 addresses of a pod.
fn addresses(pod: &Value) -> Vec<&str> {
    let listed = items_at(pod, "/status/podIPs").iter().filter_map(|entry| text_at(entry, "/ip"));
    let mut addresses: Vec<&str> = listed.chain(text_at(pod, "/status/podIP")).collect();
    addresses.retain(|address| address.parse::<std::net::Ipv4Addr>().is_ok());
    addresses.dedup();
    addresses.truncate(1);
    addresses
}

fn endpoint(selected: &Selected<'_>, publish_not_ready: bool) -> Value {
    let pod = &selected.pod.value;
    let serving = items_at(pod, "/status/conditions").iter().any(|condition| {
        text_at(condition, "/type") == Some("Ready") && text_at(condition, "/status") == Some("True")
    });
    let terminating = text_at(pod, "/metadata/deletionTimestamp").is_some();
    let mut target = json!({
        "kind": "Pod",
        "namespace": selected.pod.key.namespace,
        "name": selected.pod.key.name,
    });
    if let Some(uid) = text_at(pod, "/metadata/uid") {
        target["uid"] = json!(uid);
    }
    let mut endpoint = json!({
        "addresses": addresses(pod),
        "conditions": {
            "ready": publish_not_ready || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": target,
    });
    if let Some(node) = text_at(pod, "/spec/nodeName") {
        endpoint["nodeName"] = json!(node);
    }
    if let Some(zone) = selected.zone {
        endpoint["zone"] = json!(zone);
    }
    endpoint
}

/// The slices that mirror an Endpoints object of a service without a selector.
fn mirrored(service: &Arc<Object>, endpoints: &Object) -> Vec<Made> {
    let mut made = Vec::new();
    for (number, subset) in items_at(&endpoints.value, "/subsets").iter().enumerate() {
        for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
            let listed = |list: &str, ready: bool| {
                items_at(subset, list)
                    .iter()
                    .filter_map(|entry| {
                        let address = text_at(entry, "/ip")?;
                        let parsed: std::net::IpAddr = address.parse().ok()?;
                        let mut endpoint = json!({"addresses": [address], "conditions": {"ready": ready}});
                        for name in ["hostname", "nodeName", "targetRef"] {
                            if let Some(value) = entry.get(name) {
                                endpoint[name] = value.clone();
                            }
                        }
                        (parsed.is_ipv6() == is_v6).then_some(endpoint)
                    })
                    .collect::<Vec<Value>>()
            };
            let mut all = listed("/addresses", true);
            all.extend(listed("/notReadyAddresses", false));
            let ports = items_at(subset, "/ports");
            for (chunk, endpoints) in all.chunks(MAX_ENDPOINTS).enumerate() {
                let number = number * 1_000 + chunk;
                let manager = "endpointslicemirroring-controller.k8s.io";
                made.push(slice(service, manager, family, number, ports.to_vec(), endpoints.to_vec()));
            }
        }
    }
    made
}

/// One slice; `number` and the ports tell the slices of one service apart.
fn slice(
    service: &Arc<Object>,
    manager: &str,
    family: &str,
    number: usize,
    ports: Vec<Value>,
    endpoints: Vec<Value>,
) -> Made {
    let Key { namespace, name, .. } = &service.key;
    let ports = Value::Array(ports);
    let hash =
        Hasher::new("slice").part(namespace).part(name).part(family).number(number as u64).value(&ports);
    let slice_name = format!("{name}-{}", letters(hash.finish(), 5));
    let uid = |kind, name| crate::hash::uid(kind, namespace, name);
    let service_uid =
        text_at(&service.value, "/metadata/uid").map_or_else(|| uid("Service", name), str::to_owned);
    let value = json!({
        "apiVersion": API_VERSION,
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name,
            "generateName": format!("{name}-"),
            "namespace": namespace,
            "uid": uid("EndpointSlice", &slice_name),
            "labels": {SERVICE_NAME: name, MANAGED_BY: manager},
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Service",
                "name": name,
                "uid": service_uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    });
    (Arc::clone(service), slice_name, value)
}
