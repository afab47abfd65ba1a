//! What waypoints take traffic by: listeners, and scopes of CONNECTs and of requests.

use engine::{Builder, Cx, Table};
use mesh::destination::{Destination, Destinations, Endpoints, Families};
use model::facts::TrafficMode;
use model::{Diagnostic, Name, ObjectRef, RequestLimit, Severity};
use output::{Encoded, Outputs};
use proto::ResourceType;

use crate::key::{
    AddressKey, CONNECT_TERMINATE, DIRECT, ENCAP, MAIN_INTERNAL, PortKey, ResourceKey, port_listener,
};
use crate::policy;
use crate::port::{self, Port, Traffic};
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::route::{self, Routes, Sources};
use crate::send::{Alike, CLUSTERS, LISTENERS, SCOPES, alike, all_alike, resource, send};
use crate::settings::Settings;
use crate::upstream::Streams;
use crate::{cluster, connect, listener};

/// What they are made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub destinations: Destinations,
    pub endpoints: Endpoints,
    pub sources: Sources,
    pub settings: Settings,
    pub profiles: Profiles,
}

/// Declares the resources of waypoints; returns the policies that hold at gateways.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, mesh: &mesh::Tables, of: Inputs) -> policy::Tables {
    let Inputs { destinations, endpoints, sources, settings, profiles } = of;
    let upstreams = sources.upstreams;
    let ports = port::declare(b, destinations, move |cx, key, protocol| upstreams.want(cx, key, protocol));
    let policies = policy::declare(b, mesh, ports, move |cx, key, to| sources.provider(cx, key, to));
    out.diagnostics(b, "unasked_findings", policies.ports, |key, policies| policies.unasked(key));
    for (name, table) in ["unlimited_services", "unlimited_entries"].into_iter().zip(destinations.services) {
        out.diagnostics(b, name, table, |_, service| unlimited(service));
    }
    // Neither what becomes of requests nor of streams is a row: it is computed where it is encoded.
    let requests = b.expand("request_scopes", ports, move |cx, key, port| {
        let of = |routes: Routes| {
            let policies = policies.of(cx, key);
            let traced = profiles.is_traced(cx, &profiles.of_port(cx, key, port), TrafficMode::Server);
            let traced = traced.then_some(port.hostname.as_str());
            resource(&key.waypoint, &routes.cluster, &route::requests(&routes, policies.as_deref(), traced))
        };
        sources.requests(cx, key, port).map(of).into_iter().collect()
    });
    send(b, out, requests, ResourceType::ScopedRoute, SCOPES);
    let listeners = port_listeners(b, ports, policies, of);
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
    let clusters = b.expand("port_listener_clusters", ports, |_, key, port| {
        let name = port_listener(key.port, &port.hostname);
        let has_own = port.traffic() != Traffic::Http;
        has_own.then(|| resource(&key.waypoint, &name, &cluster::of_listener(&name))).into_iter().collect()
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    for connects in connect::declare(b, ports, (policies, profiles), endpoints.called) {
        let of = ResourceType::ScopedRoute;
        out.named_resources(b, connects, of, SCOPES, AddressKey::of, |key, encoded| {
            Some(key.resource(encoded))
        });
    }
    if destinations.is_multi_network {
        let names = connect::declare_by_name(b, ports, (policies, profiles));
        send(b, out, names, ResourceType::ScopedRoute, SCOPES);
    }
    declare_of_every(b, out, destinations, settings, profiles);
    declare_profiles(b, out, settings, profiles);
    declare_of_workloads(b, out, policies, of);
    policies
}

/// Returns what authors of limits should know that nobody keeps.
fn unlimited(service: &Destination) -> Vec<Diagnostic> {
    let is_kept = |protocol| Traffic::of(protocol) != Traffic::Tcp;
    let why = match service.limit {
        None => return Vec::new(),
        Some(_) if service.waypoints.is_empty() => "requests are limited at waypoints, and it has none",
        Some(_) if !service.ports.iter().any(|(_, protocol)| is_kept(*protocol)) => {
            "requests are limited, and none of its ports is one of requests"
        }
        Some(_) => return Vec::new(),
    };
    vec![Diagnostic {
        code: UNLIMITED,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: service.kind, name: service.object.clone() }),
        field: format!("metadata.annotations[{}]", RequestLimit::ANNOTATION),
        message: format!("the limit has no effect: {why}"),
        help: "bind it to a waypoint by the label istio.io/use-waypoint, say what its ports take by appProtocol, or take \
               the limit away"
            .to_owned(),
        place: None,
    }]
}

/// A limit of requests that nobody keeps.
const UNLIMITED: &str = "WP008";

