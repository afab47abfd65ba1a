//! Random edits of a cluster, by seed.

use crate::cluster::{Cluster, SETTINGS, settings, status_of};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The namespace of the control plane, at times the root namespace too.
pub const SYSTEM: &str = "istio-system";
/// Every namespace with objects of the mesh.
pub const NAMESPACES: [&str; 4] = ["n0", "n1", "n2", SYSTEM];
const APPS: [&str; 3] = ["a", "b", "c"];
const VERSIONS: [&str; 2] = ["v1", "v2"];
/// Discovery selectors that leave nothing out.
const EVERYTHING: &str = "[]";
/// Service scopes as most meshes have them.
const GLOBAL_BY_LABEL: &str =
    "[{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]";
const CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";
const REQUIRE: &str = "ambient.pilothouse.io/require-waypoint";
const REQUIRES: [&str; 3] = ["true", "false", "often"];
const GATEWAYS: [&str; 2] = ["g0", "g1"];

/// Makes edits; knows what is there, so that each edit is one that the API server takes.
pub struct Edits {
    random: StdRng,
    /// What was written of each object that there is, by kind, namespace and name.
    there: BTreeMap<(&'static str, String, String), Value>,
    /// The uid of each pod that there is.
    uids: BTreeMap<(String, String), Value>,
    addresses: u32,
}

impl Edits {
    /// Starts with an empty cluster. Equal seeds make equal edits.
    pub fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { random, there: BTreeMap::new(), uids: BTreeMap::new(), addresses: 0 }
    }

    /// Makes one edit.
    pub async fn edit(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        match self.random.random_range(0..100) {
            0..28 => self.pod(cluster).await,
            28..36 => self.service_entry(cluster).await,
            36..42 => self.workload_entry(cluster).await,
            42..52 => self.service(cluster).await,
            52..59 => self.slice(cluster).await,
            59..72 => self.authorization_policy(cluster).await,
            72..79 => self.peer_authentication(cluster).await,
            79..86 => self.namespace(cluster).await,
            86..93 => self.gateway(cluster).await,
            93..95 => self.gateway_class(cluster).await,
            95..98 => self.settings(cluster).await,
            _ => self.node(cluster).await,
        }
    }

    // === choices ===

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        // No list here is empty.
        *of.choose(&mut self.random).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn name(&mut self, prefix: &str, count: u32) -> String {
        format!("{prefix}{}", self.random.random_range(0..count))
    }

    /// Adds one of the values, or none.
    fn maybe(&mut self, map: &mut Map<String, Value>, key: &str, percent: u32, values: &[&str]) {
        if self.chance(percent) {
            map.insert(key.to_owned(), json!(self.pick(values)));
        }
    }

    fn address(&mut self, net: u8) -> String {
        self.addresses += 1;
        let [_, _, high, low] = self.addresses.to_be_bytes();
        format!("10.{net}.{high}.{low}")
    }

    // === objects ===

