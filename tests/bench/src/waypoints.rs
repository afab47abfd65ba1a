//! Waypoints of a given number, as the events that a source would send: a namespace each, with services that are
//! bound to it, a route for each service, and a policy.

use crate::put;
use model::{Event, Kind};
use serde_json::{Value, json};

/// How many waypoints there are, and what each owns.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Namespaces with a waypoint.
    pub waypoints: usize,
    /// Services of a waypoint.
    pub services: usize,
    /// Pods of a service.
    pub pods: usize,
    /// Whether each service has a route, and each namespace a policy.
    pub rules: bool,
}

impl Size {
    /// Returns everything that a source would send until it is synced.
    pub fn listing(self) -> Vec<Event> {
        let class = json!({
            "metadata": {"name": "istio-waypoint"}, "spec": {"controllerName": "istio.io/mesh-controller"},
        });
        let mut events = vec![Event::OnDemand, put(Kind::GatewayClass, &class)];
        for n in 0..self.waypoints {
            let labels = json!({"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"});
            events.push(put(Kind::Namespace, &json!({"metadata": {"name": namespace(n), "labels": labels}})));
            events.push(gateway(n));
            events.extend((0..self.services).flat_map(|s| self.service(n, s)));
            if self.rules {
                events.extend((0..self.services).map(|s| route(n, s, 0)));
                events.push(policy(n, "/api"));
            }
        }
        events.extend(Kind::ALL.iter().map(|kind| Event::Synced(*kind)));
        events
    }

    /// Returns service `s` of namespace `n` with its pods.
    pub fn service(self, n: usize, s: usize) -> Vec<Event> {
        let number = (n * self.services + s) as u32;
        let spec = json!({
            "selector": {"app": name(s)},
            "clusterIP": std::net::Ipv4Addr::from(0x6440_0000 + number).to_string(),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        });
        let targets = (0..self.pods).map(|p| {
            let target =
                json!({"kind": "Pod", "namespace": namespace(n), "name": format!("{}-{p}", name(s))});
            json!({"addresses": [self.address(n, s, p)], "conditions": {"ready": true}, "targetRef": target})
        });
        let slice = json!({
            "metadata": {"namespace": namespace(n), "name": format!("{}-x", name(s)), "labels": {
                "kubernetes.io/service-name": name(s),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            }},
            "addressType": "IPv4", "endpoints": targets.collect::<Vec<_>>(),
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        let mut events: Vec<Event> = (0..self.pods).map(|p| self.pod(n, s, p, true)).collect();
        events.push(put(Kind::Service, &json!({"metadata": metadata(n, &name(s)), "spec": spec})));
        events.push(put(Kind::EndpointSlice, &slice));
        events
    }

    /// Returns pod `p` of service `s` of namespace `n`.
    pub fn pod(self, n: usize, s: usize, p: usize, is_ready: bool) -> Event {
        let ready = if is_ready { "True" } else { "False" };
        let metadata = json!({
            "namespace": namespace(n), "name": format!("{}-{p}", name(s)),
            "labels": {"app": name(s), "version": "v1", "pod-template-hash": "5d9c"},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        });
        let address = self.address(n, s, p);
        let status = json!({
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": ready}],
        });
        let spec = json!({"nodeName": "node", "serviceAccountName": name(s), "containers": []});
        put(Kind::Pod, &json!({"metadata": metadata, "spec": spec, "status": status}))
    }

    fn address(self, n: usize, s: usize, p: usize) -> String {
        let number = (n * self.services + s) * self.pods + p;
        std::net::Ipv4Addr::from(0x0a00_0001 + number as u32).to_string()
    }
}

fn namespace(n: usize) -> String {
    format!("ns-{n}")
}

/// Returns the name of service `s` of each namespace.
pub fn name(s: usize) -> String {
    format!("service-{s}")
}

fn metadata(n: usize, name: &str) -> Value {
    json!({"namespace": namespace(n), "name": name})
}

fn gateway(n: usize) -> Event {
    let spec = json!({
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    });
    let address = std::net::Ipv4Addr::from(0x6500_0000 + n as u32).to_string();
    let status = json!({"addresses": [{"type": "IPAddress", "value": address}]});
    put(Kind::Gateway, &json!({"metadata": metadata(n, "waypoint"), "spec": spec, "status": status}))
}

/// Returns the route of service `s` of namespace `n`: two rules, of which one names a version.
pub fn route(n: usize, s: usize, version: usize) -> Event {
    let backends = json!([{"name": name(s), "port": 80}]);
    let rules = json!([
        {"matches": [{"headers": [{"name": "version", "value": version.to_string()}]}], "backendRefs": backends,
         "timeouts": {"request": "2s"}},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends},
    ]);
    let spec = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": name(s), "port": 80}], "rules": rules,
    });
    put(Kind::HTTPRoute, &json!({"metadata": metadata(n, &name(s)), "spec": spec}))
}

/// Returns the policy of namespace `n`'s waypoint, which allows this path and what is below it.
pub fn policy(n: usize, path: &str) -> Event {
    let spec = json!({
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}],
        "rules": [{"to": [{"operation": {"paths": [format!("{path}/*")]}}]}],
    });
    put(Kind::AuthorizationPolicy, &json!({"metadata": metadata(n, "paths"), "spec": spec}))
}
