//! Who a client says it is.

use prost_types::Value;
use prost_types::value::Kind;
use std::collections::BTreeMap;

/// Who a client is, from the first request of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `<role>~<ip>~<pod>.<namespace>~<domain>`.
    pub id: String,
    /// Group of the proxy.
    pub cluster: String,
    /// Properties that are strings, such as `NAMESPACE`, `NODE_NAME` and `CLUSTER_ID`.
    pub metadata: BTreeMap<String, String>,
    /// The labels of its pod, from the property `LABELS`.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// The first part of the id: `ztunnel`, `waypoint`, `sidecar`, `router`.
    pub fn role(&self) -> &str {
        self.id.split('~').next().unwrap_or_default()
    }

    /// A property; empty when there is none.
    pub fn property(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }

    /// A label of its pod; empty when it names none of this key.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    pub(super) fn from_proto(node: proto::discovery::Node) -> Self {
        let mut fields = node.metadata.unwrap_or_default().fields;
        let labels = match fields.remove(LABELS).and_then(|value| value.kind) {
            Some(Kind::StructValue(labels)) => texts(labels.fields),
            _ => BTreeMap::new(),
        };
        Self { id: node.id, cluster: node.cluster, metadata: texts(fields), labels }
    }

    /// Bytes of all its texts.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.metadata.iter().chain(&self.labels);
        self.id.len() + self.cluster.len() + texts.map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }
}

/// The property that is not a text, but has the labels of the pod.
const LABELS: &str = "LABELS";

/// The values of a struct that are texts.
fn texts(fields: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let text = |(key, value): (String, Value)| match value.kind {
        Some(Kind::StringValue(text)) => Some((key, text)),
        _ => None,
    };
    fields.into_iter().filter_map(text).collect()
}
