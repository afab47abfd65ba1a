//! Configuration of upstream's Envoy: what it reads first, and what waypoints are sent.
//!
//! ```text
//! services with waypoints ──▶ ports ──┬──▶ upstreams, listeners, scopes of CONNECTs
//! routing model ──────────▶ routes ───┼──▶ scopes of requests; upstreams that they lead to
//! DestinationRules ──────▶ upstreams ─┼──▶ clusters; what of requests is hashed ──▶ scopes
//! workloads ──────────────▶ endpoints ┴──▶ assignments
//! policies ───────────────▶ of ports ────▶ within scopes, and listeners of streams
//! ```
//!
//! How a CONNECT finds its service, and a request its routes:
//!
//! ```text
//!              CONNECT 10.0.0.1:80                    request
//!  ztunnel ──▶ connect_terminate ──────────────────▶ main_internal ──────────────────▶ inbound-vip|80|http|HOST
//!              scope connect|10.0.0.1, its port       scope inbound-vip|80|http|HOST       │ endpoints
//!                                                                                          ▼
//!              pod ◀── HBONE ── connect_originate (cluster) ◀── connect_originate (listener)
//! ```
//!
//! Invariants:
//! * A change costs that change: a service, a route or a pod is resources of its own, and listeners that all share
//!   never change.
//! * What has no scope is refused, and no client chooses its own.
//! * Equal rows give equal bytes: messages have no maps without order.

pub mod bootstrap;

mod attached;
mod cluster;
mod connect;
mod east_west;
mod edge;
mod endpoint;
mod extension;
mod hops;
mod key;
mod listener;
mod locality;
mod matcher;
mod message;
mod outbound;
mod policy;
mod port;
mod profile;
mod profiles;
mod route;
mod send;
mod settings;
mod telemetry;
mod tls;
mod upstream;
mod waypoint;

use engine::Builder;
use output::Outputs;
use profiles::Profiles;
use settings::Settings;
use upstream::Upstreams;

/// Declares the resources of waypoints on a graph that has the tables of mesh and routing, if waypoints are
/// configured.
pub fn declare(b: &mut Builder, out: &mut Outputs, mesh: &mesh::Tables, gateway: &gateway::Tables) {
    let Some(destinations) = mesh.destinations else { return };
    let edges = edge::gateways(b, gateway, destinations.is_multi_network);
    let upstreams = Upstreams::declare(b, destinations, mesh, gateway, edges);
    let sources = route::Sources { routing: gateway.routing, upstreams };
    let endpoints = destinations.declare_endpoints(b);
    let settings = Settings::declare(b, mesh);
    let profiles = Profiles::declare(b, mesh, settings, sources);
    let of_waypoints = waypoint::Inputs { destinations, endpoints, sources, settings, profiles };
    let policies = waypoint::declare(b, out, mesh, of_waypoints);
    let of_edge = edge::Inputs { destinations, sources, policies, settings, profiles };
    edge::declare(b, out, gateway, of_edge);
    if destinations.is_multi_network {
        let gateways = east_west::gateways(b, gateway);
        let network = mesh.network;
        east_west::declare(
            b,
            out,
            gateways,
            east_west::Inputs { destinations, endpoints, network, settings, profiles },
        );
    }
    // After all tables of listeners.
    let modules = profiles.declare_modules(b);
    let modules = b.expand("module_clusters", modules, |_, (gateway, module), ()| {
        vec![send::resource(gateway, &module.cluster(), &cluster::of_modules(module))]
    });
    send::send(b, out, modules, proto::ResourceType::Cluster, send::CLUSTERS);
    let waypoints = outbound::Names {
        replaced: "replaced_instances",
        clusters: "waypoint_hbone_clusters",
        listeners: "waypoint_hbone_listeners",
    };
    let of_edge = outbound::Names {
        replaced: "replaced_edge_instances",
        clusters: "edge_hbone_clusters",
        listeners: "edge_hbone_listeners",
    };
    let gateways = [(destinations.waypoints, waypoints), (edges, of_edge)];
    let network = mesh.network;
    let inputs = outbound::Inputs { destinations, endpoints, upstreams, network, settings, gateways };
    outbound::declare(b, out, inputs);
}
