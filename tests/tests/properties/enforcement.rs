//! Required waypoints under random objects: whatever else is there, a port that is to be reached
//! through a waypoint is not reached by anybody else, as a ztunnel decides.
//!
//! What is to be guarded is read from the objects in the plainest way, and from what workloads are
//! told of their services; what is let in is decided by the policies that are sent.

use std::collections::{BTreeMap, BTreeSet};

use mesh::Options;
use model::Event;
use model::facts::Object;
use model::{Kind, Labels, Name, ObjectRef};
use pilothouse_tests::client::{Connection, rbac};
use plane::Plane;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use proto::ResourceType;
use proto::security::{Action, Authorization, Scope};
use proto::workload::Workload;
use proto::workload::address::Type;

use super::{ClusterState, address, cluster_events, config, manifests};

const REQUIRE: &str = "ambient.pilothouse.io/require-waypoint";
const ROOT: &str = "istio-system";

/// What an object says of its waypoints: whether one is required, and which it names.
#[derive(Debug, Default)]
struct Says {
    required: bool,
    primary: Option<Name>,
    canary: Option<Name>,
}

struct Objects<'a> {
    cluster: &'a ClusterState,
    by_default: bool,
    /// What the author of each Service is told of its waypoint; nothing if it names none.
    bound: BTreeMap<Name, (bool, String)>,
}

impl<'a> Objects<'a> {
    fn new(cluster: &'a ClusterState, by_default: bool, mesh: &Plane) -> Self {
        let services = mesh.conditions().into_iter().filter(|(object, _)| object.kind == Kind::Service);
        let bound = services.filter_map(|(object, conditions)| {
            let bound = conditions.conditions.iter().find(|c| c.kind == "istio.io/WaypointBound")?;
            Some((object.name, (bound.status, bound.message.clone())))
        });
        Self { cluster, by_default, bound: bound.collect() }
    }

    /// The waypoints of a service that are attached.
    fn attached(&self, service: &Name, says: Says) -> Vec<Name> {
        match self.bound.get(service) {
            Some((true, message)) => {
                let canary = says.canary.filter(|_| !message.contains("Canary waypoint not attached"));
                says.primary.into_iter().chain(canary).collect()
            }
            _ => Vec::new(),
        }
    }

    fn get(&self, kind: Kind, name: &Name) -> Option<&Object> {
        self.cluster.objects.get(&ObjectRef { kind, name: name.clone() })
    }

    fn namespace(&self, ns: &str) -> (Labels, Labels) {
        match self.get(Kind::Namespace, &Name::new("", ns)) {
            Some(Object::Namespace(n)) => (n.labels.clone(), n.annotations.clone()),
            _ => Default::default(),
        }
    }

    /// The traffic of which a gateway says that it takes it; nothing if there is no such gateway.
    fn traffic(&self, gateway: &Name) -> Option<String> {
        let Some(Object::Gateway(gateway)) = self.get(Kind::Gateway, gateway) else { return None };
        let own = gateway.meta.labels.get("istio.io/waypoint-for").cloned();
        let class = || match self.get(Kind::GatewayClass, &Name::new("", &gateway.class)) {
            Some(Object::GatewayClass(class)) => class.meta.labels.get("istio.io/waypoint-for").cloned(),
            _ => None,
        };
        Some(own.or_else(class).map_or_else(|| "service".to_owned(), |text| text.to_string()))
    }

    fn says(&self, ns: &str, labels: &Labels, annotations: &Labels, is_workload: bool) -> Says {
        let managed = labels.get("gateway.istio.io/managed").is_some();
        if managed && !is_workload {
            return Says::default();
        }
        let (ns_labels, ns_annotations) = self.namespace(ns);
        let named = |labels: &Labels, suffix: &str| {
            let name = labels.get(&format!("istio.io/use-waypoint{suffix}"))?;
            let of = labels.get(&format!("istio.io/use-waypoint{suffix}-namespace"));
            Some((name != "none").then(|| Name::new(of.map_or(ns, |of| of.as_str()), name)))
        };
        let own = named(labels, "");
        let inherits = own.is_none();
        let mut primary = own.or_else(|| named(&ns_labels, ""));
        if is_workload
            && inherits
            && let Some(Some(gateway)) = &primary
        {
            let traffic = self.traffic(gateway);
            if traffic.is_some_and(|traffic| traffic != "workload" && traffic != "all") {
                primary = None;
            }
        }
        let holds = |annotations: &Labels| annotations.get(REQUIRE).map(|text| text != "false");
        let required = match &primary {
            Some(None) => false,
            Some(Some(_)) => holds(annotations).or(holds(&ns_annotations)).unwrap_or(self.by_default),
            None => holds(annotations) == Some(true),
        };
        let canary = named(labels, "-canary").or_else(|| named(&ns_labels, "-canary").filter(|_| inherits));
        let canary = canary.flatten().filter(|_| !is_workload && matches!(primary, Some(Some(_))));
        Says { required, primary: primary.flatten(), canary }
    }

