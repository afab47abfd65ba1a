//! Random manifests of few names, so that they collide, hide and select each other.
//!
//! A manifest is drawn from bytes: the first choice of each list is the plainest, so that a failing
//! case shrinks to plain objects.

use model::Event;
use model::Kind;
use serde_json::{Map, Value, json};

pub const NAMESPACES: [&str; 3] = ["shop", "far", "istio-system"];
const NAMES: [&str; 2] = ["a", "b"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "fd00::1"];
const UIDS: [&str; 2] = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"];
/// Bytes that one manifest is drawn from; those beyond are zero.
pub const LENGTH: usize = 28;

/// Choices, one byte each.
pub struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn below(&mut self, end: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % end
    }

    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A map of some of `pairs`: each is left out or has one of its values.
    fn some(&mut self, pairs: &[(&str, &[&str])]) -> Map<String, Value> {
        let mut map = Map::new();
        for (key, values) in pairs {
            let n = self.below(values.len() + 1);
            if n > 0 {
                map.insert((*key).to_owned(), json!(values[n - 1]));
            }
        }
        map
    }

    /// One in `n`, zero being no.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// `metadata` of a namespaced object.
    pub fn metadata(&mut self, labels: &[(&str, &[&str])], annotations: &[(&str, &[&str])]) -> Value {
        let (namespace, name) = (self.pick(&NAMESPACES), self.pick(&NAMES));
        let created = self.pick(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]);
        json!({
            "namespace": namespace, "name": name, "creationTimestamp": created,
            "labels": self.some(labels), "annotations": self.some(annotations),
        })
    }
}

const APP: (&str, &[&str]) = ("app", &["a", "b"]);
const TIER: (&str, &[&str]) = ("tier", &["x"]);
const USE: (&str, &[&str]) = ("istio.io/use-waypoint", &["a", "b", "none"]);
const USE_NAMESPACE: (&str, &[&str]) = ("istio.io/use-waypoint-namespace", &["shop", "far"]);
const NETWORK: (&str, &[&str]) = ("topology.istio.io/network", &["net-a", "net-b"]);
const GLOBAL: (&str, &[&str]) = ("istio.io/global", &["true"]);
/// Networks of endpoints, the plainest being that of the cluster.
const NETWORKS: [&str; 4] = ["", "net-a", "net-b", "net-a"];
const REVISION: (&str, &[&str]) = ("istio.io/rev", &["canary", "stable"]);
const FOR: (&str, &[&str]) = ("istio.io/waypoint-for", &["all", "workload", "none"]);
const BINDING: (&str, &[&str]) =
    ("ambient.istio.io/waypoint-inbound-binding", &["PROXY/15088", "PROXY", "NONE"]);
const DISTRIBUTION: (&str, &[&str]) =
    ("networking.istio.io/traffic-distribution", &["PreferClose", "any", ""]);
const REQUIRE: (&str, &[&str]) = ("ambient.pilothouse.io/require-waypoint", &["true", "false", "often"]);
const MANAGED_BY: (&str, &[&str]) =
    ("endpointslice.kubernetes.io/managed-by", &["endpointslice-controller.k8s.io"]);
const CANARY: (&str, &[&str]) = ("istio.io/use-waypoint-canary", &["a", "b", "none"]);
const CANARY_NAMESPACE: (&str, &[&str]) = ("istio.io/use-waypoint-canary-namespace", &["shop", "far"]);
const CANARY_WEIGHT: (&str, &[&str]) = ("istio.io/use-waypoint-canary-weight", &["5", "101"]);
const GATEWAY: (&str, &[&str]) = ("gateway.networking.k8s.io/gateway-name", &NAMES);

/// What a source would tell of the manifest drawn from `bytes`.
pub fn event(kind: Kind, bytes: &[u8]) -> Event {
    event_of(kind, &drawn(kind, &mut Draw(bytes)))
}

/// What a source would tell of a manifest.
pub fn event_of(kind: Kind, manifest: &Value) -> Event {
    match model::parse(kind, manifest.to_string().as_bytes()) {
        Ok(object) => Event::Put(object),
        Err(diagnostic) => Event::Reject(diagnostic.object.clone().expect("a name"), diagnostic),
    }
}

