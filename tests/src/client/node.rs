//! What a ztunnel says about itself in the first request of each type.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The identity of a ztunnel as it stands in its node message.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind of proxy.
    pub role: String,
    /// Its pod's address; a ztunnel without one says `1.1.1.1`.
    pub ip: String,
    /// Its pod's name.
    pub pod: String,
    /// Its pod's namespace: checked against the caller's identity.
    pub namespace: String,
    /// The Kubernetes node it serves: decides which workloads are pushed unasked on demand.
    pub node_name: String,
    /// Further metadata, such as `CLUSTER_ID` and `NETWORK`.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// A ztunnel in `istio-system` on the given Kubernetes node.
    pub fn ztunnel(node_name: &str) -> Self {
        Self {
            role: "ztunnel".to_owned(),
            ip: "1.1.1.1".to_owned(),
            pod: format!("ztunnel-{node_name}"),
            namespace: "istio-system".to_owned(),
            node_name: node_name.to_owned(),
            metadata: BTreeMap::new(),
        }
    }

    /// The node identifier: `<role>~<ip>~<pod>.<namespace>~<namespace>.svc.cluster.local`.
    pub fn id(&self) -> String {
        let Self { role, ip, pod, namespace, .. } = self;
        format!("{role}~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local")
    }

    /// The node message, as sent.
    pub fn to_message(&self) -> proto::discovery::Node {
        let known = [
            ("NAME", &self.pod),
            ("NAMESPACE", &self.namespace),
            ("INSTANCE_IPS", &self.ip),
            ("NODE_NAME", &self.node_name),
        ];
        let extra = self.metadata.iter().map(|(key, value)| (key.as_str(), value));
        let fields = known
            .into_iter()
            .chain(extra)
            .map(|(key, value)| (key.to_owned(), Value { kind: Some(Kind::StringValue(value.clone())) }))
            .collect();
        proto::discovery::Node { id: self.id(), metadata: Some(Struct { fields }), ..Default::default() }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::ztunnel("node-1")
    }
}
