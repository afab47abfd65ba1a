//! Random edits of gateways, listener sets, routes, grants and services: statuses and routing model equal
//! those computed from scratch, whatever the edits were and however they came.
#![allow(clippy::unwrap_used)]

use model::{Event, Kind, ObjectRef};
use pilothouse_plane::{Conditions, Options, Plane};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMESPACES: [&str; 2] = ["shop", "infra"];
const HOSTS: [&str; 5] = ["a.example.com", "*.example.com", "b.a.example.com", "*", "other.com"];
const GROUP: &str = "gateway.networking.k8s.io";

/// Bytes that one edit is drawn from; those beyond are zero.
const LENGTH: usize = 32;

/// Choices, one byte each.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % end
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn metadata(&mut self) -> Value {
        json!({
            "namespace": self.pick(&NAMESPACES), "name": self.pick(&["a", "b"]),
            "generation": self.below(3) + 1,
            "creationTimestamp": self.pick(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]),
        })
    }

    fn allowed(&mut self) -> Value {
        self.pick(&[
            json!({"from": "All"}),
            json!({"from": "Same"}),
            json!({"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}),
            json!({"from": "None"}),
        ])
    }

    fn listener(&mut self, name: &str) -> Value {
        let mut listener = json!({
            "name": name, "port": self.pick(&[80, 80, 81]),
            "protocol": self.pick(&["HTTP", "HTTP", "TLS", "TCP", "http"]),
            "allowedRoutes": {"namespaces": self.allowed()},
            "tls": {"mode": self.pick(&["Terminate", "Passthrough"]),
                    "certificateRefs": [{"name": "c", "namespace": self.pick(&NAMESPACES)}]},
        });
        let host = self.pick(&HOSTS);
        if host != "*" {
            listener["hostname"] = json!(host);
        }
        listener
    }

    fn parent(&mut self) -> Value {
        let (kind, group) = self.pick(&[
            ("Gateway", GROUP),
            ("ListenerSet", GROUP),
            ("Service", ""),
            ("ServiceEntry", "networking.istio.io"),
        ]);
        let mut parent = json!({
            "group": group, "kind": kind, "namespace": self.pick(&NAMESPACES), "name": self.pick(&["a", "b"]),
        });
        match self.below(4) {
            1 => parent["sectionName"] = json!(self.pick(&["one", "two"])),
            2 => parent["port"] = json!(80),
            _ => {}
        }
        parent
    }

    fn backend(&mut self) -> Value {
        json!({
            "kind": self.pick(&["Service", "Service", "Bucket"]), "namespace": self.pick(&NAMESPACES),
            "name": self.pick(&["a", "b"]), "port": self.pick(&[80, 81]), "weight": self.pick(&[1, 0, 3]),
        })
    }

    fn rule(&mut self, is_http: bool) -> Value {
        let mut rule = json!({"backendRefs": [self.backend(), self.backend()]});
        if is_http {
            let path = self.pick(&["/", "/a", "/a/b", "bad"]);
            rule["matches"] = json!([{"path": {"value": path}}, {"method": self.pick(&["GET", "PUT"])}]);
            if self.below(4) == 3 {
                rule["filters"] = json!([{"type": "ExtensionRef"}]);
            }
        }
        rule
    }

    fn manifest(&mut self) -> (Kind, Value) {
        let kind = self.pick(&[
            Kind::HTTPRoute,
            Kind::Gateway,
            Kind::ListenerSet,
            Kind::Service,
            Kind::ReferenceGrant,
            Kind::HTTPRoute,
            Kind::GRPCRoute,
            Kind::TLSRoute,
            Kind::TCPRoute,
            Kind::ServiceEntry,
            Kind::Namespace,
            Kind::GatewayClass,
            Kind::BackendTLSPolicy,
            Kind::XBackendTrafficPolicy,
        ]);
        let mut manifest = json!({"metadata": self.metadata()});
        manifest["spec"] = match kind {
            Kind::Namespace => {
                manifest["metadata"] =
                    json!({"name": self.pick(&NAMESPACES), "labels": {"team": self.pick(&["x", "y"])}});
                Value::Null
            }
            Kind::GatewayClass => {
                manifest["metadata"] = json!({"name": "istio"});
                json!({"controllerName": self.pick(&["istio.io/gateway-controller", "example.com/other"])})
            }
            Kind::Service => json!({"ports": [{"port": self.pick(&[80, 81])}]}),
            Kind::ServiceEntry => {
                json!({"hosts": [self.pick(&HOSTS)], "ports": [{"number": 80, "name": "x", "protocol": "TCP"}]})
            }
            Kind::ReferenceGrant => json!({
                "from": [{"group": GROUP, "kind": self.pick(&["HTTPRoute", "Gateway", "ListenerSet"]), "namespace": self.pick(&NAMESPACES)}],
                "to": [{"group": "", "kind": self.pick(&["Service", "Secret"]), "name": self.pick(&["a", "c"])}],
            }),
            Kind::BackendTLSPolicy | Kind::XBackendTrafficPolicy => {
                let target =
                    |d: &mut Self| json!({"group": "", "kind": "Service", "name": d.pick(&["a", "b"])});
                json!({
                    "targetRefs": [target(self), target(self)],
                    "validation": {"hostname": "a", "wellKnownCACertificates": self.pick(&["System", "None"])},
                })
            }
            Kind::Gateway => json!({
                "gatewayClassName": self.pick(&["istio", "istio-waypoint", "istio-remote", "nobody"]),
                "allowedListeners": {"namespaces": self.allowed()},
                "listeners": [self.listener("one"), self.listener("two")],
            }),
            Kind::ListenerSet => json!({
                "parentRef": {"namespace": self.pick(&NAMESPACES), "name": self.pick(&["a", "b"])},
                "listeners": [self.listener("one"), self.listener("two")],
            }),
            of_route => {
                let is_http = of_route == Kind::HTTPRoute;
                json!({
                    "parentRefs": [self.parent(), self.parent()],
                    "hostnames": [self.pick(&HOSTS), self.pick(&HOSTS)],
                    "rules": [self.rule(is_http), self.rule(is_http)],
                })
            }
        };
        (kind, manifest)
    }
}

/// What there is, by name.
type Objects = BTreeMap<ObjectRef, Event>;

/// Makes the edit drawn from `bytes`: an object is put, or removed.
fn edit(objects: &mut Objects, bytes: &[u8]) -> Event {
    let mut draw = Draw(bytes);
    let is_removed = draw.below(5) == 4;
    let (kind, manifest) = draw.manifest();
    let object = model::parse(kind, manifest.to_string().as_bytes()).unwrap();
    let reference = object.reference();
    if is_removed {
        objects.remove(&reference);
        return Event::Remove(reference);
    }
    let event = Event::Put(object);
    objects.insert(reference, event.clone());
    event
}

fn empty() -> Plane {
    let mut plane = Plane::new(&Options { gateway_api: true, ..Options::default() });
    plane.apply(Kind::ALL.iter().flat_map(|kind| [Event::Begin(*kind), Event::Synced(*kind)]));
    assert!(plane.is_synced());
    plane
}

type Outcome = (Vec<(ObjectRef, Arc<Conditions>)>, Vec<String>);

fn outcome(plane: &Plane) -> Outcome {
    (plane.conditions(), plane.routes())
}

fn edits() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = prop::collection::vec(any::<u8>(), LENGTH);
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn routes_after_edits_are_those_computed_from_scratch(edits in edits()) {
        let (mut objects, mut plane) = (Objects::new(), empty());
        for (n, bytes) in edits.iter().enumerate() {
            plane.apply([edit(&mut objects, bytes)]);
            if n % 8 == 0 || n + 1 == edits.len() {
                let mut scratch = empty();
                scratch.apply(objects.values().rev().cloned());
                prop_assert_eq!(outcome(&plane), outcome(&scratch));
            }
        }
    }

    #[test]
    fn what_a_commit_names_is_what_changed_of_statuses(edits in edits()) {
        let (mut objects, mut plane) = (Objects::new(), empty());
        let mut known: BTreeMap<ObjectRef, Arc<Conditions>> = BTreeMap::new();
        for bytes in &edits {
            let delta = plane.apply([edit(&mut objects, bytes)]);
            for object in delta.conditions {
                match plane.conditions_of(&object) {
                    Some(conditions) => known.insert(object, conditions),
                    None => known.remove(&object),
                };
            }
            let all: BTreeMap<ObjectRef, Arc<Conditions>> = plane.conditions().into_iter().collect();
            prop_assert_eq!(&known, &all);
        }
    }
}

