//! How much a waypoint is sent.

use super::input::Input;
use proto::{ResourceType, Scope};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Ten namespaces with 25 services of ten pods each, of which the first has a waypoint.
fn mesh() -> String {
    let mut all = "\
options: {gateway_api: true, configures_waypoints: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: ns-0, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
"
    .to_owned();
    for ns in 0..10 {
        let label = if ns == 0 { "istio.io/use-waypoint: waypoint" } else { "a: b" };
        writeln!(
            all,
            "---\napiVersion: v1\nkind: Namespace\n\
             metadata: {{name: ns-{ns}, labels: {{istio.io/dataplane-mode: ambient, {label}}}}}"
        )
        .unwrap();
        for service in 0..25 {
            writeln!(
                all,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: ns-{ns}, name: service-{service}}}\n\
                 spec: {{clusterIP: 10.96.{ns}.{service}, selector: {{app: service-{service}}}, \
                 ports: [{{name: http, port: 80, targetPort: 8080}}]}}"
            )
            .unwrap();
            for pod in 0..10 {
                writeln!(
                    all,
                    "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: ns-{ns}, name: service-{service}-5d9c-{pod}, \
                     generateName: service-{service}-5d9c-, \
                     labels: {{app: service-{service}, version: v1, pod-template-hash: 5d9c}}, \
                     ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: service-{service}-5d9c, uid: a, controller: true}}], \
                     annotations: {{ambient.istio.io/redirection: enabled}}}}\n\
                     spec: {{serviceAccountName: service-{service}, containers: [{{name: a, image: a}}]}}\n\
                     status: {{phase: Running, podIP: 10.{ns}.{service}.{pod}, conditions: [{{type: Ready, status: \"True\"}}]}}"
                )
                .unwrap();
            }
        }
    }
    all
}

#[test]
fn a_waypoint_of_a_namespace_is_sent_that_namespace() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), mesh()).unwrap();
    let input = Input::read(file.path());
    let mesh = input.apply_at_once(input.events.clone());
    let own = Scope::proxy("ns-0/waypoint");
    let mut bytes: BTreeMap<ResourceType, usize> = BTreeMap::new();
    for resource in mesh.resources().into_iter().filter(|of| of.scope == own) {
        let body = resource.body.as_ref().map_or(0, |body| body.len());
        *bytes.entry(resource.resource_type).or_default() += resource.name.len() + body;
    }
    let sum: usize = bytes.values().sum();
    assert!((30_000..60_000).contains(&sum), "{sum} bytes: {bytes:?}");
}
