//! The tables of waypoints, and what is sent of them.

use engine::{Builder, Cx, Table};
use mesh::destination::{Destinations, Families};
use model::{Name, Str, TrustDomain};
use output::{Encoded, Outputs, Rank};
use prost::Message;
use proto::ResourceType;

use crate::cluster::Members;
use crate::key::{
    AddressKey, CONNECT_ORIGINATE, CONNECT_TERMINATE, DIRECT, ENCAP, INNER_CONNECT_ORIGINATE, MAIN_INTERNAL,
    OUTER_CONNECT_ORIGINATE, ResourceKey, drain, port_listener,
};
use crate::policy;
use crate::port::{self, Traffic};
use crate::route::{self, Routes, Sources, Streams};
use crate::upstream::Upstreams;
use crate::{cluster, connect, endpoint, listener, tls};

/// After all that ztunnels are sent.
const SECRETS: Rank = Rank::new(190);
const CLUSTERS: Rank = Rank::new(200);
const ENDPOINTS: Rank = Rank::new(210);
const LISTENERS: Rank = Rank::new(220);
const SCOPES: Rank = Rank::new(230);

/// Declares the resources of waypoints.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    mesh: &mesh::Tables,
    gateway: &gateway::Tables,
    destinations: Destinations,
) {
    let upstreams = Upstreams::declare(b, destinations, mesh, gateway);
    let ports = port::declare(b, destinations, move |cx, key, protocol| upstreams.want(cx, key, protocol));
    let sources = Sources { routing: gateway.routing, upstreams };
    let policies = policy::declare(b, mesh, ports, move |cx, key, to| sources.provider(cx, key, to));
    out.diagnostics(b, "unasked_findings", policies.ports, |_, key, policies| policies.unasked(key));
    let of_gateway = policies.gateways;
    let (normalization, access_log) = (mesh.path_normalization, mesh.access_log);
    let log = move |cx: &Cx<'_>| cx.single(access_log).and_then(|log| (*log).clone());
    // Neither what becomes of requests nor of streams is a row: it is computed where it is encoded.
    let requests = b.expand("request_scopes", ports, move |cx, key, port| {
        let of = |routes: Routes| {
            let policies = policies.of(cx, key);
            resource(&key.waypoint, &routes.cluster, &route::requests(&routes, policies.as_deref()))
        };
        sources.requests(cx, key, port).map(of).into_iter().collect()
    });
    let port_listeners = b.expand("port_listeners", ports, move |cx, key, port| {
        let of = |streams: Streams| {
            let name = port_listener(key.port, &port.hostname);
            let policies = policies.of(cx, key);
            let normalization = match port.traffic() {
                Traffic::Tcp => None,
                Traffic::Http | Traffic::Either => cx.single(normalization).map(|of| *of),
            };
            let listener = listener::of_port(
                &name,
                port.traffic(),
                (&streams.shares, &streams.limits),
                policies.as_deref(),
                normalization.unwrap_or_default(),
                log(cx).as_ref(),
            );
            resource(&key.waypoint, &name, &listener)
        };
        sources.streams(cx, key, port).map(of).into_iter().collect()
    });
    let wanted = upstreams.declare_wanted(b);
    let endpoints = destinations.declare_endpoints(b);
    let trust = mesh.identity.settings;
    let trust_domain = b.single("waypoint_trust_domain", move |cx| {
        cx.single(trust).map(|trust| trust.trust_domain.clone()).unwrap_or_default()
    });
    let (network, locations) = (mesh.network, destinations.locations);
    let sources = endpoint::Sources { endpoints, network, locations, trust_domain };
    let assignments = endpoint::declare(b, wanted, upstreams, sources);
    send(b, out, assignments, ResourceType::Endpoint, ENDPOINTS);
    let drained = b.expand("replaced_instances", destinations.waypoints, move |cx, waypoint, ()| {
        let replaced = destinations.replaced(cx, waypoint);
        replaced.iter().map(|pod| resource(waypoint, &drain(pod), &endpoint::drain(pod))).collect()
    });
    send(b, out, drained, ResourceType::Endpoint, ENDPOINTS.next());

    // Waypoints of which some cluster leads to another network.
    let to_networks = b.memo("to_networks", |_, _: &Name| Some(()));
    let clusters = b.expand("clusters", wanted, move |cx, key, ()| {
        let Some(upstream) = upstreams.of(cx, key) else { return Vec::new() };
        let (name, way) = (key.name(), upstreams.way(cx, key, &upstream));
        let of = |place, members| {
            let cluster = cluster::of_upstream(&name, members, &upstream, &way);
            (ResourceKey::at(&key.waypoint, place, name.as_str()), Encoded::message(&cluster))
        };
        if upstream.is_resolved_by_name() {
            let all = sources.assignments(cx, &name, key, &upstream).into_iter();
            return all.map(|(place, members)| of(place, Members::Resolved(members))).collect();
        }
        let members = if upstream.is_asked_for_by_name(key) {
            Members::Asked
        } else {
            let is_elsewhere = endpoints.is_elsewhere(cx, &key.service);
            if is_elsewhere {
                cx.memo(to_networks, &key.waypoint);
            }
            Members::Named(upstream.with_endpoints(key).name(), is_elsewhere)
        };
        vec![of(Str::new(), members)]
    });
    let certificates = upstreams.declare_certificates(b);
    let secrets = b.expand("upstream_secrets", certificates, |_, (waypoint, secret), pair| {
        let name = tls::secret_name(secret);
        vec![resource(waypoint, &name, &tls::certificate(&name, pair))]
    });
    send(b, out, secrets, ResourceType::Secret, SECRETS);
    let of_listeners = b.expand("port_listener_clusters", ports, |_, key, port| {
        let name = port_listener(key.port, &port.hostname);
        let has_own = port.traffic() != Traffic::Http;
        has_own.then(|| resource(&key.waypoint, &name, &cluster::of_listener(&name))).into_iter().collect()
    });
    let domains = b.single("waypoint_trust_domains", move |cx| {
        let trust = cx.single(trust);
        let all = trust.iter().flat_map(|trust| std::iter::once(&trust.trust_domain).chain(&trust.aliases));
        all.cloned().collect::<Vec<TrustDomain>>()
    });
    let workloads = endpoints.called;
    let by_waypoint = b.index(workloads, "workload_by_waypoint", |(waypoint, ..), ()| [waypoint.clone()]);
    let with_workloads =
        b.derive("waypoints_of_workloads", destinations.waypoints, move |cx, waypoint, ()| {
            cx.any(by_waypoint, waypoint).then_some(())
        });
    out.diagnostics(b, "unasked_workload_findings", with_workloads, move |cx, waypoint, ()| {
        let policies = cx.memo(of_gateway, waypoint);
        policies.map(|policies| policies.unasked_of_workloads(waypoint)).unwrap_or_default()
    });
    let with_networks = b.in_use("waypoints_of_networks", to_networks);
    let fixed = b.single("clusters_of_every_waypoint", move |cx| {
        let domains = cx.single(domains).unwrap_or_default();
        vec![
            alike(MAIN_INTERNAL, &cluster::of_listener(MAIN_INTERNAL)),
            alike(CONNECT_ORIGINATE, &cluster::connect_originate(&domains)),
        ]
    });
    let fixed = b.expand("waypoint_clusters", destinations.waypoints, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(fixed).as_deref())
    });
    let of_workloads = b.single("clusters_to_workloads", |_| {
        vec![alike(DIRECT, &cluster::of_listener(DIRECT)), alike(ENCAP, &cluster::encap())]
    });
    let of_workloads = b.expand("direct_clusters", with_workloads, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(of_workloads).as_deref())
    });
    let of_networks = b.single("clusters_to_networks", move |cx| {
        let domains = cx.single(domains).unwrap_or_default();
        vec![
            alike(INNER_CONNECT_ORIGINATE, &cluster::inner_connect_originate(&domains)),
            alike(OUTER_CONNECT_ORIGINATE, &cluster::outer_connect_originate(&domains)),
        ]
    });
    let of_networks = b.expand("network_clusters", with_networks, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(of_networks).as_deref())
    });
    send(b, out, fixed, ResourceType::Cluster, CLUSTERS);
    send(b, out, of_networks, ResourceType::Cluster, CLUSTERS.next().next().next().next());
    send(b, out, of_workloads, ResourceType::Cluster, CLUSTERS.next().next().next());
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS.next());
    send(b, out, of_listeners, ResourceType::Cluster, CLUSTERS.next().next());

    let fixed = b.memo("listeners_of_every_waypoint", move |cx, families: &Families| {
        let domains = cx.single(domains).unwrap_or_default();
        let normalization = cx.single(normalization).map(|of| *of).unwrap_or_default();
        let terminate = listener::connect_terminate(&domains, *families, log(cx).as_ref());
        Some(vec![
            alike(CONNECT_TERMINATE, &terminate),
            alike(MAIN_INTERNAL, &listener::main_internal(normalization, log(cx).as_ref())),
            alike(CONNECT_ORIGINATE, &listener::connect_originate()),
        ])
    });
    let fixed = b.expand("waypoint_listeners", destinations.waypoints, move |cx, waypoint, ()| {
        let families = cx.get(destinations.families, waypoint).map(|of| *of).unwrap_or_default();
        all_alike(waypoint, cx.memo(fixed, &families).as_deref())
    });
    let of_workloads = b.expand("direct_listeners", with_workloads, move |cx, waypoint, ()| {
        let normalization = cx.single(normalization).map(|of| *of).unwrap_or_default();
        let policies = cx.memo(of_gateway, waypoint);
        vec![resource(
            waypoint,
            DIRECT,
            &listener::direct(policies.as_deref(), normalization, log(cx).as_ref()),
        )]
    });
    let of_networks = b.single("listeners_to_networks", move |cx| {
        let network = cx.single(network).map(|of| (*of).clone()).unwrap_or_default();
        vec![
            alike(INNER_CONNECT_ORIGINATE, &listener::inner_connect_originate(&network)),
            alike(OUTER_CONNECT_ORIGINATE, &listener::outer_connect_originate()),
        ]
    });
    let of_networks = b.expand("network_listeners", with_networks, move |cx, waypoint, ()| {
        all_alike(waypoint, cx.single(of_networks).as_deref())
    });
    send(b, out, fixed, ResourceType::Listener, LISTENERS);
    send(b, out, of_networks, ResourceType::Listener, LISTENERS.next().next().next());
    send(b, out, of_workloads, ResourceType::Listener, LISTENERS.next().next());
    send(b, out, port_listeners, ResourceType::Listener, LISTENERS.next());

    send(b, out, requests, ResourceType::ScopedRoute, SCOPES);
    let of_workloads = b.expand("direct_scopes", with_workloads, move |cx, waypoint, ()| {
        vec![resource(waypoint, DIRECT, &route::direct(cx.memo(of_gateway, waypoint).as_deref()))]
    });
    let mut rank = SCOPES.next();
    for connects in connect::declare(b, ports, policies, workloads) {
        let of = ResourceType::ScopedRoute;
        out.named_resources(b, connects, of, rank, AddressKey::of, |key, encoded| {
            Some(key.resource(encoded))
        });
        rank = rank.next();
    }
    send(b, out, of_workloads, ResourceType::ScopedRoute, rank);
}

fn resource(waypoint: &Name, name: &str, message: &impl Message) -> (ResourceKey, Encoded) {
    (ResourceKey::new(waypoint, name), Encoded::message(message))
}

/// A resource that is the same at many waypoints, which share its bytes: its name, and what it is.
type Alike = (&'static str, Encoded);

fn alike(name: &'static str, message: &impl Message) -> Alike {
    (name, Encoded::message(message))
}

fn all_alike(waypoint: &Name, all: Option<&Vec<Alike>>) -> Vec<(ResourceKey, Encoded)> {
    let of = |(name, encoded): &Alike| (ResourceKey::new(waypoint, name), encoded.clone());
    all.into_iter().flatten().map(of).collect()
}

fn send(
    b: &mut Builder,
    out: &mut Outputs,
    table: Table<ResourceKey, Encoded>,
    of: ResourceType,
    rank: Rank,
) {
    out.named_resources(b, table, of, rank, ResourceKey::of, |key, encoded| Some(key.resource(encoded)));
}
