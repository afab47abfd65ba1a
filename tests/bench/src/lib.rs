//! A mesh of any size, as the events that a source would send: ten pods a service, twenty-five
//! services a namespace, one endpoint slice a service, a hundred and fifty pods a node; and each
//! namespace's waypoint, machines, entries and policies, where all kinds are asked for.

pub mod edge;
pub mod gateways;
mod kinds;
pub mod measure;
pub mod server;
pub mod waypoints;

pub use kinds::{machine, waypoint};

use model::Event;
use model::facts::{
    Action, AddressType, AuthorizationPolicy, AuthorizationSpec, Endpoint, EndpointPort, EndpointSlice,
    EndpointTarget, Meta, Namespace, Node, Operation, PeerAuthentication, PeerAuthenticationSpec, Pod,
    Protocol, Rule, Service, ServicePort, Source, TargetPort,
};
use model::{Kind, Labels, Name, Ns, Object, Str, shared};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const PODS_PER_SERVICE: usize = 10;
const SERVICES_PER_NAMESPACE: usize = 25;
const PODS_PER_NODE: usize = 150;

/// Reads an object as a source does.
fn put(kind: Kind, object: &serde_json::Value) -> Event {
    match model::parse::parse(kind, object.to_string().as_bytes()) {
        Ok(object) => Event::Put(object),
        Err(why) => panic!("{kind}: {}", why.message),
    }
}

/// The size of a mesh.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many pods; the rest follows from it.
    pub pods: usize,
    /// Whether there are waypoints, entries and policies for waypoints as well.
    pub all_kinds: bool,
}

impl Size {
    /// Returns the number of services.
    pub fn services(self) -> usize {
        self.pods.div_ceil(PODS_PER_SERVICE)
    }

    /// Returns the number of namespaces.
    pub fn namespaces(self) -> usize {
        self.services().div_ceil(SERVICES_PER_NAMESPACE)
    }

    /// Returns everything that a source would send until it is synced.
    pub fn listing(self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.pods + 2 * self.services() + 10_000);
        let put = |events: &mut Vec<Event>, object| events.push(Event::Put(object));
        if self.all_kinds {
            put(&mut events, kinds::class());
        }
        for n in 0..self.namespaces() {
            let enrolled = ("istio.io/dataplane-mode", "ambient");
            let labels = Labels::new([enrolled].into_iter().chain(self.all_kinds.then(kinds::binding)));
            let namespace = Namespace { name: namespace(n), labels, ..Namespace::default() };
            put(&mut events, Object::Namespace(Arc::new(namespace)));
            put(&mut events, policy(n, "reader"));
            put(&mut events, strict(n));
            if self.all_kinds {
                kinds::put(n, &mut events);
            }
        }
        for n in 0..self.pods.div_ceil(PODS_PER_NODE) {
            let node = Node {
                name: Name { ns: Ns::default(), name: node(n) },
                region: shared("region-1"),
                zone: shared(&format!("region-1{}", ["a", "b", "c"][n % 3])),
                subzone: Str::new(),
            };
            put(&mut events, Object::Node(Arc::new(node)));
        }
        for s in 0..self.services() {
            put(&mut events, service(s));
            put(&mut events, slice(s, self.pods));
        }
        for p in 0..self.pods {
            put(&mut events, pod(p, true));
        }
        events.extend(Kind::ALL.iter().map(|k| Event::Synced(*k)));
        events
    }
}

fn namespace(n: usize) -> Ns {
    Ns::own(&format!("team-{n}"))
}

fn node(n: usize) -> Str {
    shared(&format!("node-{n}"))
}

fn service_name(s: usize) -> Name {
    Name { ns: namespace(s / SERVICES_PER_NAMESPACE), name: shared(&format!("service-{s}")) }
}

fn pod_name(p: usize) -> Name {
    let service = service_name(p / PODS_PER_SERVICE);
    Name { ns: service.ns, name: Str::from(format!("{}-6f7d9c5b8d-{p:06x}", service.name)) }
}

fn pod_ip(p: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + p as u32 + 1))
}

/// Returns pod number `p`.
pub fn pod(p: usize, ready: bool) -> Object {
    let s = p / PODS_PER_SERVICE;
    let app = format!("service-{s}");
    Object::Pod(Arc::new(Pod {
        name: pod_name(p),
        uid: p as u128 + 1,
        labels: Labels::new([
            ("app", app.as_str()),
            ("version", "v1"),
            ("pod-template-hash", "6f7d9c5b8d"),
            ("app.kubernetes.io/part-of", "load"),
        ]),
        ips: [pod_ip(p)].into_iter().collect(),
        node: node(p / PODS_PER_NODE),
        service_account: shared(&app),
        workload_name: shared(&app),
        serving: ready,
        captured: true,
        ..Pod::default()
    }))
}

fn service(s: usize) -> Object {
    let app = format!("service-{s}");
    Object::Service(Arc::new(Service {
        meta: Meta { name: service_name(s), ..Meta::default() },
        selector: Labels::new([("app", app.as_str())]),
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from(0x6440_0000 + s as u32))],
        ports: vec![ServicePort {
            name: shared("http"),
            port: 80,
            protocol: Protocol::Tcp,
            target: TargetPort::Number(8080),
            app_protocol: Str::new(),
        }],
        ip_families: vec![model::facts::IpFamily::V4],
        ..Service::default()
    }))
}

fn slice(s: usize, pods: usize) -> Object {
    let service = service_name(s);
    let range = s * PODS_PER_SERVICE..((s + 1) * PODS_PER_SERVICE).min(pods);
    Object::EndpointSlice(Arc::new(EndpointSlice {
        name: Name { ns: service.ns.clone(), name: Str::from(format!("{}-abcde", service.name)) },
        service: service.name,
        follows_selector: true,
        address_type: AddressType::Ip,
        endpoints: range
            .map(|p| Endpoint {
                addresses: [pod_ip(p)].into_iter().collect(),
                ready: true,
                target: EndpointTarget::Pod { name: pod_name(p), uid: p as u128 + 1 },
            })
            .collect(),
        ports: vec![EndpointPort {
            name: Some(shared("http")),
            port: Some(8080),
            protocol: Some(Protocol::Tcp),
        }],
    }))
}

/// Returns the selector policy of namespace `n`, allowing one account.
pub fn policy(n: usize, account: &str) -> Object {
    let ns = namespace(n);
    let app = format!("service-{}", n * SERVICES_PER_NAMESPACE);
    Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy {
        meta: Meta { name: Name { ns: ns.clone(), name: shared("allow") }, ..Meta::default() },
        dry_run: false,
        spec: Ok(AuthorizationSpec {
            selector: Some(Labels::new([("app", app.as_str())])),
            action: Action::Allow,
            rules: vec![Rule {
                from: vec![Source {
                    principals: vec![Str::from(format!("cluster.local/ns/{ns}/sa/{account}"))],
                    ..Source::default()
                }],
                to: vec![Operation { ports: vec![Str::from("8080")], ..Operation::default() }],
                when: Vec::new(),
            }],
            ..AuthorizationSpec::default()
        }),
    }))
}

fn strict(n: usize) -> Object {
    Object::PeerAuthentication(Arc::new(PeerAuthentication {
        meta: Meta { name: Name { ns: namespace(n), name: shared("default") }, ..Meta::default() },
        spec: Ok(PeerAuthenticationSpec { mode: model::facts::MtlsMode::Strict, ..Default::default() }),
    }))
}
