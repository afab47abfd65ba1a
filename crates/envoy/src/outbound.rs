//! What every gateway sends by, be it a waypoint or one at the edge: the clusters that it leads to, their endpoints and
//! certificates, and HBONE.

use engine::{Builder, Cx, Table};
use mesh::destination::{Destinations, Endpoints};
use model::{Name, Str};
use output::{Encoded, Outputs};
use proto::ResourceType;

use crate::cluster::{self, Members};
use crate::key::{
    CONNECT_ORIGINATE, INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE, ResourceKey, WAYPOINT_ORIGINATE,
    drain,
};
use crate::send::{CLUSTERS, ENDPOINTS, LISTENERS, SECRETS, alike, all_alike, resource, send};
use crate::settings::Settings;
use crate::upstream::Upstreams;
use crate::{endpoint, listener, tls};

/// What it is made from.
pub(crate) struct Inputs {
    pub destinations: Destinations,
    pub endpoints: Endpoints,
    pub upstreams: Upstreams,
    pub network: Table<(), Str>,
    pub settings: Settings,
    /// The gateways that are configured, and the names of their tables.
    pub gateways: [(Table<Name, ()>, Names); 2],
}

/// The names of the tables of gateways of one sort.
pub(crate) struct Names {
    pub replaced: &'static str,
    pub clusters: &'static str,
    pub listeners: &'static str,
}

/// Declares it; to be called after all tables that lead to an upstream.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, of: Inputs) {
    let Inputs { destinations, endpoints, upstreams, network, settings, gateways } = of;
    let wanted = upstreams.declare_wanted(b);
    let sources = endpoint::Sources { endpoints, network, destinations, settings };
    let assignments = endpoint::declare(b, wanted, upstreams, sources);
    send(b, out, assignments, ResourceType::Endpoint, ENDPOINTS);
    // Gateways of which some cluster leads to another network.
    let to_networks = b.memo("to_networks", |_, _: &Name| Some(()));
    // Gateways of which some cluster leads to a waypoint.
    let by_waypoints = b.memo("to_waypoints", |_, _: &Name| Some(()));
    let clusters = b.expand("clusters", wanted, move |cx, key, ()| {
        let Some(upstream) = upstreams.of(cx, key) else { return Vec::new() };
        let (name, way) = (key.name(), upstreams.way(cx, key, &upstream));
        let of = |place, members| {
            let cluster = cluster::of_upstream(&name, members, &upstream, &way);
            (ResourceKey::at(&key.gateway, place, name.as_str()), Encoded::message(&cluster))
        };
        if upstream.waypoint.is_some() {
            cx.memo(by_waypoints, &key.gateway);
            return vec![of(Str::new(), Members::Named(upstream.with_endpoints(key).name(), true))];
        }
        if upstream.is_resolved_by_name() {
            let all = sources.assignments(cx, &name, key, &upstream).into_iter();
            return all.map(|(place, members)| of(place, Members::Resolved(members))).collect();
        }
        let members = if upstream.is_asked_for_by_name(key) {
            Members::Asked
        } else {
            let is_elsewhere = endpoints.is_elsewhere(cx, &key.service);
            if is_elsewhere {
                cx.memo(to_networks, &key.gateway);
            }
            Members::Named(upstream.with_endpoints(key).name(), is_elsewhere)
        };
        vec![of(Str::new(), members)]
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    let certificates = upstreams.declare_certificates(b);
    let secrets = b.expand("upstream_secrets", certificates, |_, (gateway, secret), pair| {
        let name = tls::secret_name(secret);
        vec![resource(gateway, &name, &tls::certificate(&name, pair))]
    });
    send(b, out, secrets, ResourceType::Secret, SECRETS);

    let originate = b.single("cluster_of_hbone", move |cx| {
        vec![alike(CONNECT_ORIGINATE, &cluster::connect_originate(&settings.trust_domains(cx)))]
    });
    let listens =
        b.single("listener_of_hbone", |_| vec![alike(CONNECT_ORIGINATE, &listener::connect_originate())]);
    for (gateways, names) in gateways {
        let replaced = b.expand(names.replaced, gateways, move |cx, gateway, ()| {
            let replaced = destinations.replaced(cx, gateway);
            replaced.iter().map(|pod| resource(gateway, &drain(pod), &endpoint::drain(pod))).collect()
        });
        let clusters = b.expand(names.clusters, gateways, move |cx, gateway, ()| {
            all_alike(gateway, cx.single(originate).as_deref())
        });
        let listeners = b.expand(names.listeners, gateways, move |cx, gateway, ()| {
            all_alike(gateway, cx.single(listens).as_deref())
        });
        send(b, out, replaced, ResourceType::Endpoint, ENDPOINTS);
        send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
        send(b, out, listeners, ResourceType::Listener, LISTENERS);
    }

    let with_waypoints = b.in_use("gateways_to_waypoints", by_waypoints);
    let of_waypoints = b.single("listener_to_waypoints", |_| {
        vec![alike(WAYPOINT_ORIGINATE, &listener::waypoint_originate())]
    });
    let listeners = b.expand("waypoint_originate_listeners", with_waypoints, move |cx, gateway, ()| {
        all_alike(gateway, cx.single(of_waypoints).as_deref())
    });
    send(b, out, listeners, ResourceType::Listener, LISTENERS);

    let with_networks = b.in_use("gateways_to_networks", to_networks);
    let of_networks = b.single("clusters_to_networks", move |cx| {
        let domains = settings.trust_domains(cx);
        vec![
            alike(INNER_CONNECT_ORIGINATE, &cluster::inner_connect_originate(&domains)),
            alike(OUTER_CONNECT_ORIGINATE, &cluster::outer_connect_originate(&domains)),
        ]
    });
    let clusters = b.expand("network_clusters", with_networks, move |cx, gateway, ()| {
        all_alike(gateway, cx.single(of_networks).as_deref())
    });
    let of_networks = b.single("listeners_to_networks", move |cx: &Cx<'_>| {
        let network = cx.single(network).map(|of| (*of).clone()).unwrap_or_default();
        vec![
            alike(INNER_CONNECT_ORIGINATE, &listener::inner_connect_originate(&network)),
            alike(OUTER_CONNECT_ORIGINATE, &listener::outer_connect_originate()),
        ]
    });
    let listeners = b.expand("network_listeners", with_networks, move |cx, gateway, ()| {
        all_alike(gateway, cx.single(of_networks).as_deref())
    });
    send(b, out, clusters, ResourceType::Cluster, CLUSTERS);
    send(b, out, listeners, ResourceType::Listener, LISTENERS);
}
