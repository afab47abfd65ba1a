//! Policies.

use super::{APPS, CLASSES, Edits, GATEWAYS, NAMESPACES, VERSIONS};
use crate::cluster::Cluster;
use rand::Rng;
use serde_json::{Map, Value, json};

impl Edits {
    fn selector(&mut self) -> Option<Value> {
        match self.random.random_range(0..10) {
            0..5 => Some(json!({"app": self.pick(&APPS)})),
            5..7 => Some(json!({"app": self.pick(&APPS), "version": self.pick(&VERSIONS)})),
            7 => Some(json!({})),
            _ => None,
        }
    }

    fn rule(&mut self) -> Value {
        let namespace = self.pick(&NAMESPACES);
        match self.random.random_range(0..9) {
            0 => json!({}),
            1 => {
                let principal = format!("cluster.local/ns/{namespace}/sa/default");
                json!({"from": [{"source": {"principals": [principal]}}]})
            }
            2 => json!({"from": [{"source": {"notNamespaces": [namespace]}}]}),
            3 => json!({"from": [{"source": {"ipBlocks": ["10.20.0.0/16"]}}]}),
            4 => json!({"from": [{"source": {"ipBlocks": ["10.20.0.0/99"]}}]}),
            5 => json!({"to": [{"operation": {"ports": ["8080"], "notPorts": ["80"]}}]}),
            6 => json!({"to": [{"operation": {"methods": ["GET"]}}]}),
            7 => json!({"when": [{"key": "source.namespace", "values": [namespace]}]}),
            _ => json!({"when": [{"key": "nobody.knows", "values": [namespace]}]}),
        }
    }

    fn target(&mut self) -> Value {
        let (group, kind, name) = match self.random.random_range(0..4) {
            0 => ("gateway.networking.k8s.io", "Gateway", self.pick(&GATEWAYS).to_owned()),
            1 => ("gateway.networking.k8s.io", "GatewayClass", self.pick(&CLASSES).to_owned()),
            2 => ("", "Service", self.name("s", 4)),
            _ => ("networking.istio.io", "ServiceEntry", self.name("e", 4)),
        };
        json!({"group": group, "kind": kind, "name": name})
    }

    pub(super) async fn authorization_policy(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("a", 3));
        let rules: Vec<Value> = (0..self.random.random_range(0..3)).map(|_| self.rule()).collect();
        let mut spec =
            json!({"action": self.pick(&["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]), "rules": rules});
        if self.chance(25) {
            let count = self.pick(&[1, 1, 2, 3]);
            spec["targetRefs"] = (0..count).map(|_| self.target()).collect();
        } else if let Some(labels) = self.selector() {
            spec["selector"] = json!({"matchLabels": labels});
        }
        let (mut labels, mut annotations) = (Map::new(), Map::new());
        self.maybe(&mut labels, "istio.io/rev", 8, &["other", "default"]);
        self.maybe(&mut annotations, "istio.io/dry-run", 8, &["true", "false"]);
        let object = json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    pub(super) async fn peer_authentication(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("m", 3));
        let modes = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET"];
        let mut spec = json!({"mtls": {"mode": self.pick(&modes)}});
        if let Some(labels) = self.selector() {
            if labels != json!({}) && self.chance(50) {
                spec["portLevelMtls"] = json!({"8080": {"mode": self.pick(&modes)}});
            }
            spec["selector"] = json!({"matchLabels": labels});
        }
        let object = json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        });
        self.write(cluster, object).await
    }
}