    fn is_instance(&self, ns: &str, labels: &Labels) -> bool {
        let gateway = labels.get("gateway.networking.k8s.io/gateway-name");
        gateway.is_some_and(|name| self.get(Kind::Gateway, &Name::new(ns, name)).is_some())
    }

    /// The identities of the pods that are instances of these gateways, where those have an address.
    fn identities(&self, gateways: &BTreeSet<Name>) -> BTreeSet<String> {
        let ready = gateways.iter().filter(|name| {
            matches!(self.get(Kind::Gateway, name), Some(Object::Gateway(g)) if !g.addresses.is_empty())
        });
        let ready: BTreeSet<&Name> = ready.collect();
        let instances = self.cluster.objects.values().filter_map(|object| match object {
            Object::Pod(pod) => {
                let gateway = pod.labels.get("gateway.networking.k8s.io/gateway-name")?;
                ready.contains(&Name::new(&pod.name.ns, gateway)).then_some(pod)
            }
            _ => None,
        });
        instances.map(|pod| identity(&pod.name.ns, &pod.service_account)).collect()
    }
}

fn identity(ns: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{ns}/sa/{account}")
}

/// Everything that is sent, decoded.
fn sent(mesh: &Plane) -> (Vec<(String, Workload)>, BTreeMap<String, Authorization>) {
    let (mut workloads, mut policies) = (Vec::new(), BTreeMap::new());
    for resource in mesh.resources() {
        match resource.resource_type {
            ResourceType::Authorization => {
                let policy = Authorization::decode(resource.body.as_deref().unwrap()).unwrap();
                policies.insert(resource.name, policy);
            }
            ResourceType::Address => {
                if let Some(Type::Workload(workload)) = address(&resource).r#type {
                    workloads.push((resource.name, workload));
                }
            }
            other => panic!("a mesh has no {other:?}"),
        }
    }
    (workloads, policies)
}

/// Whether a ztunnel lets a connection in: it heeds policies that the workload lists, and those of
/// its namespace and of the mesh.
fn is_let_in(
    workload: &Workload,
    policies: &BTreeMap<String, Authorization>,
    connection: &Connection,
) -> bool {
    let counts = |(name, policy): &(&String, &Authorization)| match policy.scope() {
        Scope::Global => true,
        Scope::Namespace => policy.namespace == workload.namespace,
        Scope::WorkloadSelector => workload.authorization_policies.contains(name),
    };
    let all: Vec<&Authorization> =
        policies.iter().filter(counts).map(|(_, p)| p).filter(|p| !p.dry_run).collect();
    let (deny, allow): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.action() == Action::Deny);
    let hits = |policy: &&Authorization| rbac::matches(policy, connection);
    !deny.iter().any(hits) && (allow.is_empty() || allow.iter().any(hits))
}

/// A kind, more often one that guards are made from.
fn told() -> impl Strategy<Value = Event> {
    let kinds = select(vec![
        Kind::Namespace,
        Kind::Pod,
        Kind::Pod,
        Kind::Pod,
        Kind::Service,
        Kind::Service,
        Kind::Gateway,
        Kind::GatewayClass,
        Kind::WorkloadEntry,
        Kind::AuthorizationPolicy,
        Kind::PeerAuthentication,
    ]);
    (kinds, vec(any::<u8>(), manifests::LENGTH)).prop_map(|(kind, bytes)| manifests::event(kind, &bytes))
}

