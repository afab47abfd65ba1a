//! Who a client says it is.

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

    pub(super) fn from_proto(node: proto::discovery::Node) -> Self {
        let fields = node.metadata.unwrap_or_default().fields;
        let metadata = fields.into_iter().filter_map(|(key, value)| match value.kind {
            Some(prost_types::value::Kind::StringValue(text)) => Some((key, text)),
            _ => None,
        });
        Self { id: node.id, cluster: node.cluster, metadata: metadata.collect() }
    }

    /// Bytes of all its texts.
    pub(super) fn bytes(&self) -> usize {
        let metadata: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.id.len() + self.cluster.len() + metadata
    }
}
