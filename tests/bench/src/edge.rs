//! One gateway at the edge, as the events that a source would send: routes with a hostname each, listeners with a
//! certificate each in sets of 50, and services.

use crate::gateways::{Certificate, secret_named};
use crate::put;
use model::{Event, Kind};
use serde_json::{Value, json};

/// Listeners of a ListenerSet.
const SET: usize = 50;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// HTTPRoutes of the listener of port 80.
    pub routes: usize,
    /// Listeners of port 443, each with a hostname, a certificate and a route.
    pub certificates: usize,
    /// Services, to which routes lead in turn.
    pub services: usize,
}

impl Size {
    /// Returns everything that a source would send until it is synced.
    pub fn listing(self, certificate: &Certificate) -> Vec<Event> {
        let class =
            json!({"metadata": {"name": "istio"}, "spec": {"controllerName": "istio.io/gateway-controller"}});
        let mut events = vec![Event::OnDemand, put(Kind::GatewayClass, &class)];
        events.push(put(Kind::Namespace, &json!({"metadata": {"name": "edge"}})));
        let gateway = json!({
            "metadata": {"namespace": "edge", "name": "edge", "generation": 1},
            "spec": {
                "gatewayClassName": "istio",
                "allowedListeners": {"namespaces": {"from": "Same"}},
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        });
        events.push(put(Kind::Gateway, &gateway));
        events.extend((0..self.certificates.div_ceil(SET)).map(|n| self.set(n)));
        events.extend((0..self.services).flat_map(service));
        events.extend((0..self.routes).map(|r| self.route(r, 90)));
        events.extend((0..self.certificates).map(|c| self.secure_route(c)));
        events.extend(Kind::ALL.iter().map(|kind| Event::Synced(*kind)));
        events.extend((0..self.certificates).map(|c| secret(c, certificate)));
        events
    }

    fn set(self, n: usize) -> Event {
        let of = |c: usize| {
            json!({
                "name": format!("l-{c}"), "port": 443, "protocol": "HTTPS", "hostname": secure_hostname(c),
                "tls": {"certificateRefs": [{"name": format!("c-{c}")}]},
            })
        };
        let listeners: Vec<Value> = (n * SET..self.certificates.min((n + 1) * SET)).map(of).collect();
        let spec = json!({"parentRef": {"name": "edge"}, "listeners": listeners});
        let metadata = json!({"namespace": "edge", "name": format!("set-{n}"), "generation": 1});
        put(Kind::ListenerSet, &json!({"metadata": metadata, "spec": spec}))
    }

    /// Returns route `r`: three rules, the first of which splits by weight.
    pub fn route(self, r: usize, weight: usize) -> Event {
        let backend = |s: usize| format!("s-{}", s % self.services);
        let rules = json!([
            {"backendRefs": [
                {"name": backend(r), "port": 80, "weight": weight},
                {"name": backend(r + 1), "port": 80, "weight": 10},
            ]},
            {"matches": [{"headers": [{"name": "user", "value": "jason"}]}],
             "backendRefs": [{"name": backend(r), "port": 80}]},
            {"matches": [{"method": "POST", "path": {"type": "Exact", "value": "/orders"}}],
             "backendRefs": [{"name": backend(r), "port": 80}]},
        ]);
        let parent = json!({"name": "edge", "sectionName": "http"});
        http_route(&format!("r-{r}"), &parent, &format!("r-{r}.example.com"), &rules, weight)
    }

    fn secure_route(self, c: usize) -> Event {
        let rules = json!([{"backendRefs": [{"name": format!("s-{}", c % self.services), "port": 80}]}]);
        let set = format!("set-{}", c / SET);
        let parent = json!({
            "group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": set,
            "sectionName": format!("l-{c}"),
        });
        http_route(&format!("secure-{c}"), &parent, &secure_hostname(c), &rules, 1)
    }
}

fn http_route(name: &str, parent: &Value, hostname: &str, rules: &Value, generation: usize) -> Event {
    let metadata = json!({"namespace": "edge", "name": name, "generation": generation});
    let spec = json!({"parentRefs": [parent], "hostnames": [hostname], "rules": rules});
    put(Kind::HTTPRoute, &json!({"metadata": metadata, "spec": spec}))
}

fn secure_hostname(c: usize) -> String {
    format!("c-{c}.secure.example.com")
}

/// Returns the Secret of listener `c`.
pub fn secret(c: usize, certificate: &Certificate) -> Event {
    secret_named("edge", &format!("c-{c}"), certificate)
}

/// A service with one endpoint.
fn service(s: usize) -> [Event; 2] {
    let name = format!("s-{s}");
    let metadata = json!({"namespace": "edge", "name": name});
    let spec = json!({
        "clusterIP": format!("172.16.{}.{}", s >> 8, s & 255),
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
    });
    let labels = json!({"kubernetes.io/service-name": name});
    let slice = json!({
        "metadata": {"namespace": "edge", "name": format!("{name}-x"), "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [format!("10.0.{}.{}", s >> 8, s & 255)], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    [put(Kind::Service, &json!({"metadata": metadata, "spec": spec})), put(Kind::EndpointSlice, &slice)]
}
