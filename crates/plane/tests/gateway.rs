//! Random edits of gateways, listener sets, routes, VirtualServices, DestinationRules, grants, services, Secrets and
//! ConfigMaps: statuses, routing model, findings and what is wanted equal those computed from scratch, whatever the edits
//! were and however they came.
#![allow(clippy::unwrap_used)]

use model::facts::{Answer, ConfigMap, Digest, KeyPair, Referent, Roots, Secret};
use model::{Diagnostic, Event, Kind, Labels, Name, ObjectRef};
use pilothouse_plane::{Conditions, GatewayDeployment, Options, Plane, ProxyOptions};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NAMESPACES: [&str; 2] = ["shop", "infra"];
const HOSTS: [&str; 5] = ["a.example.com", "*.example.com", "b.a.example.com", "*", "other.com"];
const GROUP: &str = "gateway.networking.k8s.io";

/// Bytes that one edit is drawn from; those beyond are zero.
const LENGTH: usize = 40;

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

    fn roots(&mut self) -> Value {
        json!({"group": "", "kind": self.pick(&["ConfigMap", "Secret"]), "name": self.pick(&["a", "c"])})
    }

    /// A Secret or a ConfigMap, valid or not.
    fn answer(&mut self) -> (Referent, Answer) {
        let name = Name::new(self.pick(&NAMESPACES), self.pick(&["a", "c"]));
        let digest = Digest([self.pick(&[1, 2]); 32]);
        let roots = match self.below(3) {
            0 => Err("it has no ca.crt".to_owned()),
            _ => Ok(Roots { pem: Arc::from(*b"r"), not_after: 0, digest }),
        };
        let answer = match self.below(4) {
            0 => Some(Answer::Absent),
            1 => Some(Answer::Unreadable("no right".into())),
            _ => None,
        };
        if self.below(2) == 1 {
            let map = ConfigMap {
                name: name.clone(),
                created: 0,
                labels: Labels::default(),
                data: BTreeMap::new(),
                roots,
            };
            return (Referent::ConfigMap(name), answer.unwrap_or(Answer::ConfigMap(Arc::new(map))));
        }
        (Referent::Secret(name.clone()), answer.unwrap_or(Answer::Secret(secret(&name, digest, roots))))
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

    fn virtual_service(&mut self) -> Value {
        let route = |d: &mut Self| {
            let host = d.pick(&["a", "b", "a.shop.svc.cluster.local", "a.example.com"]);
            let mut destination = json!({"host": host});
            if d.below(2) == 1 {
                destination["port"] = json!({"number": d.pick(&[80, 81])});
            }
            if d.below(3) == 1 {
                destination["subset"] = json!(d.pick(&["v1", "v2"]));
            }
            json!([{ "destination": destination }])
        };
        let uri = self.pick(&[
            json!({"prefix": "/"}),
            json!({"exact": "/a"}),
            json!({"exact": "/a", "prefix": "/b"}),
        ]);
        let first = self.pick(&[
            json!({ "uri": uri }),
            json!({"sourceLabels": {"app": "a"}}),
            json!({"port": 80, "sourceNamespace": "infra"}),
        ]);
        let mut spec = json!({
            "hosts": [
                self.pick(&["a", "b", "*.shop.svc.cluster.local", "a.infra.svc.cluster.local"]),
                self.pick(&HOSTS),
            ],
            "gateways": self.pick(&[json!(["mesh"]), json!(null), json!(["gw"])]),
            "exportTo": self.pick(&[json!(null), json!(["."]), json!(["shop"])]),
        });
        if self.below(3) > 0 {
            spec["http"] = json!([{"match": [first], "route": route(self)}, {"route": route(self)}]);
        }
        if self.below(3) > 0 {
            let sni = self.pick(&["a.example.com", "*.example.com", "a.shop.svc.cluster.local"]);
            spec["tls"] = json!([{"match": [{ "sniHosts": [sni] }], "route": route(self)}]);
            spec["tcp"] = json!([{ "route": route(self) }]);
        }
        spec
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
            Kind::EndpointSlice,
            Kind::Service,
            Kind::VirtualService,
            Kind::DestinationRule,
            Kind::VirtualService,
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
            Kind::Service => {
                manifest["metadata"]["name"] = json!(self.pick(&["a", "b", "a-istio"]));
                manifest["status"] =
                    self.pick(&[json!({}), json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})]);
                json!({
                    "type": self.pick(&["ClusterIP", "LoadBalancer"]), "clusterIP": "10.1.0.1",
                    "ports": [{"port": self.pick(&[80, 81])}],
                })
            }
            Kind::EndpointSlice => {
                let service = self.pick(&["a", "b", "a-istio"]);
                manifest["metadata"]["labels"] = json!({"kubernetes.io/service-name": service});
                manifest["addressType"] = json!("IPv4");
                let conditions = json!({"ready": self.pick(&[true, false])});
                manifest["endpoints"] = json!([{"addresses": ["10.2.0.1"], "conditions": conditions}]);
                manifest["ports"] = json!([{"port": 80}]);
                Value::Null
            }
            Kind::ServiceEntry => {
                json!({"hosts": [self.pick(&HOSTS)], "ports": [{"number": 80, "name": "x", "protocol": "TCP"}]})
            }
            Kind::VirtualService => self.virtual_service(),
            Kind::DestinationRule => {
                if self.below(4) == 3 {
                    manifest["metadata"]["namespace"] = json!("istio-system");
                }
                json!({
                    "host": self.pick(&["a", "b", "a.shop.svc.cluster.local", "*.svc.cluster.local", "*", "a.example.com"]),
                    "exportTo": self.pick(&[json!(null), json!(["."]), json!(["shop"]), json!(["~"])]),
                    "trafficPolicy": {"loadBalancer": {"simple": self.pick(&["RANDOM", "BEST"])}},
                    "subsets": [{"name": self.pick(&["v1", "v2"])}, {"name": self.pick(&["v1", "v3"])}],
                })
            }
            Kind::ReferenceGrant => json!({
                "from": [{"group": GROUP, "kind": self.pick(&["HTTPRoute", "Gateway", "ListenerSet"]), "namespace": self.pick(&NAMESPACES)}],
                "to": [{"group": "", "kind": self.pick(&["Service", "Secret"]), "name": self.pick(&["a", "c"])}],
            }),
            Kind::BackendTLSPolicy | Kind::XBackendTrafficPolicy => {
                let target =
                    |d: &mut Self| json!({"group": "", "kind": "Service", "name": d.pick(&["a", "b"])});
                let mut spec = json!({
                    "targetRefs": [target(self), target(self)],
                    "validation": {"hostname": "a", "wellKnownCACertificates": self.pick(&["System", "None"])},
                });
                if self.below(2) == 1 {
                    spec["validation"]["caCertificateRefs"] = json!([self.roots(), self.roots()]);
                }
                spec
            }
            Kind::Gateway => {
                let annotations = [
                    json!({}),
                    json!({"gateway.pilothouse.io/replicas": "2"}),
                    json!({"gateway.pilothouse.io/replicas": "many"}),
                    json!({"gateway.istio.io/name-override": "b"}),
                ];
                manifest["metadata"]["annotations"] = self.pick(&annotations);
                let addresses = self.pick(&[json!([]), json!([{"type": "IPAddress", "value": "10.1.0.1"}])]);
                manifest["status"] = json!({"addresses": addresses});
                let mut spec = json!({
                    "gatewayClassName": self.pick(&["istio", "istio-waypoint", "istio-remote", "nobody"]),
                    "allowedListeners": {"namespaces": self.allowed()},
                    "listeners": [self.listener("one"), self.listener("two")],
                });
                if self.below(2) == 1 {
                    spec["tls"] = json!({
                        "frontend": {"default": {"validation": {"caCertificateRefs": [self.roots()]}}},
                        "backend": {"clientCertificateRef": {"name": "c", "namespace": self.pick(&NAMESPACES)}},
                    });
                }
                spec
            }
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

