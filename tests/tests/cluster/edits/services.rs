//! Services, what is external, and endpoints.

use super::{APPS, CANARY_WEIGHT, Edits, NAMESPACES, REQUIRE, REQUIRES, VERSIONS, WAYPOINTS};
use crate::cluster::Cluster;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

impl Edits {
    pub(super) async fn service(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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
        // A datagram port, which no waypoint stands before.
        if self.chance(20) {
            ports(&mut spec).push(json!({"name": "udp", "port": 53, "protocol": "UDP"}));
        }
        if self.chance(10) {
            spec = json!({"type": "ExternalName", "externalName": "one.test", "ports": spec["ports"]});
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    /// Adds what binds a service to waypoints.
    pub(super) fn waypoint_labels(&mut self, labels: &mut Map<String, Value>) {
        self.maybe(labels, "istio.io/use-waypoint", 40, &WAYPOINTS);
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

    pub(super) async fn service_entry(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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
        let mut annotations = Map::new();
        self.maybe(&mut annotations, CANARY_WEIGHT, 30, &["10", "100", "many"]);
        self.maybe(&mut annotations, REQUIRE, 30, &REQUIRES);
        self.maybe(&mut annotations, "istio.io/connect-strategy", 20, &["RACE_FIRST_TCP_CONNECT", "DEFAULT"]);
        let mut spec = json!({
            "hosts": hosts, "resolution": resolution,
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        });
        if self.chance(20) {
            ports(&mut spec).push(json!({"number": 53, "name": "udp", "protocol": "UDP"}));
        }
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
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": spec,
        });
        self.write(cluster, object).await
    }

    pub(super) async fn workload_entry(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (namespace, name) = (self.pick(&NAMESPACES), self.name("w", 4));
        let address = if self.chance(80) { self.address(32) } else { "vm.test".to_owned() };
        let mut spec = self.endpoint(address);
        let mut labels = self.pod_labels();
        if self.chance(10) {
            labels["istio.io/rev"] = json!(self.pick(&["other", "default"]));
        }
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

    pub(super) async fn slice(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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
}

/// Returns the ports of a service.
fn ports(spec: &mut Value) -> &mut Vec<Value> {
    spec["ports"].as_array_mut().unwrap()
}

/// A target port: a name or a number.
#[derive(Clone, Copy, serde::Serialize)]
#[serde(untagged)]
enum TargetPort {
    Name(&'static str),
    Number(u16),
}
