//! Gateways between networks: what comes from another one by HBONE is passed on, unread.
//!
//! ```text
//!                    CONNECT HOST:PORT
//!  another network ──▶ connect_terminate ──▶ scope HOST ─┬─▶ inbound-vip|PORT|tcp|HOST ──▶ pods, their port of HBONE
//!                         within it: HBONE again         └─▶ hbone|WAYPOINT ──▶ its instances
//! ```
//!
//! Only services that are for every network have a scope. Which of the two ways is taken is the matter of whoever sends: a
//! waypoint of another network has decided already, and says so; all else goes through the service's own. What a service with a
//! waypoint that is not configured here gets is nothing but what a waypoint sends.

use engine::{Builder, Cx, Index, Table};
use gateway::Class;
use mesh::destination::{Destination, Destinations, Endpoints, Families, Place};
use model::{Name, Str};
use output::Outputs;
use proto::ResourceType;
use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use std::net::IpAddr;

use crate::key::{CONNECT_TERMINATE, Layer, ResourceKey, inbound};
use crate::profiles::Profiles;
use crate::route::{self, Way};
use crate::send::{CLUSTERS, ENDPOINTS, LISTENERS, SCOPES, resource, send};
use crate::settings::Settings;
use crate::{cluster, endpoint, listener};

/// What they are made from.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub destinations: Destinations,
    pub endpoints: Endpoints,
    pub network: Table<(), Str>,
    pub settings: Settings,
    pub profiles: Profiles,
}

/// The gateways that are configured.
type All = Index<(), Name, ()>;

/// Declares which gateways are between networks.
pub(crate) fn gateways(b: &mut Builder, of: &gateway::Tables) -> Table<Name, ()> {
    b.derive("east_west_gateways", of.gateways, |_, _, of| (of.class == Class::EastWest).then_some(()))
}

/// Declares what they are sent.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, gateways: Table<Name, ()>, of: Inputs) {
    let Inputs { destinations, settings, profiles, .. } = of;
    let all = b.index(gateways, "east_west_gateway", |_, ()| [()]);
    let listeners = b.expand("east_west_listeners", gateways, move |cx, gateway, ()| {
        let families: Families = cx.get(destinations.families, gateway).map(|of| *of).unwrap_or_default();
        let profile = profiles.without_services(cx, gateway);
        let listener = listener::connect_pass(&settings.trust_domains(cx), families, &profile);
        vec![resource(gateway, CONNECT_TERMINATE, &listener)]
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
    // Of Services alone: what is of a ServiceEntry is for its own network.
    let [services, _] = destinations.services;
    let scopes = b.expand("east_west_scopes", services, move |cx, _, service| {
        let scope = service.is_for_networks.then(|| route::passed(&service.hostname, &ways(service)));
        let at = |gateway: Name| scope.as_ref().map(|scope| resource(&gateway, &scope.name, scope));
        gateways_of(cx, all, service).filter_map(at).collect()
    });
    send(b, out, scopes, ResourceType::ScopedRoute, SCOPES);
    let clusters = b.expand("east_west_clusters", services, move |cx, _, service| {
        let names = || service.ports.iter().map(|(port, _)| inbound(*port, Layer::Tcp, &service.hostname));
        let of_gateway = |gateway: Name| -> Vec<_> {
            names().map(|name| resource(&gateway, &name, &cluster::of_tunnels(&name))).collect()
        };
        gateways_of(cx, all, service).flat_map(of_gateway).collect()
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let endpoints = b.expand("east_west_endpoints", services, move |cx, key, service| {
        let gateways: Vec<Name> = gateways_of(cx, all, service).collect();
        if gateways.is_empty() {
            return Vec::new();
        }
        let assignments = assignments(cx, key, service, of);
        let of_gateway = |gateway: &Name| -> Vec<(ResourceKey, _)> {
            assignments.iter().map(|of| resource(gateway, &of.cluster_name, of)).collect()
        };
        gateways.iter().flat_map(of_gateway).collect()
    });
    send(b, out, endpoints, ResourceType::Endpoint, ENDPOINTS);
    declare_waypoints(b, out, all, destinations);
}

/// Declares what leads to waypoints of such services.
fn declare_waypoints(b: &mut Builder, out: &mut Outputs, all: All, destinations: Destinations) {
    let [services, _] = destinations.services;
    let fronting = b.index(services, "service_of_networks_by_waypoint", |_, service: &Destination| {
        let own = service.waypoints.first().filter(|_| service.is_for_networks);
        own.cloned().into_iter().collect::<Vec<_>>()
    });
    let clusters =
        b.expand("east_west_waypoint_clusters", destinations.waypoints, move |cx, waypoint, ()| {
            let name = route::to_waypoint(waypoint);
            let gateways = cx.any(fronting, waypoint).then(|| cx.lookup(all, &())).into_iter().flatten();
            gateways.map(|(gateway, _)| resource(&gateway, &name, &cluster::of_tunnels(&name))).collect()
        });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let endpoints =
        b.expand("east_west_waypoint_endpoints", destinations.waypoints, move |cx, waypoint, ()| {
            if !cx.any(fronting, waypoint) {
                return Vec::new();
            }
            let instances = destinations.serving(cx, waypoint);
            let assignment = endpoint::of_tunnels(&route::to_waypoint(waypoint), instances);
            let gateways = cx.lookup(all, &()).into_iter();
            gateways.map(|(gateway, _)| resource(&gateway, &assignment.cluster_name, &assignment)).collect()
        });
    send(b, out, endpoints, ResourceType::Endpoint, ENDPOINTS);
}

/// Returns the gateways that a service has a scope at.
fn gateways_of(cx: &Cx<'_>, all: All, service: &Destination) -> impl Iterator<Item = Name> {
    let all = service.is_for_networks.then(|| cx.lookup(all, &()));
    all.into_iter().flatten().map(|(gateway, _)| gateway)
}

/// Returns where CONNECTs to the ports of a service lead.
fn ways(service: &Destination) -> Vec<Way> {
    let way = |(port, _): &(u16, _)| Way {
        port: *port,
        pods: inbound(*port, Layer::Tcp, &service.hostname),
        waypoint: service.waypoints.first().map(route::to_waypoint),
        is_behind: service.is_behind_waypoint,
        edge_uses_waypoint: service.edge_uses_waypoint,
    };
    service.ports.iter().map(way).collect()
}

/// Returns the instances of a service that take HBONE in the own network, for each port.
fn assignments(cx: &Cx<'_>, key: &Str, service: &Destination, of: Inputs) -> Vec<ClusterLoadAssignment> {
    let network = cx.single(of.network).map(|own| (*own).clone()).unwrap_or_default();
    let instances = of.endpoints.of(cx, key, false);
    let of_port = |(port, _): &(u16, _)| {
        let takes = instances.iter().filter(|of| {
            of.is_hbone && of.is_healthy && of.network == network && of.ports.iter().any(|(of, _)| of == port)
        });
        let mut addresses: Vec<IpAddr> = takes
            .filter_map(|of| match &of.place {
                Place::Address(ip) => Some(*ip),
                Place::Name(_) => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        endpoint::of_tunnels(&inbound(*port, Layer::Tcp, &service.hostname), addresses)
    };
    service.ports.iter().map(of_port).collect()
}
