//! Nodes: those of the folder, or three of our own in three zones.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::json;

use super::address::Addresses;
use super::objects::{add, items_at, labels_at, of_kind, text_at};
use crate::hash::Hasher;
use crate::{Key, Objects};

/// A node that pods can be placed on.
pub(super) struct Node {
    pub(super) name: String,
    /// The address of the node, which pods in the host's network have too.
    pub(super) address: Option<String>,
    labels: BTreeMap<String, String>,
    schedulable: bool,
}

/// The nodes of the cluster, in order of their names; adds three if the folder declares none.
pub(super) struct Nodes {
    all: Vec<Node>,
}

/// Collects the nodes.
pub(super) fn complete(objects: &mut Objects, addresses: &mut Addresses) -> Nodes {
    if of_kind(objects, "", "Node").next().is_none() {
        for (number, zone) in [(1u8, "zone-a"), (2, "zone-b"), (3, "zone-c")] {
            let name = format!("node-{number}");
            let address = Ipv4Addr::new(172, 18, 0, number + 1);
            let value = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/region": "region-1",
                    "topology.kubernetes.io/zone": zone,
                }},
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": address.to_string()},
                        {"type": "Hostname", "address": name},
                    ],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            add(objects, "v1", Key::new("", "Node", "", &name), value, None);
        }
    }
    let all = of_kind(objects, "", "Node")
        .map(|object| {
            let stated = items_at(&object.value, "/status/addresses")
                .iter()
                .find(|address| text_at(address, "/type") == Some("InternalIP"))
                .and_then(|address| text_at(address, "/address"))
                .map(str::to_owned);
            Node {
                name: object.key.name.clone(),
                address: stated.or_else(|| {
                    let hash = Hasher::new("node address").part(&object.key.name).finish();
                    addresses.node(hash).map(|address| address.to_string())
                }),
                labels: labels_at(&object.value, "/metadata/labels")
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                schedulable: object.value.pointer("/spec/unschedulable") != Some(&json!(true)),
            }
        })
        .collect();
    Nodes { all }
}

impl Nodes {
    /// The node of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.all.iter().find(|node| node.name == name)
    }

    /// The nodes that pods with this selector may be placed on. A selector that no node fulfils is
    /// not held against the pods: folders seldom say what the nodes of the cluster are like.
    pub(super) fn eligible(&self, selector: &BTreeMap<&str, &str>) -> Vec<&Node> {
        let fits = |node: &&Node| {
            selector.iter().all(|(name, value)| node.labels.get(*name).is_some_and(|label| label == value))
        };
        let best: Vec<&Node> = self.all.iter().filter(|node| node.schedulable).filter(fits).collect();
        if !best.is_empty() {
            return best;
        }
        let schedulable: Vec<&Node> = self.all.iter().filter(|node| node.schedulable).collect();
        if schedulable.is_empty() { self.all.iter().collect() } else { schedulable }
    }
}