/// Draws a manifest.
pub fn drawn(kind: Kind, d: &mut Draw<'_>) -> Value {
    match kind {
        Kind::Namespace => {
            let (mesh, ingress) =
                (("mesh", &["on", "off"][..]), ("istio.io/ingress-use-waypoint", &["true"][..]));
            json!({"metadata": {
                "name": d.pick(&NAMESPACES), "labels": d.some(&[mesh, USE, USE_NAMESPACE, NETWORK, ingress, CANARY]),
                "annotations": d.some(&[DISTRIBUTION, REQUIRE, CANARY_WEIGHT]),
            }})
        }
        Kind::Node => {
            let region = ("topology.kubernetes.io/region", &["r1", "r2"][..]);
            json!({"metadata": {"name": d.pick(&["n1", "n2"]), "labels": d.some(&[region])}})
        }
        Kind::ConfigMap => {
            let mesh = d.pick(&[
                "",
                "discoverySelectors: [{matchLabels: {mesh: \"on\"}}]",
                "rootNamespace: far",
                "trustDomain: example.org",
                "serviceEntryVisibility: {defaultVisibility: NAMESPACE}",
                "trustDomain: [",
                "trustDomain: Corp.Test",
                "serviceScopeConfigs: [{scope: GLOBAL, servicesSelector: {matchLabels: {istio.io/global: \"true\"}}}]",
                "serviceScopeConfigs: [{scope: LOCAL}, {scope: GLOBAL, namespaceSelector: {matchLabels: {mesh: \"on\"}}}]",
                "serviceScopeConfigs: [{scope: GLOBAL}]",
            ]);
            json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": mesh}})
        }
        Kind::Pod => pod(d),
        Kind::Service => service(d),
        Kind::EndpointSlice => slice(d),
        Kind::GatewayClass => json!({"metadata": {
            "name": d.pick(&["own", "istio-waypoint"]), "labels": d.some(&[FOR]), "annotations": d.some(&[BINDING]),
        }}),
        Kind::Gateway => gateway(d),
        Kind::AuthorizationPolicy => authorization_policy(d),
        Kind::PeerAuthentication => peer_authentication(d),
        Kind::ServiceEntry => service_entry(d),
        Kind::WorkloadEntry => {
            let metadata = d.metadata(
                &[APP, TIER, USE, GATEWAY, REVISION],
                &[("ambient.istio.io/redirection", &["enabled"]), REQUIRE],
            );
            let address = if d.rarely(12) {
                "10.0.0.1:80"
            } else {
                d.pick(&["10.0.0.1", "10.0.0.2", "host.example.org"])
            };
            let bad = if d.rarely(6) { json!("ten") } else { json!(8080) };
            let labels = d.some(&[TIER]);
            json!({"metadata": metadata, "spec": {
                "address": address, "labels": labels, "ports": {"http": bad}, "network": d.pick(&NETWORKS),
                "weight": d.pick(&[0, 0, 3]), "serviceAccount": d.pick(&["", "a", "b"]),
            }})
        }
        // What these are read as, their own properties try.
        _ => json!({"metadata": d.metadata(&[REVISION], &[])}),
    }
}