/// The ports of a workload that are guarded, and by whom each may be reached.
fn guarded(objects: &Objects<'_>, workload: &Workload) -> Option<BTreeMap<u16, BTreeSet<String>>> {
    let name = Name::new(&workload.namespace, &workload.name);
    let kind = if workload.uid.contains("//Pod/") { Kind::Pod } else { Kind::WorkloadEntry };
    let (labels, annotations) = match objects.get(kind, &name)? {
        Object::Pod(pod) => (&pod.labels, &pod.annotations),
        Object::WorkloadEntry(entry) => (&entry.labels, &entry.meta.annotations),
        _ => return None,
    };
    if objects.is_instance(&name.ns, labels) {
        return None;
    }
    let own = objects.says(&name.ns, labels, annotations, true);
    // Where a workload has its waypoint is sent with it.
    let own_waypoint: BTreeSet<Name> =
        own.primary.into_iter().filter(|_| workload.waypoint.is_some()).collect();
    let mut ports = BTreeMap::new();
    for port in [80, 443, 8080, 8081, 9000] {
        let (mut required, mut named) = (own.required, own_waypoint.clone());
        for (key, list) in &workload.services {
            let host = key.split_once('/').unwrap().1;
            let service = Name::new(&name.ns, host.split('.').next().unwrap());
            let Some(Object::Service(service)) = objects.get(Kind::Service, &service) else { continue };
            if list.ports.iter().any(|p| p.target_port == u32::from(port)) {
                let says = objects.says(&name.ns, &service.meta.labels, &service.meta.annotations, false);
                required |= says.required;
                named.extend(objects.attached(&service.meta.name, says));
            }
        }
        if required {
            ports.insert(port, objects.identities(&named));
        }
    }
    Some(ports)
}

/// Identities that exist or may be claimed, and none.
fn peers() -> Vec<Option<String>> {
    let accounts = manifests::NAMESPACES.iter().flat_map(|ns| ["default", "own"].map(|sa| identity(ns, sa)));
    let foreign = "spiffe://example.org/ns/shop/sa/own".to_owned();
    accounts.chain([foreign]).map(Some).chain([None]).collect()
}

fn connection(source: Option<String>, port: u16) -> Connection {
    Connection { source, source_ip: [10, 9, 9, 9].into(), destination_ip: [10, 0, 0, 1].into(), port }
}

