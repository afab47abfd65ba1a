//! Pods.

use super::{APPS, Edits, GATEWAYS, NAMESPACES, REQUIRE, REQUIRES, VERSIONS, WAYPOINTS};
use crate::cluster::{Cluster, status_of};
use rand::Rng;
use serde_json::{Map, Value, json};

impl Edits {
    pub(super) fn pod_labels(&mut self) -> Value {
        let mut labels = Map::new();
        self.maybe(&mut labels, "app", 90, &APPS);
        self.maybe(&mut labels, "version", 50, &VERSIONS);
        self.maybe(&mut labels, "istio.io/use-waypoint", 12, &WAYPOINTS);
        self.maybe(&mut labels, "istio.io/use-waypoint-namespace", 8, &["n0", "n1"]);
        self.maybe(&mut labels, "gateway.networking.k8s.io/gateway-name", 8, &GATEWAYS);
        self.maybe(&mut labels, "networking.istio.io/tunnel", 8, &["http", "other"]);
        Value::Object(labels)
    }

    pub(super) fn annotations(&mut self) -> Value {
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

    pub(super) async fn pod(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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
