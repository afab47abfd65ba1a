//! What a namespace has besides pods and services: a waypoint that its services are bound to, two
//! virtual machines behind a service, entries for external hosts, a policy for the waypoint.

use model::Event;
use model::facts::{
    Action, AuthorizationPolicy, AuthorizationSpec, EntryAddress, Gateway, GatewayAddress, GatewayClass,
    Listener, Meta, Operation, Pod, PolicyTargetRef, Resolution, Rule, ServiceEntry, ServiceEntryPort,
    WorkloadEntry, WorkloadEntrySpec,
};
use model::{Labels, Name, Ns, Object, Str, shared};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::{SERVICES_PER_NAMESPACE, namespace, service_name};

/// The class of the waypoints.
pub(crate) fn class() -> Object {
    let meta = Meta { name: Name { ns: Ns::default(), name: shared("istio-waypoint") }, ..Meta::default() };
    Object::GatewayClass(Arc::new(GatewayClass { meta, controller: shared("istio.io/mesh-controller") }))
}

/// Appends what namespace `n` has.
pub(crate) fn put(n: usize, events: &mut Vec<Event>) {
    let objects =
        [waypoint(n, false), waypoint_pod(n), waypoint_policy(n), static_entry(n), external_entry(n)];
    events.extend(objects.into_iter().chain((0..2).map(|vm| machine(n, vm, 1))).map(Event::Put));
}

/// Returns the labels that bind a namespace's services to its waypoint.
pub(crate) fn binding() -> (&'static str, &'static str) {
    ("istio.io/use-waypoint", "waypoint")
}

fn meta(n: usize, name: &str) -> Meta {
    Meta { name: Name { ns: namespace(n), name: shared(name) }, ..Meta::default() }
}

fn address(base: u32, n: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(base + n as u32))
}

/// Returns the waypoint of namespace `n`, at one of two addresses.
pub fn waypoint(n: usize, moved: bool) -> Object {
    let base = if moved { 0x6480_0000 } else { 0x6460_0000 };
    Object::Gateway(Arc::new(Gateway {
        meta: meta(n, "waypoint"),
        class: shared("istio-waypoint"),
        listeners: vec![Listener {
            name: shared("mesh"),
            port: 15008,
            protocol: shared("HBONE"),
            ..Listener::default()
        }],
        addresses: vec![GatewayAddress::Ip(address(base, n))],
        ..Gateway::default()
    }))
}

fn waypoint_pod(n: usize) -> Object {
    Object::Pod(Arc::new(Pod {
        name: Name { ns: namespace(n), name: shared("waypoint-5d9f") },
        uid: (1 << 64) + n as u128,
        labels: Labels::new([("gateway.networking.k8s.io/gateway-name", "waypoint")]),
        ips: [address(0x0b00_0000, n)].into_iter().collect(),
        service_account: shared("waypoint"),
        workload_name: shared("waypoint"),
        serving: true,
        ..Pod::default()
    }))
}

fn waypoint_policy(n: usize) -> Object {
    let target = PolicyTargetRef {
        group: shared("gateway.networking.k8s.io"),
        kind: shared("Gateway"),
        name: shared("waypoint"),
        ..PolicyTargetRef::default()
    };
    let get = Operation { methods: vec![shared("GET")], ..Operation::default() };
    Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy {
        meta: meta(n, "only-get"),
        dry_run: false,
        spec: Ok(AuthorizationSpec {
            target_refs: vec![target],
            action: Action::Allow,
            rules: vec![Rule { to: vec![get], ..Rule::default() }],
            ..AuthorizationSpec::default()
        }),
    }))
}

/// Returns virtual machine `vm` of namespace `n`, behind the first service of the namespace.
pub fn machine(n: usize, vm: usize, weight: u32) -> Object {
    let app = service_name(n * SERVICES_PER_NAMESPACE).name;
    let labels = Labels::new([("app", app.as_str()), ("version", "v1")]);
    Object::WorkloadEntry(Arc::new(WorkloadEntry {
        meta: meta(n, &format!("vm-{vm}")),
        labels: labels.clone(),
        spec: WorkloadEntrySpec {
            address: EntryAddress::Ip(address(0x0c00_0000, 2 * n + vm)),
            labels,
            weight,
            service_account: app,
            ..WorkloadEntrySpec::default()
        },
    }))
}

fn https() -> Vec<ServiceEntryPort> {
    vec![ServiceEntryPort { number: 443, name: shared("https"), protocol: shared("TLS"), target: 443 }]
}

fn static_entry(n: usize) -> Object {
    let endpoint = |i| WorkloadEntrySpec {
        address: EntryAddress::Ip(address(0x0d00_0000, 2 * n + i)),
        ..WorkloadEntrySpec::default()
    };
    Object::ServiceEntry(Arc::new(ServiceEntry {
        meta: meta(n, "database"),
        hosts: vec![Str::from(format!("database-{n}.example.com"))],
        ports: https(),
        resolution: Resolution::Static,
        endpoints: vec![endpoint(0), endpoint(1)],
        ..ServiceEntry::default()
    }))
}

fn external_entry(n: usize) -> Object {
    Object::ServiceEntry(Arc::new(ServiceEntry {
        meta: meta(n, "partner"),
        hosts: vec![Str::from(format!("partner-{n}.example.com"))],
        ports: https(),
        resolution: Resolution::Dns,
        ..ServiceEntry::default()
    }))
}