fn pod(d: &mut Draw<'_>) -> Value {
    let mut metadata = d.metadata(
        &[APP, TIER, USE, GATEWAY, ("networking.istio.io/tunnel", &["http"])],
        &[("ambient.istio.io/redirection", &["enabled", "pending"]), REQUIRE],
    );
    metadata["uid"] = json!(d.pick(&UIDS));
    let ready = d.pick(&["True", "False"]);
    let node = if d.rarely(8) { json!(7) } else { json!(d.pick(&["", "n1", "n2"])) };
    json!({
        "metadata": metadata,
        "spec": {
            "nodeName": node, "serviceAccountName": d.pick(&["default", "own"]), "hostNetwork": d.rarely(3),
            "containers": [{"ports": [{"name": d.pick(&["http", "admin"]), "containerPort": d.pick(&[8080, 8081])}]}],
        },
        "status": {
            "phase": d.pick(&["Running", "Running", "Succeeded"]), "podIP": d.pick(&ADDRESSES),
            "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

fn service(d: &mut Draw<'_>) -> Value {
    let managed = ("gateway.istio.io/managed", &["istio.io-mesh-controller"][..]);
    let metadata = d.metadata(
        &[USE, USE_NAMESPACE, CANARY, CANARY_NAMESPACE, managed, GLOBAL],
        &[DISTRIBUTION, REQUIRE, CANARY_WEIGHT],
    );
    let target = d.pick(&[json!(8080), json!("http"), json!("admin")]);
    let address = d.pick(&["10.1.0.1", "None", "fd01::1", "10.1.0.1", "ten"]);
    json!({
        "metadata": metadata,
        "spec": {
            "selector": d.some(&[APP, TIER]), "clusterIP": address,
            "type": d.pick(&["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"]),
            "ports": [{"name": d.pick(&["http", "tls"]), "port": d.pick(&[80, 3306]), "targetPort": target}],
            "publishNotReadyAddresses": d.rarely(2),
            "internalTrafficPolicy": d.pick(&["Cluster", "Local"]),
            "trafficDistribution": d.pick(&["", "PreferClose"]),
        },
    })
}

fn slice(d: &mut Draw<'_>) -> Value {
    let mut metadata = d.metadata(&[], &[]);
    metadata["labels"] = d.some(&[("kubernetes.io/service-name", &NAMES), MANAGED_BY]).into();
    let endpoints: Vec<Value> = (0..d.below(3))
        .map(|_| {
            let mut endpoint = json!({
                "addresses": [d.pick(&["10.0.0.1", "192.0.2.1", "10.0.0.2"])], "conditions": {"ready": !d.rarely(2)},
            });
            if d.rarely(2) {
                endpoint["targetRef"] = json!({"kind": "Pod", "name": d.pick(&NAMES), "uid": d.pick(&[UIDS[0], UIDS[1], ""])});
            }
            endpoint
        })
        .collect();
    let number = if d.rarely(8) { json!("http") } else { json!(d.pick(&[8080, 9000])) };
    json!({
        "metadata": metadata, "addressType": d.pick(&["IPv4", "IPv4", "FQDN"]), "endpoints": endpoints,
        "ports": [{"name": d.pick(&["http", "tls"]), "port": number, "protocol": "TCP"}],
    })
}

fn gateway(d: &mut Draw<'_>) -> Value {
    let metadata = d.metadata(&[FOR, NETWORK], &[BINDING, ("gateway.istio.io/service-account", &["own"])]);
    let from = d.pick(&[
        json!({"from": "All"}),
        json!({"from": "Same"}),
        json!({"from": "Selector", "selector": {"matchLabels": {"mesh": "on"}}}),
    ]);
    let addresses = d.pick(&[
        json!([{"type": "IPAddress", "value": "10.1.0.9"}]),
        json!([{"type": "Hostname", "value": "a.shop.svc"}, {"type": "IPAddress", "value": "10.1.0.9"}]),
        json!([{"type": "IPAddress", "value": "10.1.0.8"}]),
        json!([]),
        json!(7),
    ]);
    json!({
        "metadata": metadata,
        "spec": {
            "gatewayClassName": d.pick(&["istio-waypoint", "istio-remote", "own", "istio-remote"]),
            "listeners": [{"port": d.pick(&[15008, 15088]), "protocol": "HBONE", "allowedRoutes": {"namespaces": from}}],
        },
        "status": {"addresses": addresses},
    })
}

fn selector(d: &mut Draw<'_>) -> Value {
    d.pick(&[
        json!(null),
        json!({"matchLabels": {"app": "a"}}),
        json!({"matchLabels": {"app": "a", "tier": "x"}}),
        json!({"matchLabels": {"tier": "x"}}),
        json!({}),
    ])
}

fn authorization_policy(d: &mut Draw<'_>) -> Value {
    let metadata = d.metadata(&[REVISION], &[("istio.io/dry-run", &["true"])]);
    let rules = d.pick(&[
        json!([]),
        json!([{}]),
        json!([{"to": [{"operation": {"ports": ["80"]}}]}]),
        json!([{"to": [{"operation": {"methods": ["GET"]}}]}]),
        json!([{"to": [{"operation": {"ports": ["http"]}}]}]),
        json!(7),
    ]);
    let targets = if d.rarely(4) { json!([{"kind": "Service", "name": "a"}]) } else { json!(null) };
    json!({"metadata": metadata, "spec": {
        "selector": selector(d), "action": d.pick(&["ALLOW", "DENY", "DENY", "AUDIT", "NEVER"]), "rules": rules,
        "targetRefs": targets,
    }})
}

fn peer_authentication(d: &mut Draw<'_>) -> Value {
    let metadata = d.metadata(&[REVISION], &[]);
    let modes = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET", "never"];
    json!({"metadata": metadata, "spec": {
        "selector": selector(d), "mtls": {"mode": d.pick(&modes)},
        "portLevelMtls": {"80": {"mode": d.pick(&modes[..4])}, "81": {"mode": d.pick(&modes[..4])}},
    }})
}

fn service_entry(d: &mut Draw<'_>) -> Value {
    let tunnel = ("networking.istio.io/tunnel", &["http"][..]);
    let metadata = d.metadata(&[APP, USE, CANARY, tunnel, REVISION], &[REQUIRE, CANARY_WEIGHT]);
    let host = d.pick(&["a.example.org", "b.example.org", "a.shop.svc.cluster.local", "*.example.org"]);
    let endpoints = d.pick(&[
        json!([]),
        json!([{"address": "192.0.2.1"}]),
        json!([{"address": "192.0.2.1", "network": "net-a"}, {"address": "192.0.2.2", "labels": {"app": "a"}}]),
        json!([{"address": "192.0.2.1", "labels": {"gateway.networking.k8s.io/gateway-name": "a"}}]),
    ]);
    let workloads = d.pick(&[json!(null), json!({"labels": {"app": "a"}}), json!({"labels": {"tier": "x"}})]);
    json!({"metadata": metadata, "spec": {
        "hosts": [host, d.pick(&["a.example.org", "c.example.org"])],
        "addresses": d.pick(&[json!([]), json!(["240.0.0.1"]), json!(["ten"])]),
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": d.pick(&["STATIC", "DNS", "NONE", "DYNAMIC_DNS", "NEVER"]), "endpoints": endpoints, "workloadSelector": workloads,
    }})
}