/// Returns how often rows of tables with names like this were computed.
fn computed(plane: &Plane, part: &str) -> usize {
    plane
        .stats()
        .iter()
        .filter(|stats| stats.name.contains(part))
        .map(|stats| stats.recomputed as usize)
        .sum()
}

#[test]
fn a_pods_change_touches_no_row_of_routes_and_a_rules_edit_only_its_own() {
    let put = |kind: Kind, manifest: Value| {
        Event::Put(model::parse(kind, manifest.to_string().as_bytes()).unwrap())
    };
    let route = |name: &str, path: &str| {
        put(
            Kind::HTTPRoute,
            json!({
                "metadata": {"namespace": "shop", "name": name},
                "spec": {
                    "parentRefs": [{"name": "gw"}], "hostnames": [format!("{name}.example.com")],
                    "rules": [{"matches": [{"path": {"value": path}}], "backendRefs": [{"name": "web", "port": 80}]}],
                },
            }),
        )
    };
    let pod = |address: &str| {
        put(
            Kind::Pod,
            json!({
                "metadata": {"namespace": "shop", "name": "web-1", "labels": {"app": "web"}},
                "spec": {"nodeName": "n"}, "status": {"podIP": address, "phase": "Running"},
            }),
        )
    };
    let mut plane = empty();
    let mut events = vec![
        put(
            Kind::Gateway,
            json!({
                "metadata": {"namespace": "shop", "name": "gw"},
                "spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
            }),
        ),
        put(
            Kind::Service,
            json!({
                "metadata": {"namespace": "shop", "name": "web"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
            }),
        ),
        pod("10.0.0.1"),
    ];
    events.extend((0..50).map(|n| route(&format!("r{n}"), "/a")));
    plane.apply(events);
    let tables = ["route", "request", "stream", "listener", "attachment", "gateway"];
    let before = tables.map(|table| computed(&plane, table));
    assert!(!plane.apply([pod("10.0.0.2")]).resources.is_empty());
    assert_eq!(tables.map(|table| computed(&plane, table)), before);

    let (rules, hosts) = (computed(&plane, "http_route_rules"), computed(&plane, "listener_requests"));
    let delta = plane.apply([route("r7", "/b")]);
    assert_eq!(computed(&plane, "http_route_rules"), rules + 1);
    assert_eq!(computed(&plane, "listener_requests"), hosts + 1, "the hostname of the route and no other");
    assert!(delta.conditions.is_empty() && delta.resources.is_empty());
}
