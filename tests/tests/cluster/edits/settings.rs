//! What much of the mesh depends on: settings, namespaces, gateways, nodes.

use super::{CANARY_WEIGHT, CLASSES, Edits, GATEWAYS, NAMESPACES, REQUIRE, REQUIRES, SYSTEM};
use crate::cluster::{Cluster, SETTINGS, settings};
use rand::Rng;
use serde_json::{Map, Value, json};

/// Discovery selectors that leave nothing out.
const EVERYTHING: &str = "[]";
/// Service scopes as most meshes have them.
const GLOBAL_BY_LABEL: &str =
    "[{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]";

impl Edits {
    pub(super) async fn namespace(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let name = self.pick(&NAMESPACES);
        let mut labels = Map::new();
        self.maybe(&mut labels, "team", 70, &["red", "blue"]);
        self.waypoint_labels(&mut labels);
        if name == SYSTEM {
            self.maybe(&mut labels, "topology.istio.io/network", 40, &["net-1", "net-2"]);
        }
        let mut annotations = Map::new();
        self.maybe(&mut annotations, "networking.istio.io/traffic-distribution", 20, &["PreferClose"]);
        self.maybe(&mut annotations, CANARY_WEIGHT, 30, &["10", "100", "many"]);
        self.maybe(&mut annotations, REQUIRE, 30, &REQUIRES);
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        cluster.apply(&object).await.map(drop)
    }

    pub(super) async fn gateway(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.pick(&GATEWAYS));
        let (mut labels, mut annotations) = (Map::new(), Map::new());
        if name == GATEWAYS[0] {
            // Another control plane gives it the addresses below; those of the others are written by this one.
            labels.insert("istio.io/rev".to_owned(), json!("elsewhere"));
        }
        let traffic = ["service", "workload", "all", "none"];
        self.maybe(&mut labels, "istio.io/waypoint-for", 60, &traffic);
        self.maybe(&mut labels, "topology.istio.io/network", 40, &["net-1", "net-2"]);
        self.maybe(
            &mut annotations,
            "ambient.istio.io/waypoint-inbound-binding",
            25,
            &["PROXY/15088", "NONE"],
        );
        let from = match self.random.random_range(0..3) {
            0 => json!({"from": "All"}),
            1 => json!({"from": "Same"}),
            _ => json!({"from": "Selector", "selector": {"matchLabels": {"team": "red"}}}),
        };
        let address = match self.random.random_range(0..4) {
            0 => json!([]),
            1 => json!([{"type": "IPAddress", "value": self.address(23)}]),
            _ => json!([{"type": "Hostname", "value": format!("{name}.{namespace}.svc.cluster.local")}]),
        };
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": {
                "gatewayClassName": self.pick(&["istio-waypoint", "istio-waypoint", "istio-remote"]),
                "listeners": [{
                    "name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": {"namespaces": from},
                }],
            },
            "status": {"addresses": address},
        });
        self.write(cluster, object).await
    }

    pub(super) async fn gateway_class(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let name = self.pick(&CLASSES);
        let mut labels = Map::new();
        self.maybe(&mut labels, "istio.io/waypoint-for", 60, &["service", "workload", "all"]);
        let controller =
            if name == CLASSES[0] { "istio.io/mesh-controller" } else { "istio.io/unmanaged-gateway" };
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": name, "labels": labels},
            "spec": {"controllerName": controller},
        });
        self.write(cluster, object).await
    }

    pub(super) async fn settings(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let root = self.pick(&[SYSTEM, SYSTEM, "n0"]);
        let domain = self.pick(&["cluster.local", "mesh.test"]);
        let discovery = self.pick(&[
            EVERYTHING,
            EVERYTHING,
            "[{matchLabels: {team: red}}]",
            "[{matchExpressions: [{key: team, operator: NotIn, values: [blue]}]}]",
            "[{matchLabels: {team: red}}, {matchLabels: {kubernetes.io/metadata.name: n1}}]",
        ]);
        let visibility = self.pick(&["PUBLIC", "PUBLIC", "NAMESPACE", "NONE"]);
        let scopes = self.pick(&[
            GLOBAL_BY_LABEL,
            GLOBAL_BY_LABEL,
            "[]",
            "[{scope: LOCAL}, {scope: GLOBAL, namespaceSelector: {matchLabels: {team: red}}}]",
        ]);
        self.write(cluster, mesh_settings(root, domain, discovery, visibility, scopes)).await
    }

    /// Sets what every resource depends on: two meshes that were set so can be compared.
    pub async fn level(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let settings = mesh_settings(SYSTEM, "cluster.local", EVERYTHING, "PUBLIC", GLOBAL_BY_LABEL);
        cluster.apply(&settings).await?;
        self.there.insert(("ConfigMap", SYSTEM.to_owned(), SETTINGS.to_owned()), settings);
        // Without the label that names the network.
        let metadata = json!({"name": SYSTEM, "labels": {"team": "red"}});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        cluster.apply(&namespace).await.map(drop)
    }

    pub(super) async fn node(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let name = self.name("node-", 3);
        let mut labels = Map::new();
        self.maybe(&mut labels, "topology.kubernetes.io/region", 70, &["r1", "r2"]);
        self.maybe(&mut labels, "topology.kubernetes.io/zone", 70, &["z1", "z2"]);
        let metadata = json!({"name": name, "labels": labels});
        self.write(cluster, json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata})).await
    }
}

fn mesh_settings(root: &str, domain: &str, discovery: &str, visibility: &str, scopes: &str) -> Value {
    let mesh = format!(
        "rootNamespace: {root}\ntrustDomain: {domain}\ndiscoverySelectors: {discovery}\n\
         serviceScopeConfigs: {scopes}\n\
         serviceEntryVisibility: {{policies: [{{visibility: {visibility}, matchingRules: \
         [{{namespaceSelector: {{matchLabels: {{team: red}}}}}}]}}]}}\n"
    );
    settings(SYSTEM, &mesh)
}
