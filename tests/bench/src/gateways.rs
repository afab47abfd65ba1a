//! Gateways of a given number, as the events that a source would send: a namespace each, with five services
//! of two pods, ten routes and a certificate.

use crate::put;
use model::facts::Answer;
use model::parse::{ReferentKind, referent};
use model::{Event, Kind};
use serde_json::{Value, json};
use std::fmt::Write;

/// Services of a gateway.
pub const SERVICES: usize = 5;
/// Routes of a gateway.
pub const ROUTES: usize = 10;
/// Pods of a service.
const PODS: usize = 2;

/// A certificate with its key, as in a Secret of type `kubernetes.io/tls`: both base64 of PEM.
pub struct Certificate {
    /// `tls.crt`.
    pub chain: String,
    /// `tls.key`.
    pub key: String,
}

/// Returns everything that a source would send until it is synced.
pub fn listing(gateways: usize, certificate: &Certificate) -> Vec<Event> {
    let class =
        json!({"metadata": {"name": "istio"}, "spec": {"controllerName": "istio.io/gateway-controller"}});
    let mut events = vec![Event::OnDemand, put(Kind::GatewayClass, &class)];
    for n in 0..gateways {
        events.push(put(Kind::Namespace, &json!({"metadata": {"name": namespace(n)}})));
        events.push(gateway(n));
        events.extend((0..SERVICES).flat_map(|s| service(n, s)));
        events.extend((0..ROUTES).map(|r| route(n, r, 90)));
    }
    events.extend(Kind::ALL.iter().map(|kind| Event::Synced(*kind)));
    // What is referred to is read once it is known.
    events.extend((0..gateways).map(|n| secret(n, certificate)));
    events
}

fn namespace(n: usize) -> String {
    format!("team-{n}")
}

fn gateway(n: usize) -> Event {
    let hostname = format!("*.team-{n}.example.com");
    let listeners = json!([
        {"name": "http", "port": 80, "protocol": "HTTP", "hostname": hostname},
        {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": hostname,
         "tls": {"certificateRefs": [{"name": "certificate"}]}},
    ]);
    let metadata = json!({"namespace": namespace(n), "name": "ingress", "generation": 1});
    let spec = json!({"gatewayClassName": "istio", "listeners": listeners});
    put(Kind::Gateway, &json!({"metadata": metadata, "spec": spec}))
}

/// Returns the Secret that the gateway of namespace `n` refers to.
pub fn secret(n: usize, certificate: &Certificate) -> Event {
    secret_named(&namespace(n), "certificate", certificate)
}

/// Returns a Secret with a certificate.
pub(crate) fn secret_named(namespace: &str, name: &str, certificate: &Certificate) -> Event {
    let metadata = json!({"namespace": namespace, "name": name});
    let data = json!({"tls.crt": certificate.chain, "tls.key": certificate.key});
    let object = json!({"metadata": metadata, "type": "kubernetes.io/tls", "data": data});
    match referent(ReferentKind::Secret, object.to_string().as_bytes()) {
        Ok((of, answer @ Answer::Secret(_))) => Event::Answer(of, answer),
        other => panic!("the Secret is not read: {other:?}"),
    }
}

fn address(n: usize, s: usize, p: usize) -> String {
    let number = (n * SERVICES + s) * PODS + p;
    format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255)
}

/// Returns pod `p` of service `s` of namespace `n`.
pub fn pod(n: usize, s: usize, p: usize, is_ready: bool) -> Event {
    let ready = if is_ready { "True" } else { "False" };
    let metadata =
        json!({"namespace": namespace(n), "name": format!("s-{s}-{p}"), "labels": {"app": format!("s-{s}")}});
    let status = json!({
        "phase": "Running", "podIP": address(n, s, p), "podIPs": [{"ip": address(n, s, p)}],
        "conditions": [{"type": "Ready", "status": ready}],
    });
    let spec = json!({"nodeName": "node", "serviceAccountName": "default", "containers": []});
    put(Kind::Pod, &json!({"metadata": metadata, "spec": spec, "status": status}))
}

fn service(n: usize, s: usize) -> Vec<Event> {
    let (name, number) = (format!("s-{s}"), n * SERVICES + s);
    let metadata = json!({"namespace": namespace(n), "name": name});
    let spec = json!({
        "selector": {"app": name}, "clusterIP": format!("172.16.{}.{}", number >> 8, number & 255),
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
    });
    let endpoints: Vec<Value> = (0..PODS)
        .map(|p| {
            let target = json!({"kind": "Pod", "namespace": namespace(n), "name": format!("s-{s}-{p}")});
            json!({"addresses": [address(n, s, p)], "conditions": {"ready": true}, "targetRef": target})
        })
        .collect();
    let slice = json!({
        "metadata": {"namespace": namespace(n), "name": format!("{name}-x"), "labels": {
            "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    let mut events: Vec<Event> = (0..PODS).map(|p| pod(n, s, p, true)).collect();
    events.push(put(Kind::Service, &json!({"metadata": metadata, "spec": spec})));
    events.push(put(Kind::EndpointSlice, &slice));
    events
}

/// Returns route `r` of namespace `n`: three rules, the first of which splits by weight.
pub fn route(n: usize, r: usize, weight: usize) -> Event {
    let backend = |s: usize| format!("s-{}", s % SERVICES);
    let mut hostname = String::new();
    let _ = write!(hostname, "route-{r}.team-{n}.example.com");
    let rules = json!([
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [
            {"name": backend(r), "port": 80, "weight": weight}, {"name": backend(r + 1), "port": 80, "weight": 10}]},
        {"matches": [{"headers": [{"name": "user", "value": "jason"}]}],
         "backendRefs": [{"name": backend(r + 2), "port": 80}]},
        {"matches": [{"method": "POST", "path": {"type": "Exact", "value": "/orders"}}],
         "backendRefs": [{"name": backend(r + 3), "port": 80}]},
    ]);
    let metadata = json!({"namespace": namespace(n), "name": format!("route-{r}"), "generation": weight});
    let spec = json!({"parentRefs": [{"name": "ingress"}], "hostnames": [hostname], "rules": rules});
    put(Kind::HTTPRoute, &json!({"metadata": metadata, "spec": spec}))
}
