//! What waypoints take traffic by: listeners, and scopes of CONNECTs and of requests.

use engine::{Builder, Table};
use mesh::destination::{Destinations, Endpoints, Families};
use output::{Encoded, Outputs};
use proto::ResourceType;

use crate::key::{
    AddressKey, CONNECT_TERMINATE, DIRECT, ENCAP, MAIN_INTERNAL, PortKey, ResourceKey, port_listener,
};
use crate::policy;
use crate::port::{self, Port, Traffic};
use crate::route::{self, Routes, Sources, Streams};
use crate::send::{CLUSTERS, LISTENERS, SCOPES, alike, all_alike, resource, send};
use crate::settings::Settings;
use crate::{cluster, connect, listener};

/// What they are made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub destinations: Destinations,
    pub endpoints: Endpoints,
    pub sources: Sources,
    pub settings: Settings,
}

/// Declares the resources of waypoints; returns the policies that hold at gateways.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, mesh: &mesh::Tables, of: Inputs) -> policy::Tables {
    let Inputs { destinations, endpoints, sources, settings } = of;
    let upstreams = sources.upstreams;
    let ports = port::declare(b, destinations, move |cx, key, protocol| upstreams.want(cx, key, protocol));
    let policies = policy::declare(b, mesh, ports, move |cx, key, to| sources.provider(cx, key, to));
    out.diagnostics(b, "unasked_findings", policies.ports, |key, policies| policies.unasked(key));
    // Neither what becomes of requests nor of streams is a row: it is computed where it is encoded.
    let requests = b.expand("request_scopes", ports, move |cx, key, port| {
        let of = |routes: Routes| {
            let policies = policies.of(cx, key);
            resource(&key.waypoint, &routes.cluster, &route::requests(&routes, policies.as_deref()))
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
    for connects in connect::declare(b, ports, policies, endpoints.called) {
        let of = ResourceType::ScopedRoute;
        out.named_resources(b, connects, of, SCOPES, AddressKey::of, |key, encoded| {
            Some(key.resource(encoded))
        });
    }
    declare_of_every(b, out, destinations, settings);
    declare_of_workloads(b, out, policies, of);
    policies
}

fn port_listeners(
    b: &mut Builder,
    ports: Table<PortKey, Port>,
    policies: policy::Tables,
    Inputs { sources, settings, .. }: Inputs,
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
                (&streams.shares, &streams.limits),
                policies.as_deref(),
                normalization,
                settings.access_log(cx).as_ref(),
            );
            resource(&key.waypoint, &name, &listener)
        };
        sources.streams(cx, key, port).map(of).into_iter().collect()
    })
}

/// Declares what every waypoint has.
fn declare_of_every(b: &mut Builder, out: &mut Outputs, destinations: Destinations, settings: Settings) {
    let fixed = b.single("clusters_of_every_waypoint", move |_| {
        vec![alike(MAIN_INTERNAL, &cluster::of_listener(MAIN_INTERNAL))]
    });
    let clusters = b.expand("waypoint_clusters", destinations.waypoints, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(fixed).as_deref())
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let fixed = b.memo("listeners_of_every_waypoint", move |cx, families: &Families| {
        let (domains, log) = (settings.trust_domains(cx), settings.access_log(cx));
        Some(vec![
            alike(CONNECT_TERMINATE, &listener::connect_terminate(&domains, *families, log.as_ref())),
            alike(MAIN_INTERNAL, &listener::main_internal(settings.normalization(cx), log.as_ref())),
        ])
    });
    let listeners = b.expand("waypoint_listeners", destinations.waypoints, move |cx, waypoint, ()| {
        let families = cx.get(destinations.families, waypoint).map(|of| *of).unwrap_or_default();
        all_alike(waypoint, cx.memo(fixed, &families).as_deref())
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
}

/// Declares what those have that workloads are called through at their own addresses.
fn declare_of_workloads(b: &mut Builder, out: &mut Outputs, policies: policy::Tables, of: Inputs) {
    let Inputs { destinations, endpoints, settings, .. } = of;
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
        let (normalization, log) = (settings.normalization(cx), settings.access_log(cx));
        let listener = listener::direct(policies.as_deref(), normalization, log.as_ref());
        vec![resource(waypoint, DIRECT, &listener)]
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
    let scopes = b.expand("direct_scopes", with_workloads, move |cx, waypoint, ()| {
        vec![resource(waypoint, DIRECT, &route::direct(cx.memo(of_gateway, waypoint).as_deref()))]
    });
    send(b, out, scopes, ResourceType::ScopedRoute, SCOPES);
}
