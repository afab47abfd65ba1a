//! What a tenant may change of others: nothing, but by what they grant.
//!
//! One namespace is a tenant's. Whatever objects it has, the resources, certificates, statuses, deployments and findings
//! of all other namespaces are the same. Others may grant it something, by what `docs/operations.md` lists; here they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::LazyLock;

use mesh::{Options, ProxyOptions};
use model::parse::{ReferentKind, referent};
use model::{Event, Kind, ObjectRef, Scope};
use plane::Plane;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proto::ResourceType;
use proto::workload::address::Type;
use proto::workload::service::Visibility;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::manifests::{self, Draw, event_of};
use crate::{config, synced};

const TENANT: &str = "far";
const OTHERS: [&str; 2] = ["shop", "istio-system"];
/// Bytes that one manifest is drawn from; those beyond are zero.
const LENGTH: usize = 40;

/// An object of a namespace, of a kind that tenants may write.
fn manifest(kind: Kind, namespace: &str, bytes: &[u8]) -> Value {
    let mut draw = Draw::new(bytes);
    let d = &mut draw;
    let mut value = match kind {
        Kind::Service => service(namespace, d),
        Kind::HTTPRoute | Kind::GRPCRoute => route(kind, d),
        Kind::TLSRoute | Kind::TCPRoute => streams(kind, d),
        Kind::VirtualService => virtual_service(d),
        Kind::DestinationRule => json!({"metadata": d.metadata(&[], &[]), "spec": {
            "host": host(d), "exportTo": d.pick(&[json!([]), json!(["*"]), json!(["."])]),
            "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": d.pick(&[1, 2])}}},
            "subsets": [{"name": "v1", "labels": {"app": "a"}}],
        }}),
        Kind::ReferenceGrant => json!({"metadata": d.metadata(&[], &[]), "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": anyone(d)}],
            "to": [{"group": "", "kind": "Service"}],
        }}),
        Kind::BackendTLSPolicy => json!({"metadata": d.metadata(&[], &[]), "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": d.pick(&["a", "b"])}],
            "validation": {"hostname": "x.test", "wellKnownCACertificates": "System"},
        }}),
        Kind::RequestAuthentication => json!({"metadata": d.metadata(&[], &[]), "spec": {
            "targetRefs": [{"group": d.pick(&["", "gateway.networking.k8s.io"]), "kind": d.pick(&["Service", "Gateway"]),
                            "name": d.pick(&["a", "b", "edge"])}],
            "jwtRules": [{"issuer": "https://x.test", "jwks": r#"{"keys": []}"#}],
        }}),
        Kind::Telemetry => {
            let targets = json!([{"group": d.pick(&["", "gateway.networking.k8s.io"]),
                "kind": d.pick(&["Service", "Gateway", "GatewayClass"]), "name": d.pick(&["a", "b", "edge", "istio"])}]);
            let targets = if d.rarely(2) { json!(null) } else { targets };
            json!({"metadata": d.metadata(&[], &[]), "spec": {
                "targetRefs": targets,
                "accessLogging": [{"providers": [{"name": "envoy"}]}],
                "metrics": [{"overrides": [{"disabled": d.pick(&[true, false])}]}],
            }})
        }
        Kind::ListenerSet => json!({"metadata": d.metadata(&[], &[]), "spec": {
            "parentRef": {"name": d.pick(&["a", "b", "edge"]), "namespace": anyone(d)},
            "listeners": [{"name": "x", "port": 80, "protocol": "HTTP"}, https(d)],
        }}),
        Kind::Gateway if d.rarely(2) => {
            json!({"metadata": d.metadata(&[], &[]), "spec": {"gatewayClassName": "istio", "listeners": [https(d)]}})
        }
        Kind::ServiceEntry => {
            let mut value = manifests::drawn(kind, d);
            value["spec"]["addresses"] =
                d.pick(&[json!([]), json!(["240.0.0.1"]), json!(["10.1.0.1", "240.0.0.2"])]);
            value
        }
        _ => manifests::drawn(kind, d),
    };
    value["metadata"]["namespace"] = json!(namespace);
    if namespace == TENANT {
        // Of two that want the same the older has it, whoever that is.
        value["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    }
    value
}

/// A listener that shows a certificate, perhaps one of another namespace.
fn https(d: &mut Draw<'_>) -> Value {
    let hostname = d.pick(&["a.example.org", "*.example.org", "b.example.org"]);
    let certificate = json!({"name": "pair", "namespace": anyone(d)});
    json!({"name": "s", "port": 443, "protocol": "HTTPS", "hostname": hostname, "tls": {"certificateRefs": [certificate]}})
}

/// The Secret `pair` of a namespace.
fn pair(namespace: &str) -> Event {
    static PEM: LazyLock<[String; 2]> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["a.example.org".to_owned()]).expect("a certificate");
        [made.cert.pem(), made.signing_key.serialize_pem()]
    });
    let [chain, key] = &*PEM;
    let object = json!({
        "metadata": {"namespace": namespace, "name": "pair"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": chain, "tls.key": key},
    });
    let (of, answer) = referent(ReferentKind::Secret, object.to_string().as_bytes()).expect("a Secret");
    Event::Answer(of, answer)
}