    /// Writes the object, or deletes it: at times, if it is there.
    async fn write(&mut self, cluster: &Cluster, object: Value) -> anyhow::Result<()> {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            text.to_owned()
        };
        let kind = match object["kind"].as_str() {
            Some("Service") => "Service",
            Some("EndpointSlice") => "EndpointSlice",
            Some("ServiceEntry") => "ServiceEntry",
            Some("WorkloadEntry") => "WorkloadEntry",
            Some("AuthorizationPolicy") => "AuthorizationPolicy",
            Some("PeerAuthentication") => "PeerAuthentication",
            Some("Gateway") => "Gateway",
            Some("GatewayClass") => "GatewayClass",
            Some("ConfigMap") => "ConfigMap",
            _ => "Node",
        };
        let key = (kind, text("/metadata/namespace"), text("/metadata/name"));
        if self.there.contains_key(&key) && self.chance(25) {
            self.there.remove(&key);
            return cluster.delete(&object).await;
        }
        // Applied over another one, an empty selector would become null.
        if self.there.contains_key(&key) && object["spec"]["selector"]["matchLabels"] == json!({}) {
            cluster.delete(&object).await?;
        }
        cluster.apply(&object).await?;
        if object.get("status").is_some() {
            cluster.apply_status(&status_of(&object)).await?;
        }
        self.there.insert(key, object);
        Ok(())
    }

    fn pod_labels(&mut self) -> Value {
        let mut labels = Map::new();
        self.maybe(&mut labels, "app", 90, &APPS);
        self.maybe(&mut labels, "version", 50, &VERSIONS);
        self.maybe(&mut labels, "istio.io/use-waypoint", 12, &["g0", "g1", "none", "absent"]);
        self.maybe(&mut labels, "gateway.networking.k8s.io/gateway-name", 8, &GATEWAYS);
        self.maybe(&mut labels, "networking.istio.io/tunnel", 8, &["http", "other"]);
        Value::Object(labels)
    }

    fn annotations(&mut self) -> Value {
        let mut annotations = Map::new();
        self.maybe(&mut annotations, "ambient.istio.io/redirection", 70, &["enabled", "disabled"]);
        self.maybe(&mut annotations, REQUIRE, 8, &REQUIRES);
        Value::Object(annotations)
    }

    fn status(&mut self) -> Value {
        let ip = self.address(20);
        let ready = self.pick(&["True", "True", "False"]);
        json!({
            "phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "podIP": ip, "podIPs": [{"ip": ip}],
        })
    }

    async fn new_pod(&mut self, cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
        let (labels, annotations, status) = (self.pod_labels(), self.annotations(), self.status());
        let mut spec = json!({"containers": [
            {"name": "main", "image": "main", "ports": [{"name": "http", "containerPort": 8080}]},
        ]});
        if self.chance(60) {
            spec["nodeName"] = json!(self.name("node-", 3));
        }
        if self.chance(10) {
            spec["hostNetwork"] = json!(true);
            spec["containers"][0]["ports"][0]["hostPort"] = json!(8080);
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": spec, "status": status,
        });
        // A pod without an address is one that has just been created.
        let stored = if self.chance(90) { cluster.pod(&pod).await? } else { cluster.apply(&pod).await? };
        let place = (namespace.to_owned(), name.to_owned());
        self.uids.insert(place.clone(), stored["metadata"]["uid"].clone());
        self.there.insert(("Pod", place.0, place.1), pod);
        Ok(())
    }

    async fn pod(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let namespace = self.pick(&NAMESPACES);
        let name = self.name("p", 8);
        let key = ("Pod", namespace.to_owned(), name.clone());
        let Some(mut pod) = self.there.get(&key).cloned() else {
            return self.new_pod(cluster, namespace, &name).await;
        };
        let (is_ending, is_done) = (pod.get("ending").is_some(), pod["status"]["phase"] == "Succeeded");
        match self.random.random_range(0..100) {
            0..25 => {
                self.there.remove(&key);
                self.uids.remove(&(key.1, key.2));
                cluster.delete(&pod).await?;
                if self.chance(30) {
                    return self.new_pod(cluster, namespace, &name).await;
                }
                return Ok(());
            }
            // A pod on a node that runs is kept until the node has ended it; here no node does.
            25..35 if !is_ending && !is_done && pod["spec"].get("nodeName").is_some() => {
                cluster.terminate(&pod).await?;
                pod["ending"] = json!(true);
            }
            25..40 => {
                pod["status"]["phase"] = json!("Succeeded");
                pod["status"]["conditions"][0]["status"] = json!("False");
                cluster.apply_status(&status_of(&pod)).await?;
            }
            40..65 => {
                pod["metadata"]["labels"] = self.pod_labels();
                cluster.apply(&written(&pod)).await?;
            }
            65..75 => {
                pod["metadata"]["annotations"] = self.annotations();
                cluster.apply(&written(&pod)).await?;
            }
            _ if is_done => {
                pod["metadata"]["labels"] = self.pod_labels();
                cluster.apply(&written(&pod)).await?;
            }
            _ => {
                let ip = pod["status"]["podIP"].clone();
                pod["status"] = self.status();
                if self.chance(80) {
                    pod["status"]["podIPs"] = json!([{"ip": ip}]);
                    pod["status"]["podIP"] = ip;
                }
                cluster.apply_status(&status_of(&pod)).await?;
            }
        }
        self.there.insert(key, pod);
        Ok(())
    }

    async fn service(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let namespace = self.pick(&NAMESPACES);
        let name = self.name("s", 4);
        let mut labels = Map::new();
        self.waypoint_labels(&mut labels);
        self.maybe(&mut labels, "istio.io/global", 60, &["true", "false"]);
        let mut annotations = Map::new();
        self.maybe(&mut annotations, CANARY_WEIGHT, 30, &["10", "100", "many"]);
        self.maybe(&mut annotations, REQUIRE, 30, &REQUIRES);
        let distributions = ["PreferClose", "PreferSameNode", "unknown"];
        self.maybe(&mut annotations, "networking.istio.io/traffic-distribution", 20, &distributions);
        let target =
            self.pick(&[TargetPort::Name("http"), TargetPort::Name("absent"), TargetPort::Number(8080)]);
        let mut spec = json!({
            "ports": [
                {"name": "http", "port": 80, "targetPort": target},
                {"name": "tcp", "port": 9000, "appProtocol": self.pick(&["tcp", "kubernetes.io/h2c"])},
            ],
            "publishNotReadyAddresses": self.chance(25),
            "internalTrafficPolicy": self.pick(&["Cluster", "Cluster", "Local"]),
        });
        if self.chance(20) {
            spec["trafficDistribution"] = json!(self.pick(&["PreferSameZone", "PreferSameNode"]));
        }
        // What is headless is so from its beginning.
        if name == "s3" {
            spec["clusterIP"] = json!("None");
        }
        match self.random.random_range(0..10) {
            0..6 => spec["selector"] = json!({"app": self.pick(&APPS)}),
            6..8 => spec["selector"] = json!({"app": self.pick(&APPS), "version": self.pick(&VERSIONS)}),
            _ => {}
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    /// Adds what binds a service to waypoints.
    fn waypoint_labels(&mut self, labels: &mut Map<String, Value>) {
        self.maybe(labels, "istio.io/use-waypoint", 40, &["g0", "g1", "none"]);
        self.maybe(labels, "istio.io/use-waypoint-namespace", 20, &["n0", "n1"]);
        self.maybe(labels, "istio.io/use-waypoint-canary", 20, &["g0", "g1"]);
        self.maybe(labels, "istio.io/use-waypoint-canary-namespace", 10, &["n0", "n1"]);
        self.maybe(labels, "istio.io/ingress-use-waypoint", 20, &["true", "false"]);
    }

    /// What an endpoint of a ServiceEntry and a WorkloadEntry have alike.
    fn endpoint(&mut self, address: String) -> Map<String, Value> {
        let mut endpoint = Map::new();
        endpoint.insert("address".to_owned(), json!(address));
        self.maybe(&mut endpoint, "network", 40, &["net-1", "net-2"]);
        self.maybe(&mut endpoint, "serviceAccount", 50, &["a", "b"]);
        self.maybe(&mut endpoint, "locality", 30, &["r1", "r1/z1", "r2/z2/s"]);
        if self.chance(30) {
            endpoint.insert("weight".to_owned(), json!(self.random.random_range(1..5)));
        }
        if self.chance(50) {
            endpoint.insert("ports".to_owned(), json!({"http": 8080}));
        }
        endpoint
    }

    async fn service_entry(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("e", 4));
        let resolution = self.pick(&["STATIC", "STATIC", "DNS", "DYNAMIC_DNS", "NONE"]);
        // Few hosts, so that entries and services contend for them.
        let mut hosts = vec![self.pick(&["h0.test", "h1.test", "s0.n0.svc.cluster.local"])];
        if self.chance(30) {
            hosts.push("h2.test");
        }
        if resolution == "DYNAMIC_DNS" {
            hosts = vec!["*.wild.test"];
        }
        let mut labels = Map::new();
        self.waypoint_labels(&mut labels);
        self.maybe(&mut labels, "app", 40, &APPS);
        self.maybe(&mut labels, "istio.io/rev", 6, &["other", "default"]);
        self.maybe(&mut labels, "networking.istio.io/enable-autoallocate-ip", 20, &["false"]);
        let mut spec = json!({
            "hosts": hosts, "resolution": resolution,
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        });
        if resolution != "DYNAMIC_DNS" && self.chance(50) {
            spec["addresses"] = json!([self.address(30)]);
        }
        match resolution {
            "STATIC" if self.chance(60) => {
                spec["workloadSelector"] = json!({"labels": {"app": self.pick(&APPS)}});
            }
            "STATIC" => {
                let address = format!("10.31.0.{}", self.random.random_range(1..9));
                spec["endpoints"] = json!([self.endpoint(address)]);
            }
            "DNS" if self.chance(50) => {
                spec["endpoints"] = json!([self.endpoint("one.test".to_owned())]);
            }
            _ => {}
        }
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    async fn workload_entry(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("w", 4));
        let address = if self.chance(80) { self.address(32) } else { "vm.test".to_owned() };
        let mut spec = self.endpoint(address);
        let labels = self.pod_labels();
        if self.chance(50) {
            spec.insert("labels".to_owned(), json!({"app": self.pick(&APPS)}));
        }
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {
                "name": name, "namespace": namespace, "labels": labels, "annotations": self.annotations(),
            },
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    async fn slice(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let namespace = self.pick(&NAMESPACES);
        let (name, service) = (self.name("x", 4), self.name("s", 4));
        let mut endpoints = Vec::new();
        for _ in 0..self.random.random_range(0..4) {
            let ready = self.chance(70);
            let pods: Vec<_> = self.uids.iter().filter(|((ns, _), _)| ns == namespace).collect();
            let pod = pods.choose(&mut self.random).map(|((_, name), uid)| (name.clone(), (*uid).clone()));
            let mut endpoint = json!({"conditions": {"ready": ready}});
            match pod {
                Some((pod, uid)) if self.chance(60) => {
                    // At times it is the uid of an earlier pod of that name.
                    let old = json!("00000000-0000-4000-8000-000000000001");
                    let uid = if self.chance(80) { uid } else { old };
                    endpoint["targetRef"] =
                        json!({"kind": "Pod", "namespace": namespace, "name": pod, "uid": uid});
                    endpoint["addresses"] = json!([self.address(21)]);
                }
                _ => endpoint["addresses"] = json!([format!("10.22.0.{}", self.random.random_range(1..9))]),
            }
            endpoints.push(endpoint);
        }
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        self.write(cluster, object).await
    }

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

    async fn authorization_policy(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("a", 3));
        let rules: Vec<Value> = (0..self.random.random_range(0..3)).map(|_| self.rule()).collect();
        let mut spec =
            json!({"action": self.pick(&["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]), "rules": rules});
        if self.chance(12) {
            let group = "gateway.networking.k8s.io";
            spec["targetRefs"] = json!([{"group": group, "kind": "Gateway", "name": self.pick(&GATEWAYS)}]);
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

    async fn peer_authentication(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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

    async fn namespace(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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

    async fn gateway(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.pick(&GATEWAYS));
        let (mut labels, mut annotations) = (Map::new(), Map::new());
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

    async fn gateway_class(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let name = self.pick(&["istio-waypoint", "istio-remote"]);
        let mut labels = Map::new();
        self.maybe(&mut labels, "istio.io/waypoint-for", 60, &["service", "workload", "all"]);
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": name, "labels": labels},
            "spec": {"controllerName": format!("istio.io/{name}")},
        });
        self.write(cluster, object).await
    }

    async fn settings(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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

    async fn node(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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

/// A target port: a name or a number.
#[derive(Clone, Copy, serde::Serialize)]
#[serde(untagged)]
enum TargetPort {
    Name(&'static str),
    Number(u16),
}

/// Returns a pod as it is written: without what is only known of it here.
fn written(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(fields) = pod.as_object_mut() {
        fields.remove("ending");
        fields.remove("status");
    }
    pod
}