fn port_listeners(
    b: &mut Builder,
    ports: Table<PortKey, Port>,
    policies: policy::Tables,
    Inputs { sources, settings, profiles, .. }: Inputs,
) -> Table<ResourceKey, Encoded> {
    b.expand("port_listeners", ports, move |cx, key, port| {
        let of = |streams: Streams| {
            let name = port_listener(key.port, &port.hostname);
            let policies = policies.of(cx, key);
            let normalization = match port.traffic() {
                Traffic::Tcp => Default::default(),
                Traffic::Http | Traffic::Either => settings.normalization(cx),
            };
            let listener = listener::of_port(
                &name,
                port.traffic(),
                &streams,
                policies.as_deref(),
                normalization,
                &profiles.at_port(cx, &profiles.of_port(cx, key, port), TrafficMode::Server, Some(key.port)),
            );
            resource(&key.waypoint, &name, &listener)
        };
        sources.streams(cx, key, port).map(of).into_iter().collect()
    })
}

/// Declares what every waypoint has.
fn declare_of_every(
    b: &mut Builder,
    out: &mut Outputs,
    destinations: Destinations,
    settings: Settings,
    profiles: Profiles,
) {
    let fixed = b.single("clusters_of_every_waypoint", move |_| {
        vec![alike(MAIN_INTERNAL, &cluster::of_listener(MAIN_INTERNAL))]
    });
    let clusters = b.expand("waypoint_clusters", destinations.waypoints, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(fixed).as_deref())
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let by_name = destinations.is_multi_network;
    let fixed = b.memo("listeners_of_every_waypoint", move |cx, families: &Families| {
        let everywhere = Name::new("", "");
        let profile = profiles.without_services(cx, &everywhere);
        Some(of_every(cx, settings, (*families, by_name), &profile))
    });
    let listeners = b.expand("waypoint_listeners", destinations.waypoints, move |cx, waypoint, ()| {
        let families = cx.get(destinations.families, waypoint).map(|of| *of).unwrap_or_default();
        if profiles.is_everywhere(cx, waypoint) {
            return all_alike(waypoint, cx.memo(fixed, &families).as_deref());
        }
        let profile = profiles.of_gateway(cx, waypoint, TrafficMode::Server);
        all_alike(waypoint, Some(&of_every(cx, settings, (families, by_name), &profile)))
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
}

/// Returns the listeners that every waypoint has.
fn of_every(
    cx: &Cx<'_>,
    settings: Settings,
    (families, by_name): (Families, bool),
    profile: &Profile,
) -> Vec<Alike> {
    let domains = settings.trust_domains(cx);
    vec![
        alike(CONNECT_TERMINATE, &listener::connect_terminate(&domains, families, by_name, profile)),
        alike(MAIN_INTERNAL, &listener::main_internal(MAIN_INTERNAL, settings.normalization(cx), profile)),
    ]
}

/// Declares the listeners of requests of services for which something of their own holds, and what leads there.
fn declare_profiles(b: &mut Builder, out: &mut Outputs, settings: Settings, profiles: Profiles) {
    let wanted = profiles.declare_wanted(b);
    let listeners = b.expand("profile_listeners", wanted, move |cx, key, ()| {
        let profile = profiles.profile(cx, key, TrafficMode::Server);
        let name = key.listener();
        let listener = listener::main_internal(&name, settings.normalization(cx), &profile);
        vec![resource(&key.gateway, &name, &listener)]
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
    let clusters = b.expand("profile_clusters", wanted, |_, key, ()| {
        let name = key.listener();
        vec![resource(&key.gateway, &name, &cluster::of_listener(&name))]
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
}

/// Declares what those have that workloads are called through at their own addresses.
fn declare_of_workloads(b: &mut Builder, out: &mut Outputs, policies: policy::Tables, of: Inputs) {
    let Inputs { destinations, endpoints, settings, profiles, .. } = of;
    let of_gateway = policies.gateways;
    let by_waypoint =
        b.index(endpoints.called, "workload_by_waypoint", |(waypoint, ..), ()| [waypoint.clone()]);
    let with_workloads =
        b.derive("waypoints_of_workloads", destinations.waypoints, move |cx, waypoint, ()| {
            cx.any(by_waypoint, waypoint).then_some(())
        });
    out.diagnostics_where(
        b,
        "unasked_workload_findings",
        with_workloads,
        |_, _| true,
        move |cx, waypoint, ()| {
            let policies = cx.memo(of_gateway, waypoint);
            policies.map(|policies| policies.unasked_of_workloads(waypoint)).unwrap_or_default()
        },
    );
    let fixed = b.single("clusters_to_workloads", |_| {
        vec![alike(DIRECT, &cluster::of_listener(DIRECT)), alike(ENCAP, &cluster::encap())]
    });
    let clusters = b.expand("direct_clusters", with_workloads, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(fixed).as_deref())
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let listeners = b.expand("direct_listeners", with_workloads, move |cx, waypoint, ()| {
        let policies = cx.memo(of_gateway, waypoint);
        let profile = profiles.of_gateway(cx, waypoint, TrafficMode::Server);
        let listener = listener::direct(policies.as_deref(), settings.normalization(cx), &profile);
        vec![resource(waypoint, DIRECT, &listener)]
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
    let scopes = b.expand("direct_scopes", with_workloads, move |cx, waypoint, ()| {
        vec![resource(waypoint, DIRECT, &route::direct(cx.memo(of_gateway, waypoint).as_deref()))]
    });
    send(b, out, scopes, ResourceType::ScopedRoute, SCOPES);
}