fn anyone(d: &mut Draw<'_>) -> &'static str {
    d.pick(&["shop", TENANT, "istio-system"])
}

/// Names of hosts of services, those of others among them.
fn host(d: &mut Draw<'_>) -> String {
    let name = d.pick(&["a", "b", "*"]);
    match d.below(3) {
        0 => name.to_owned(),
        1 => format!("{name}.{}.svc.cluster.local", anyone(d)),
        _ => d.pick(&["a.example.org", "*.example.org", "*"]).to_owned(),
    }
}

/// A Service. An API server gives no address twice.
fn service(namespace: &str, d: &mut Draw<'_>) -> Value {
    let mut value = manifests::drawn(Kind::Service, d);
    value["spec"]["clusterIP"] = json!(format!("{}.{}", addresses(namespace), d.pick(&[1, 2, 9])));
    value
}

/// What addresses of Services of a namespace begin with.
fn addresses(namespace: &str) -> &'static str {
    match namespace {
        TENANT => "10.1.1",
        "shop" => "10.1.0",
        _ => "10.1.2",
    }
}

fn parents(d: &mut Draw<'_>) -> Value {
    let (group, kind) = d.pick(&[
        ("", "Service"),
        ("gateway.networking.k8s.io", "Gateway"),
        ("networking.istio.io", "ServiceEntry"),
    ]);
    json!([{"group": group, "kind": kind, "name": d.pick(&["a", "b", "edge"]), "namespace": anyone(d)}])
}

fn backend(d: &mut Draw<'_>) -> Value {
    json!({"group": "", "kind": "Service", "name": d.pick(&["a", "b"]), "namespace": anyone(d), "port": d.pick(&[80, 3306])})
}

fn route(kind: Kind, d: &mut Draw<'_>) -> Value {
    let matches = match kind {
        Kind::GRPCRoute => json!([{"method": {"service": d.pick(&["x", "y"])}}]),
        _ => json!([{"path": {"type": "PathPrefix", "value": d.pick(&["/", "/x"])}}]),
    };
    let mirror = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": backend(d)}}]);
    let filters = if d.rarely(3) { mirror } else { json!([]) };
    json!({"metadata": d.metadata(&[], &[]), "spec": {
        "parentRefs": parents(d), "hostnames": d.pick(&[json!([]), json!(["a.example.org"])]),
        "rules": [{"matches": matches, "filters": filters, "backendRefs": [backend(d)]}],
    }})
}

fn streams(kind: Kind, d: &mut Draw<'_>) -> Value {
    let mut value = json!({"metadata": d.metadata(&[], &[]), "spec": {
        "parentRefs": parents(d), "rules": [{"backendRefs": [backend(d)]}],
    }});
    if kind == Kind::TLSRoute {
        value["spec"]["hostnames"] = json!([d.pick(&["a.example.org", "*.example.org"])]);
    }
    value
}

fn virtual_service(d: &mut Draw<'_>) -> Value {
    json!({"metadata": d.metadata(&[], &[]), "spec": {
        "hosts": [host(d)], "exportTo": d.pick(&[json!([]), json!(["*"])]), "gateways": ["mesh"],
        "http": [{"route": [{"destination": {"host": host(d), "port": {"number": 80}}}],
                  "mirror": {"host": host(d)}}],
    }})
}

