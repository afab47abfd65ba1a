//! Random edits of a cluster, by seed.

mod pods;
mod policies;
mod services;
mod settings;

use crate::cluster::{Cluster, status_of};
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
const CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";
const REQUIRE: &str = "ambient.pilothouse.io/require-waypoint";
const REQUIRES: [&str; 3] = ["true", "false", "often"];
const GATEWAYS: [&str; 2] = ["g0", "g1"];
const CLASSES: [&str; 2] = ["istio-waypoint", "istio-remote"];
/// Names of gateways, one of which is never there.
const WAYPOINTS: [&str; 4] = ["g0", "g1", "none", "absent"];

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
}