/// A Secret with a key pair that has this digest.
fn secret(name: &Name, digest: Digest, roots: Result<Roots, String>) -> Arc<Secret> {
    let key_pair = KeyPair { chain: Arc::from(*b"c"), key: Arc::from(*b"k"), not_after: 0, digest };
    Arc::new(Secret { name: name.clone(), key_pair: Ok(key_pair), roots })
}

/// What there is, by name.
type Objects = BTreeMap<String, Event>;

/// Makes the edit drawn from `bytes`: an object is put, or removed.
fn edit(objects: &mut Objects, bytes: &[u8]) -> Event {
    let mut draw = Draw(bytes);
    let is_removed = draw.below(5) == 4;
    let (name, put, removed) = if draw.below(4) == 3 {
        let (of, answer) = draw.answer();
        (of.to_string(), Event::Answer(of.clone(), answer), Event::Forget(of))
    } else {
        let (kind, manifest) = draw.manifest();
        let object = model::parse(kind, manifest.to_string().as_bytes()).unwrap();
        let reference = object.reference();
        (reference.to_string(), Event::Put(object), Event::Remove(reference))
    };
    if is_removed {
        objects.remove(&name);
        return removed;
    }
    objects.insert(name, put.clone());
    put
}

fn empty() -> Plane {
    let proxies = Some(ProxyOptions::default());
    let mut plane =
        Plane::new(&Options { gateway_api: true, multi_network: true, proxies, ..Options::default() });
    plane.apply(Kind::ALL.iter().flat_map(|kind| [Event::Begin(*kind), Event::Synced(*kind)]));
    assert!(plane.is_synced());
    plane
}