/// Takes back what others grant the tenant.
fn without_grants(kind: Kind, mut value: Value) -> Value {
    let metadata = &mut value["metadata"];
    for key in ["istio.io/use-waypoint-namespace", "istio.io/use-waypoint-canary-namespace"] {
        // Whoever names a waypoint of the tenant lets it decide.
        if metadata["labels"][key] == TENANT {
            metadata["labels"][key] = json!("shop");
        }
    }
    let spec = &mut value["spec"];
    match kind {
        // Waypoints and listeners serve their own namespace alone.
        Kind::Gateway => {
            for listener in spec["listeners"].as_array_mut().into_iter().flatten() {
                listener["allowedRoutes"] = json!({"namespaces": {"from": "Same"}});
            }
        }
        Kind::ReferenceGrant => {
            for from in spec["from"].as_array_mut().into_iter().flatten() {
                from["namespace"] = json!("shop");
            }
        }
        // The root namespace is no tenant.
        Kind::ConfigMap if value["data"]["mesh"] == "rootNamespace: far" => value["data"]["mesh"] = json!(""),
        _ => {}
    }
    // What an object refers to is its author's choice.
    let text = value.to_string();
    let own = text.replace(r#""namespace":"far""#, r#""namespace":"shop""#).replace(".far.svc", ".shop.svc");
    serde_json::from_str(&own).expect("JSON")
}

/// Kinds of which a tenant has objects.
fn kinds() -> Vec<Kind> {
    let namespaced = Kind::ALL.iter().copied().filter(|kind| kind.scope() == Scope::Namespaced);
    namespaced.filter(|kind| *kind != Kind::ConfigMap).collect()
}

fn of_tenant() -> impl Strategy<Value = Event> {
    (select(kinds()), vec(any::<u8>(), LENGTH))
        .prop_map(|(kind, bytes)| event_of(kind, &manifest(kind, TENANT, &bytes)))
}

fn of_others() -> impl Strategy<Value = Event> {
    let object = (select(Kind::ALL), select(&OTHERS[..]), vec(any::<u8>(), LENGTH));
    object.prop_map(|(kind, namespace, bytes)| {
        let of_cluster = kind.scope() == Scope::Cluster || kind == Kind::ConfigMap;
        let value = if of_cluster {
            manifests::drawn(kind, &mut Draw::new(&bytes))
        } else {
            manifest(kind, namespace, &bytes)
        };
        event_of(kind, &without_grants(kind, value))
    })
}

/// Where it counts that a service has a waypoint, and a gateway its class.
fn beginnings() -> Vec<Event> {
    let put = |kind, value: Value| event_of(kind, &value);
    let mut all = vec![put(
        Kind::GatewayClass,
        json!({
            "metadata": {"name": "istio-waypoint"}, "spec": {"controllerName": "istio.io/mesh-controller"},
        }),
    )];
    // Hosts that somebody has stay that one's.
    all.push(put(Kind::ServiceEntry, json!({
        "metadata": {"namespace": "istio-system", "name": "known", "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {
            "hosts": ["a.example.org", "b.example.org", "c.example.org", "*.example.org"], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "endpoints": [{"address": "192.0.2.7"}],
        },
    })));
    for namespace in ["shop", TENANT, "istio-system"] {
        all.push(put(
            Kind::Namespace,
            json!({
                "metadata": {"name": namespace, "labels": {"istio.io/use-waypoint": "a"}},
            }),
        ));
        all.push(put(
            Kind::Gateway,
            json!({
                "metadata": {"namespace": namespace, "name": "a"},
                "spec": {
                    "gatewayClassName": "istio-waypoint",
                    "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
                },
                "status": {"addresses": [{"type": "IPAddress", "value": "10.1.0.9"}]},
            }),
        ));
        all.push(pair(namespace));
        all.push(put(
            Kind::Gateway,
            json!({
                "metadata": {"namespace": namespace, "name": "edge"},
                "spec": {
                    "gatewayClassName": "istio",
                    "listeners": [
                        {"name": "http", "port": 80, "protocol": "HTTP"},
                        {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example.org",
                         "tls": {"certificateRefs": [{"name": "pair"}]}},
                        {"name": "tls", "port": 8443, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
                        {"name": "tcp", "port": 9000, "protocol": "TCP"},
                    ],
                },
            }),
        ));
        all.push(put(Kind::Service, json!({
            "metadata": {"namespace": namespace, "name": "a"},
            "spec": {"clusterIP": format!("{}.1", addresses(namespace)), "selector": {"app": "a"}, "ports": [{"name": "http", "port": 80}]},
        })));
    }
    all
}

fn options() -> impl Strategy<Value = Options> {
    any::<[bool; 4]>().prop_map(|[allow_waypoints, require_waypoints, multi_network, deploys]| Options {
        allow_waypoints,
        require_waypoints,
        multi_network,
        gateway_api: true,
        configures_waypoints: true,
        proxies: deploys.then(ProxyOptions::default),
        ..Options::default()
    })
}

/// What others have, by whose it is and what it is.
fn of_all_others(plane: &Plane) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut add = |namespace: &str, what: String, content: &dyn Debug| {
        if namespace != TENANT {
            all.insert(what, format!("{content:?}"));
        }
    };
    // What STRICT means is the same policy for all who say it, and there while anybody does.
    let strict = "istio-system/istio_converted_static_strict";
    for resource in plane.resources().into_iter().filter(|of| of.name != strict) {
        let of_mesh = matches!(resource.resource_type, ResourceType::Address | ResourceType::Authorization);
        let namespace = match (&resource.scope, of_mesh) {
            (proto::Scope::Proxy(of), _) => of.split('/').next().unwrap_or_default().to_owned(),
            _ => crate::namespace(&resource),
        };
        let key = format!("{:?} {:?} {}", resource.scope, resource.resource_type, resource.name);
        add(&namespace, key, &resource.body);
    }
    for (object, conditions) in plane.conditions() {
        add(owner(&object), format!("status of {object}"), &conditions);
    }
    for diagnostic in plane.diagnostics() {
        let namespace = diagnostic.object.as_ref().map_or("", owner);
        add(namespace, format!("finding {diagnostic:?}"), &());
    }
    for (gateway, deployment) in plane.deployments() {
        add(&gateway.ns, format!("deployment of {gateway}"), &deployment);
    }
    for (pod, identity) in plane.identity().pods() {
        let instance = plane.identity().instance(&pod.ns, &pod.name);
        add(&pod.ns, format!("rights of {pod}"), &(identity, instance));
    }
    all
}

/// The namespace of an object, which a Namespace is itself.
fn owner(object: &ObjectRef) -> &str {
    if object.kind == Kind::Namespace { &object.name.name } else { &object.name.ns }
}

/// The addresses of Services of others that are an entry's of the tenant, too.
fn captured(plane: &Plane) -> Vec<String> {
    let (mut own, mut entries) = (BTreeSet::new(), Vec::new());
    for resource in plane.resources().iter().filter(|of| of.resource_type == ResourceType::Address) {
        let Some(Type::Service(service)) = crate::address(resource).r#type else { continue };
        let is_public = service.visibility() != Visibility::Namespace;
        let is_of_cluster =
            service.hostname == format!("{}.{}.svc.cluster.local", service.name, service.namespace);
        for at in service.addresses {
            match (is_of_cluster, service.namespace.as_str()) {
                (true, TENANT) => {}
                (true, _) => drop(own.insert(at.address)),
                (false, TENANT) if is_public => entries.push((resource.name.clone(), at.address)),
                (false, _) => {}
            }
        }
    }
    entries
        .into_iter()
        .filter(|(_, at)| own.contains(at))
        .map(|(name, at)| format!("{name}: {at:?}"))
        .collect()
}

/// The Secrets of others that gateways of the tenant are sent.
fn taken(plane: &Plane) -> Vec<String> {
    let secrets = plane.resources().into_iter().filter(|of| of.resource_type == ResourceType::Secret);
    let is_of_tenant = |of: &proto::Scope| of.to_string().starts_with(&format!("{TENANT}/"));
    let secrets = secrets.filter(|of| is_of_tenant(&of.scope)).map(|of| of.name);
    secrets.filter(|name| !name.contains(&format!("://{TENANT}/"))).collect()
}

/// What is in one and not the same in the other.
fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    let differ = keys.filter(|key| one.get(*key) != other.get(*key));
    differ.map(|key| format!("{key}\n  {:?}\n  {:?}", one.get(key), other.get(key))).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tenant_changes_nothing_of_others(
        options in options(),
        others in vec(of_others(), 0..25),
        tenants in vec(of_tenant(), 1..12),
    ) {
        let without = synced(&options, beginnings().into_iter().chain(others.clone()).collect());
        let with = synced(&options, beginnings().into_iter().chain(others).chain(tenants).collect());
        let differences = differences(&of_all_others(&without), &of_all_others(&with));
        prop_assert!(differences.is_empty(), "{}", differences.join("\n"));
        prop_assert_eq!(captured(&with), Vec::<String>::new());
        prop_assert_eq!(taken(&with), Vec::<String>::new());
    }
}

#[test]
fn drawn_tenants_change_others_where_these_let_them() {
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = || {
        let mut bytes = [0; LENGTH];
        random.fill(&mut bytes[..]);
        bytes
    };
    let all =
        Options { gateway_api: true, configures_waypoints: true, multi_network: true, ..Options::default() };
    let changed = (0..60).filter(|_| {
        let mut objects = |namespaces: &[&str], count: usize| -> Vec<Event> {
            let drawn = (0..count).map(|_| {
                let (bytes, kinds) = (bytes(), kinds());
                let kind = kinds[usize::from(bytes[LENGTH - 1]) % kinds.len()];
                event_of(
                    kind,
                    &manifest(kind, namespaces[usize::from(bytes[LENGTH - 2]) % namespaces.len()], &bytes),
                )
            });
            drawn.collect()
        };
        let (others, tenants) = (objects(&OTHERS, 30), objects(&[TENANT], 15));
        let without = synced(&all, beginnings().into_iter().chain(others.clone()).collect());
        let with = synced(&all, beginnings().into_iter().chain(others).chain(tenants).collect());
        !differences(&of_all_others(&without), &of_all_others(&with)).is_empty()
    });
    let count = changed.count();
    assert!(count > 15, "{count} of 60");
}
