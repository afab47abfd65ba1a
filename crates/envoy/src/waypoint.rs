//! The tables of waypoints, and what is sent of them.

use engine::{Builder, Cx, Table};
use mesh::destination::Destinations;
use model::{Name, Str, TrustDomain};
use output::{Encoded, Outputs, Rank};
use prost::Message;
use proto::ResourceType;

use crate::cluster::Members;
use crate::key::{
    CONNECT_ORIGINATE, CONNECT_TERMINATE, DIRECT, ENCAP, INNER_CONNECT_ORIGINATE, MAIN_INTERNAL,
    OUTER_CONNECT_ORIGINATE, ResourceKey, connect_scope, drain, port_listener,
};
use crate::policy;
use crate::port::{self, Traffic};
use crate::route::{self, Sources};
use crate::upstream::{Rows, Upstreams};
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
    let ports = port::declare(b, destinations);
    let upstreams = Upstreams::declare(b, destinations, mesh, gateway);
    upstreams.want_ports(b, ports);
    let sources = Sources { ports, routing: gateway.routing, upstreams };
    let policy::Tables { ports: policies, gateways: of_gateway } =
        policy::declare(b, mesh, ports, move |cx, key, to| sources.provider(cx, key, to));
    out.diagnostics(b, "unasked_findings", policies, |_, key, policies| policies.unasked(key));
    let (normalization, access_log) = (mesh.path_normalization, mesh.access_log);
    let log = move |cx: &Cx<'_>| cx.single(access_log).and_then(|log| (*log).clone());
    let routes = route::declare_requests(b, sources);
    let streams = route::declare_streams(b, sources);
    let Rows { upstreams, certificates } = upstreams.declare_rows(b);
    let secrets = b.expand("upstream_secrets", certificates, |_, (waypoint, secret), pair| {
        let name = tls::secret_name(secret);
        vec![resource(waypoint, &name, &tls::certificate(&name, pair))]
    });
    send(b, out, secrets, ResourceType::Secret, SECRETS);

    let by_service = b.index(upstreams, "upstream_by_service", |key, _| [key.service.clone()]);
    let endpoints = destinations.declare_endpoints(b, move |cx, service| cx.any(by_service, service));
    let trust = mesh.identity.settings;
    let trust_domain = b.single("waypoint_trust_domain", move |cx| {
        cx.single(trust).map(|trust| trust.trust_domain.clone()).unwrap_or_default()
    });
    let (network, locations) = (mesh.network, destinations.locations);
    let sources = endpoint::Sources { endpoints, network, locations, trust_domain };
    let assignments = endpoint::declare(b, upstreams, sources);
    send(b, out, assignments, ResourceType::Endpoint, ENDPOINTS);
    let drained = b.expand("replaced_instances", destinations.waypoints, move |cx, waypoint, ()| {
        let replaced = destinations.replaced(cx, waypoint);
        replaced.iter().map(|pod| resource(waypoint, &drain(pod), &endpoint::drain(pod))).collect()
    });
    send(b, out, drained, ResourceType::Endpoint, ENDPOINTS.next());

    let clusters = b.expand("clusters", upstreams, move |cx, key, upstream| {
        let name = key.name();
        let of = |place, members| {
            let cluster = cluster::of_upstream(&name, members, upstream);
            (ResourceKey::at(&key.waypoint, place, name.as_str()), Encoded::message(&cluster))
        };
        if upstream.is_resolved_by_name() {
            let all = sources.assignments(cx, &name, key, upstream).into_iter();
            return all.map(|(place, members)| of(place, Members::Resolved(members))).collect();
        }
        let members = if upstream.is_asked_for_by_name(key) {
            Members::Asked
        } else {
            let is_elsewhere = endpoints.is_elsewhere(cx, &key.service);
            Members::Named(upstream.with_endpoints(key).name(), is_elsewhere)
        };
        vec![of(Str::new(), members)]
    });
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
    let elsewhere = b.derive("upstreams_elsewhere", upstreams, move |cx, key, _| {
        endpoints.is_elsewhere(cx, &key.service).then_some(())
    });
    let elsewhere = b.index(elsewhere, "upstream_elsewhere_by_waypoint", |key, ()| [key.waypoint.clone()]);
    let with_networks = b.derive("waypoints_of_networks", destinations.waypoints, move |cx, waypoint, ()| {
        cx.any(elsewhere, waypoint).then_some(())
    });
    let fixed = b.expand("waypoint_clusters", destinations.waypoints, move |cx, waypoint, ()| {
        let domains = cx.single(domains).unwrap_or_default();
        vec![
            resource(waypoint, MAIN_INTERNAL, &cluster::of_listener(MAIN_INTERNAL)),
            resource(waypoint, CONNECT_ORIGINATE, &cluster::connect_originate(&domains)),
        ]
    });
    let of_workloads = b.expand("direct_clusters", with_workloads, |_, waypoint, ()| {
        vec![
            resource(waypoint, DIRECT, &cluster::of_listener(DIRECT)),
            resource(waypoint, ENCAP, &cluster::encap()),
        ]
    });
    let of_networks = b.expand("network_clusters", with_networks, move |cx, waypoint, ()| {
        let domains = cx.single(domains).unwrap_or_default();
        vec![
            resource(waypoint, INNER_CONNECT_ORIGINATE, &cluster::inner_connect_originate(&domains)),
            resource(waypoint, OUTER_CONNECT_ORIGINATE, &cluster::outer_connect_originate(&domains)),
        ]
    });
    send(b, out, fixed, ResourceType::Cluster, CLUSTERS);
    send(b, out, of_networks, ResourceType::Cluster, CLUSTERS.next().next().next().next());
    send(b, out, of_workloads, ResourceType::Cluster, CLUSTERS.next().next().next());
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS.next());
    send(b, out, of_listeners, ResourceType::Cluster, CLUSTERS.next().next());

    let fixed = b.expand("waypoint_listeners", destinations.waypoints, move |cx, waypoint, ()| {
        let domains = cx.single(domains).unwrap_or_default();
        let normalization = cx.single(normalization).map(|of| *of).unwrap_or_default();
        let families = cx.get(destinations.families, waypoint).map(|of| *of).unwrap_or_default();
        vec![
            resource(
                waypoint,
                CONNECT_TERMINATE,
                &listener::connect_terminate(&domains, families, log(cx).as_ref()),
            ),
            resource(waypoint, MAIN_INTERNAL, &listener::main_internal(normalization, log(cx).as_ref())),
            resource(waypoint, CONNECT_ORIGINATE, &listener::connect_originate()),
        ]
    });
    let of_ports = b.expand("port_listeners", streams, move |cx, key, streams| {
        let name = port_listener(key.port, &streams.hostname);
        let policies = cx.get(policies, key);
        let normalization = match streams.traffic {
            Traffic::Tcp => None,
            Traffic::Http | Traffic::Either => cx.single(normalization).map(|of| *of),
        };
        let listener = listener::of_port(
            &name,
            streams.traffic,
            (&streams.shares, &streams.limits),
            policies.as_deref(),
            normalization.unwrap_or_default(),
            log(cx).as_ref(),
        );
        vec![resource(&key.waypoint, &name, &listener)]
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
    let of_networks = b.expand("network_listeners", with_networks, move |cx, waypoint, ()| {
        let network = cx.single(network).map(|of| (*of).clone()).unwrap_or_default();
        vec![
            resource(waypoint, INNER_CONNECT_ORIGINATE, &listener::inner_connect_originate(&network)),
            resource(waypoint, OUTER_CONNECT_ORIGINATE, &listener::outer_connect_originate()),
        ]
    });
    send(b, out, fixed, ResourceType::Listener, LISTENERS);
    send(b, out, of_networks, ResourceType::Listener, LISTENERS.next().next().next());
    send(b, out, of_workloads, ResourceType::Listener, LISTENERS.next().next());
    send(b, out, of_ports, ResourceType::Listener, LISTENERS.next());

    let requests = b.expand("request_scopes", routes, move |cx, key, routes| {
        let policies = cx.get(policies, key);
        vec![resource(&key.waypoint, &routes.cluster, &route::requests(routes, policies.as_deref()))]
    });
    let connects = connect::declare(b, ports, policies, workloads);
    let connects = b.expand("connect_scope_resources", connects, |_, key, scope| {
        vec![(ResourceKey::new(&key.waypoint, connect_scope(key.address)), scope.clone())]
    });
    send(b, out, requests, ResourceType::ScopedRoute, SCOPES);
    let of_workloads = b.expand("direct_scopes", with_workloads, move |cx, waypoint, ()| {
        vec![resource(waypoint, DIRECT, &route::direct(cx.memo(of_gateway, waypoint).as_deref()))]
    });
    send(b, out, connects, ResourceType::ScopedRoute, SCOPES.next());
    send(b, out, of_workloads, ResourceType::ScopedRoute, SCOPES.next().next());
}

fn resource(waypoint: &Name, name: &str, message: &impl Message) -> (ResourceKey, Encoded) {
    (ResourceKey::new(waypoint, name), Encoded::message(message))
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