fn options(require_waypoints: bool, allow_waypoints: bool) -> Options {
    Options { require_waypoints, allow_waypoints, system_namespace: ROOT.to_owned(), ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..config() })]

    #[test]
    fn a_guarded_port_lets_nobody_in_who_did_not_come_through_its_waypoints(
        (by_default, allows) in any::<(bool, bool)>(),
        objects in vec(told(), 4..40),
    ) {
        let mut cluster = ClusterState::default();
        cluster_events(objects).iter().for_each(|event| cluster.feed(event));
        let mesh = cluster.built_at_once(&options(by_default, allows));
        let objects = Objects::new(&cluster, by_default, &mesh);
        let (workloads, policies) = sent(&mesh);
        for (name, workload) in &workloads {
            let Some(guarded) = guarded(&objects, workload) else {
                let lists = workload.authorization_policies.iter().any(|p| p.contains("require_waypoint"));
                prop_assert!(!lists, "{name} is a gateway's own, or nobody's, and is guarded");
                continue;
            };
            for (port, allowed) in &guarded {
                for peer in peers() {
                    let is_waypoint = peer.as_ref().is_some_and(|peer| allowed.contains(peer));
                    let let_in = is_let_in(workload, &policies, &connection(peer.clone(), *port));
                    prop_assert!(is_waypoint || !let_in, "{name} lets {peer:?} in at {port}, not one of {allowed:?}");
                }
            }
            // What nobody asked to guard is as it would be without guards.
            for port in [80_u16, 443, 8080, 8081, 9000].into_iter().filter(|p| !guarded.contains_key(p)) {
                for peer in peers() {
                    let at = connection(peer.clone(), port);
                    let by = workload.authorization_policies.iter().filter(|p| p.contains("require_waypoint"));
                    for policy in by {
                        prop_assert!(!rbac::matches(&policies[policy], &at), "{policy} refuses {peer:?} at {port} of {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn drawn_meshes_have_guards_that_let_waypoints_in_and_keep_others_out() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut opened, mut shut) = (0, 0);
    for _ in 0..512 {
        let objects = vec(told(), 4..40).new_tree(&mut runner).unwrap().current();
        let mut cluster = ClusterState::default();
        cluster_events(objects).iter().for_each(|event| cluster.feed(event));
        let mesh = cluster.built_at_once(&options(true, false));
        let objects = Objects::new(&cluster, true, &mesh);
        let (workloads, policies) = sent(&mesh);
        for workload in workloads.iter().map(|(_, w)| w) {
            let Some(guarded) = guarded(&objects, workload) else {
                continue;
            };
            for (port, allowed) in guarded {
                let refuses = |peer: &str| {
                    let at = connection(Some(peer.to_owned()), port);
                    let mut listed =
                        workload.authorization_policies.iter().filter(|p| p.contains("require_waypoint"));
                    listed.any(|policy| rbac::matches(&policies[policy], &at))
                };
                opened += usize::from(allowed.iter().any(|peer| !refuses(peer)));
                shut += usize::from(refuses("spiffe://cluster.local/ns/nowhere/sa/other"));
            }
        }
    }
    assert!(opened > 20 && shut > 100, "{opened} opened, {shut} shut");
}

fn put(kind: Kind, manifest: serde_json::Value) -> Event {
    Event::Put(super::parsed(kind, manifest))
}

fn instance(name: &str, account: &str) -> Event {
    let labels = serde_json::json!({"gateway.networking.k8s.io/gateway-name": "wp"});
    put(
        Kind::Pod,
        serde_json::json!({
            "metadata": {"namespace": "shop", "name": name, "labels": labels},
            "spec": {"serviceAccountName": account}, "status": {"podIP": "10.0.0.9"},
        }),
    )
}

#[test]
fn a_pod_of_a_waypoint_that_comes_or_goes_changes_one_policy_and_no_workload() {
    let mut objects = vec![
        put(
            Kind::Gateway,
            serde_json::json!({
                "metadata": {"namespace": "shop", "name": "wp"}, "spec": {"gatewayClassName": "istio-waypoint"},
                "status": {"addresses": [{"value": "10.1.0.9"}]},
            }),
        ),
        put(
            Kind::Service,
            serde_json::json!({
                "metadata": {
                    "namespace": "shop", "name": "web", "labels": {"istio.io/use-waypoint": "wp"},
                    "annotations": {(REQUIRE): "true"},
                },
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
            }),
        ),
        instance("wp-1", "own"),
    ];
    for n in 0..4 {
        let metadata =
            serde_json::json!({"namespace": "shop", "name": format!("web-{n}"), "labels": {"app": "web"}});
        objects.push(put(
            Kind::Pod,
            serde_json::json!({"metadata": metadata, "status": {"podIP": format!("10.0.0.{n}")}}),
        ));
    }
    let mut mesh = super::synced(&Options::default(), objects);
    let changed = |delta: plane::Delta| {
        let names: Vec<String> = delta.resources.iter().map(|r| r.name.clone()).collect();
        let guards =
            names.iter().filter(|name| name.starts_with("shop/pilothouse_require_waypoint_")).count();
        (guards, names.len() - guards, delta.resources.iter().filter(|r| r.body.is_none()).count())
    };
    let guard = mesh.resources().into_iter().find(|r| r.name.contains("require_waypoint")).unwrap().name;
    let why = mesh.why(&guard, 2)[0].to_string();
    assert!(why.starts_with("enforcement_policies ") && why.contains("waypoint_accounts"), "{why}");
    // The guard, and the waypoint's own pod.
    assert_eq!(changed(mesh.apply([instance("wp-2", "new")])), (1, 1, 0));
    assert_eq!(changed(mesh.apply([instance("wp-3", "new")])), (0, 1, 0), "nobody new may connect");
    let gone = ["wp-2", "wp-3"].map(|name| ObjectRef { kind: Kind::Pod, name: Name::new("shop", name) });
    assert_eq!(changed(mesh.apply(gone.map(Event::Remove))), (1, 2, 2));
    // With the last workload that it guards the guard goes, in the same commit.
    let guarded = |n| ObjectRef { kind: Kind::Pod, name: Name::new("shop", &format!("web-{n}")) };
    assert_eq!(changed(mesh.apply((0..3).map(guarded).map(Event::Remove))), (0, 3, 3));
    assert_eq!(changed(mesh.apply([Event::Remove(guarded(3))])), (1, 1, 2));
}