type Outcome = (
    Vec<(ObjectRef, Arc<Conditions>)>,
    Vec<String>,
    Vec<Referent>,
    Vec<(Name, Arc<GatewayDeployment>)>,
    Vec<Diagnostic>,
);

fn outcome(plane: &Plane) -> Outcome {
    let mut diagnostics = plane.diagnostics();
    diagnostics.sort();
    (plane.conditions(), plane.routes(), plane.wanted(), plane.deployments(), diagnostics)
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
        let mut wanted = BTreeSet::new();
        let mut deployed: BTreeMap<Name, Arc<GatewayDeployment>> = BTreeMap::new();
        for bytes in &edits {
            let delta = plane.apply([edit(&mut objects, bytes)]);
            wanted.extend(delta.referents.wanted);
            for referent in &delta.referents.unwanted {
                prop_assert!(wanted.remove(referent), "{} was not wanted", referent);
            }
            prop_assert_eq!(wanted.iter().cloned().collect::<Vec<_>>(), plane.wanted());
            for object in delta.conditions {
                match plane.conditions_of(&object) {
                    Some(conditions) => known.insert(object, conditions),
                    None => known.remove(&object),
                };
            }
            for gateway in delta.deployments {
                match plane.deployment(&gateway) {
                    Some(deployment) => deployed.insert(gateway, deployment),
                    None => deployed.remove(&gateway),
                };
            }
            prop_assert_eq!(&deployed, &plane.deployments().into_iter().collect());
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
    let slice = |service: &str, address: &str, ready: bool| {
        put(
            Kind::EndpointSlice,
            json!({
                "metadata": {"namespace": "shop", "name": service, "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4", "ports": [{"port": 80}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
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
    let virtual_service = |name: &str, path: &str| {
        let manifest = json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "hosts": ["web"],
                "http": [{"match": [{"uri": {"exact": path}}], "route": [{"destination": {"host": "web"}}]}],
            },
        });
        put(Kind::VirtualService, manifest)
    };
    events.extend((0..50).map(|n| route(&format!("r{n}"), "/a")));
    events.extend((0..10).map(|n| virtual_service(&format!("v{n}"), "/a")));
    plane.apply(events);
    let tables = ["route", "request", "stream", "listener", "attachment", "gateway", "virtual_service"];
    let before = tables.map(|table| computed(&plane, table));
    assert!(!plane.apply([pod("10.0.0.2")]).resources.is_empty());
    plane.apply([slice("web", "10.0.0.2", true)]);
    plane.apply([slice("web", "10.0.0.2", false)]);
    plane.apply([slice("web", "10.0.0.3", true)]);
    assert_eq!(tables.map(|table| computed(&plane, table)), before);

    let (rules, hosts) = (computed(&plane, "http_route_rules"), computed(&plane, "listener_requests"));
    let delta = plane.apply([route("r7", "/b")]);
    assert_eq!(computed(&plane, "http_route_rules"), rules + 1);
    assert_eq!(computed(&plane, "listener_requests"), hosts + 1, "the hostname of the route and no other");
    let (rules, hosts) =
        (computed(&plane, "virtual_service_request_rules"), computed(&plane, "service_requests"));
    plane.apply([virtual_service("v7", "/b")]);
    assert_eq!(computed(&plane, "virtual_service_request_rules"), rules + 1);
    assert_eq!(computed(&plane, "service_requests"), hosts + 1, "the service that it is for and no other");
    assert!(delta.conditions.is_empty() && delta.resources.is_empty());
}

fn put(kind: Kind, manifest: Value) -> Event {
    Event::Put(model::parse(kind, manifest.to_string().as_bytes()).unwrap())
}

/// A gateway in `infra` with an HTTPS listener for each of these Secrets.
fn gateway_with(secrets: &[String]) -> Event {
    let listeners: Vec<Value> = secrets
        .iter()
        .enumerate()
        .map(|(n, name)| {
            json!({
                "name": name, "port": 1000 + n, "protocol": "HTTPS",
                "tls": {"certificateRefs": [{"name": name}]},
            })
        })
        .collect();
    put(
        Kind::Gateway,
        json!({
            "metadata": {"namespace": "infra", "name": "gw"},
            "spec": {"gatewayClassName": "istio", "listeners": listeners},
        }),
    )
}

fn answer(name: &str, digest: u8) -> Event {
    let name = Name::new("infra", name);
    let secret = secret(&name, Digest([digest; 32]), Err("none".to_owned()));
    Event::Answer(Referent::Secret(name), Answer::Secret(secret))
}

#[test]
fn a_secrets_edit_touches_its_listeners_and_nothing_else() {
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let mut plane = empty();
    plane.apply([gateway_with(&names)].into_iter().chain(names.iter().map(|name| answer(name, 1))));
    let count = |plane: &Plane| plane.stats().iter().map(|stats| stats.recomputed as usize).sum::<usize>();
    let (before, tls) = (count(&plane), computed(&plane, "listener_tls"));
    let delta = plane.apply([answer("s7", 2)]);
    assert_eq!(computed(&plane, "listener_tls"), tls + 1);
    assert!(delta.conditions.is_empty() && delta.referents.is_empty());
    // The Secret, whether it is wanted, its listener, what the gateway is sent of it, the conditions of the listener and
    // whether its gateway is programmed, which come out equal.
    assert!(count(&plane) - before <= 7, "{} rows", count(&plane) - before);
}

#[test]
fn what_is_referred_to_is_wanted_after_grants_and_forgotten_with_its_last_reference() {
    let mut plane = empty();
    let refers_to = |ns: &str| {
        put(
            Kind::Gateway,
            json!({
                "metadata": {"namespace": "infra", "name": "gw"},
                "spec": {"gatewayClassName": "istio", "listeners": [{
                    "name": "a", "port": 443, "protocol": "HTTPS",
                    "tls": {"certificateRefs": [{"name": "c", "namespace": ns}]},
                }]},
            }),
        )
    };
    let defaults = Referent::ClassDefaults("istio-system".into());
    assert_eq!(
        plane.apply([refers_to("certs")]).referents.wanted,
        std::slice::from_ref(&defaults),
        "there is no grant"
    );
    let grant = put(
        Kind::ReferenceGrant,
        json!({
            "metadata": {"namespace": "certs", "name": "g"},
            "spec": {
                "from": [{"group": GROUP, "kind": "Gateway", "namespace": "infra"}],
                "to": [{"group": "", "kind": "Secret"}],
            },
        }),
    );
    let of = |ns: &str| Referent::Secret(Name::new(ns, "c"));
    assert_eq!(plane.apply([grant]).referents.wanted, [of("certs")]);
    let moved = plane.apply([refers_to("infra")]).referents;
    assert_eq!((moved.wanted, moved.unwanted), (vec![of("infra")], vec![of("certs")]));
    assert_eq!(plane.wanted(), [of("infra"), defaults]);
}

#[test]
fn a_status_waits_for_what_a_source_reads_on_demand() {
    let mut plane = empty();
    let defaults = Referent::ClassDefaults("istio-system".into());
    let defaults = Event::Answer(defaults, Answer::ConfigMaps(Vec::new()));
    plane.apply([Event::OnDemand, defaults, gateway_with(&["a".to_owned(), "b".to_owned()])]);
    let gateway = ObjectRef { kind: Kind::Gateway, name: Name::new("infra", "gw") };
    let is_pending = |plane: &Plane| plane.conditions_of(&gateway).unwrap().is_pending;
    assert!(is_pending(&plane));
    plane.apply([answer("a", 1)]);
    assert!(is_pending(&plane), "the other one was not read");
    let absent = Event::Answer(Referent::Secret(Name::new("infra", "b")), Answer::Absent);
    let delta = plane.apply([absent]);
    assert!(!is_pending(&plane));
    assert_eq!(delta.conditions, [gateway]);
}

/// A gateway in `infra` with so many routes, of which each has a hostname of its own.
fn gateway_with_routes(count: usize) -> Plane {
    let mut plane = empty();
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let gateway = json!({
        "metadata": {"namespace": "infra", "name": "gw"},
        "spec": {"gatewayClassName": "istio", "listeners": listeners},
    });
    let service =
        json!({"metadata": {"namespace": "infra", "name": "web"}, "spec": {"ports": [{"port": 80}]}});
    let routes = (0..count).map(|n| route_of(n, &format!("r{n}.example.com"), "/a"));
    plane.apply([put(Kind::Gateway, gateway), put(Kind::Service, service)].into_iter().chain(routes));
    plane
}

fn route_of(n: usize, hostname: &str, path: &str) -> Event {
    let rule = json!({"matches": [{"path": {"value": path}}], "backendRefs": [{"name": "web", "port": 80}]});
    let manifest = json!({
        "metadata": {"namespace": "infra", "name": format!("r{n}")},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": [hostname], "rules": [rule]},
    });
    put(Kind::HTTPRoute, manifest)
}

/// Returns how often rows of each table are computed for an edit.
fn cost(plane: &mut Plane, edit: Event) -> BTreeMap<&'static str, u64> {
    let counts = |plane: &Plane| plane.stats().into_iter().map(|of| (of.name, of.recomputed));
    // Some tables, one for each kind, have one name.
    let sum = |all: Vec<(&'static str, u64)>| {
        all.into_iter().fold(BTreeMap::new(), |mut sums: BTreeMap<_, u64>, (name, count)| {
            *sums.entry(name).or_default() += count;
            sums
        })
    };
    let before = sum(counts(plane).collect());
    plane.apply([edit]);
    let after = sum(counts(plane).collect());
    let costs = after.into_iter().map(|(name, count)| (name, count - before[name]));
    costs.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_an_edit_of_a_route_computes_is_of_that_route() {
    let costs = |count| {
        let mut plane = gateway_with_routes(count);
        let rules = cost(&mut plane, route_of(1, "r1.example.com", "/b"));
        let hostname = cost(&mut plane, route_of(1, "other.example.com", "/b"));
        (rules, hostname)
    };
    let (rules, hostname) = costs(40);
    assert_eq!((&rules, &hostname), (&costs(4).0, &costs(4).1), "whatever other routes there are");
    let own =
        ["http_route_parents", "http_route_rules", "listener_requests", "route_conditions", "route_reaches"];
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), own.map(|table| (table, 1)));
    // Of the gateway the count of its routes, which comes out equal; nothing that gathers their hostnames.
    for table in ["listener_request_names", "listeners", "gateway_listeners", "gateway_conditions"] {
        assert_eq!(hostname.get(table), None, "{table}");
    }
}

#[test]
fn where_it_is_asked_for_only_gateways_that_are_configured_are_deployed() {
    // Those of other networks are configured where there may be several.
    for (configured_only, multi_network) in [(true, false), (true, true), (false, false)] {
        let proxies = Some(ProxyOptions { configured_only, ..ProxyOptions::default() });
        let mut plane =
            Plane::new(&Options { gateway_api: true, multi_network, proxies, ..Options::default() });
        plane.apply(Kind::ALL.iter().map(|kind| Event::Synced(*kind)));
        let gateway = |name: &str, class: &str| {
            let listeners = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE"}]);
            let spec = json!({"gatewayClassName": class, "listeners": listeners});
            put(Kind::Gateway, json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}))
        };
        plane.apply([
            gateway("edge", "istio"),
            gateway("other-networks", "istio-east-west"),
            gateway("waypoint", "istio-waypoint"),
        ]);
        let deployed: Vec<String> =
            plane.deployments().into_iter().map(|(name, _)| name.name.to_string()).collect();
        let all = ["edge", "other-networks", "waypoint"];
        let expected: &[&str] = if configured_only && !multi_network { &["edge", "waypoint"] } else { &all };
        assert_eq!(deployed, expected);
    }
}
