//! Endpoints of clusters.

use engine::{Builder, Cx, Table};
use mesh::destination::{Destinations, Endpoint as Instance, Endpoints, HBONE, Place, Through};
use model::{Name, Str, TrustDomain};
use output::Encoded;
use prost_types::{Struct, Value, value};
use proto::envoy::config::core::v3::{HealthStatus, Locality, Metadata};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::key::{
    self, ADMIN_SOCKET, CONNECT_ORIGINATE, ClusterKey, INNER_CONNECT_ORIGINATE, ResourceKey,
    WAYPOINT_ORIGINATE,
};
use crate::locality::{self, Preference, Vantage};
use crate::message::{internal_address, pipe, socket_address};
use crate::settings::Settings;
use crate::telemetry;
use crate::upstream::{Upstream, Upstreams};

/// Where the endpoints of upstreams are found.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub endpoints: Endpoints,
    pub network: Table<(), Str>,
    pub destinations: Destinations,
    pub settings: Settings,
}

/// Declares the endpoints of upstreams: one resource for all layers of a port, since they are the same, and one for each
/// place of its gateway where others are preferred.
pub(crate) fn declare(
    b: &mut Builder,
    wanted: Table<ClusterKey, ()>,
    upstreams: Upstreams,
    of: Sources,
) -> Table<ResourceKey, Encoded> {
    b.expand("cluster_endpoints", wanted, move |cx: &Cx<'_>, key, ()| {
        let Some(upstream) = upstreams.of(cx, key) else { return Vec::new() };
        let is_other = !upstream.is_by_instances(key);
        if upstream.with_endpoints(key) != *key || is_other {
            return Vec::new();
        }
        let name = key.name();
        let assignments = of.assignments(cx, &name, key, &upstream).into_iter();
        let resource = |(place, message): (Str, ClusterLoadAssignment)| {
            (ResourceKey::at(&key.gateway, place, name.as_str()), Encoded::message(&message))
        };
        assignments.map(resource).collect()
    })
}

impl Sources {
    /// Returns the endpoints of an upstream, under a name: for all instances of its gateway, or for those of each
    /// place.
    pub fn assignments(
        self,
        cx: &Cx<'_>,
        name: &str,
        key: &ClusterKey,
        upstream: &Upstream,
    ) -> Vec<(Str, ClusterLoadAssignment)> {
        if let Some((waypoint, address)) = &upstream.waypoint {
            let target = SocketAddr::new(*address, key.port);
            let instances = self.destinations.serving(cx, waypoint);
            return vec![(Str::new(), by_waypoint(name, target, &instances))];
        }
        let network = cx.single(self.network).map(|own| (*own).clone()).unwrap_or_default();
        let trust_domain = self.settings.trust_domain(cx);
        let policy = upstream.policy();
        let preference = upstream.preference.as_ref();
        // What is used when too little is ready is what was left out for its answers, not what was never ready.
        let takes_unready = policy.port.outliers.is_none_or(|of| of.min_health_percent.is_none())
            && !preference.is_some_and(Preference::leaves_out_unready);
        let by_name = upstream.is_resolved_by_name();
        let is_meant = |of: &Instance| {
            let is_here = of.network == network;
            // What is found by name is no part of the mesh: there is no tunnel to it.
            let is_found = match (&of.place, by_name) {
                _ if !is_here => of.through.is_some() && !by_name,
                (_, true) => !of.is_hbone,
                (place, false) => matches!(place, Place::Address(_)),
            };
            is_found && policy.labels.is_subset_of(&of.labels) && (of.is_healthy || takes_unready)
        };
        let by_labels = !policy.labels.is_empty() || preference.is_some_and(Preference::compares_labels);
        let mut instances = self.endpoints.of(cx, &key.service, by_labels);
        instances.retain(|of| is_meant(of));
        let target = format!("{}:{}", upstream.port.hostname, key.port);
        let places = locality::places(preference, &key.gateway, |at| {
            cx.memo(self.destinations.locations, at).map(|of| (*of).clone()).unwrap_or_default()
        });
        let assignment = |(place, location): locality::Place| {
            let from = Vantage { location: &location, network: &network };
            let mut groups = Groups { from, preference, trust_domain: &trust_domain, all: BTreeMap::new() };
            for instance in &instances {
                for (_, own) in instance.ports.iter().filter(|(of, _)| *of == key.port) {
                    groups.add(instance, *own, &target);
                }
            }
            let endpoints = groups.encode();
            (place, ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints })
        };
        places.into_iter().map(assignment).collect()
    }
}

/// Returns the instances of a waypoint as endpoints of a service, by whose address they are asked for it.
fn by_waypoint(name: &str, target: SocketAddr, instances: &[IpAddr]) -> ClusterLoadAssignment {
    let endpoint = |ip: &IpAddr| {
        let at = SocketAddr::new(*ip, HBONE);
        let endpoint = Endpoint { address: Some(internal_address(WAYPOINT_ORIGINATE, &at.to_string())) };
        LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            metadata: Some(elsewhere([
                (WAYPOINT_ADDRESS, at.to_string()),
                (TARGET_ADDRESS, target.to_string()),
            ])),
            ..LbEndpoint::default()
        }
    };
    let all = LocalityLbEndpoints {
        lb_endpoints: instances.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    let endpoints = if instances.is_empty() { Vec::new() } else { vec![all] };
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints }
}

/// Returns what takes HBONE at these addresses, for what is HBONE already.
pub(crate) fn of_tunnels(name: &str, addresses: Vec<IpAddr>) -> ClusterLoadAssignment {
    let endpoint = |ip: &IpAddr| LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: Some(socket_address(&ip.to_string(), HBONE)),
        })),
        ..LbEndpoint::default()
    };
    let all = LocalityLbEndpoints {
        lb_endpoints: addresses.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    let endpoints = if addresses.is_empty() { Vec::new() } else { vec![all] };
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints }
}

/// Returns what has an instance of a gateway close its connections, as it answers what is under way: its admin interface
/// is an endpoint of a cluster of its bootstrap, whose health check is what says so.
pub(crate) fn drain(pod: &str) -> ClusterLoadAssignment {
    let admin = Endpoint { address: Some(pipe(ADMIN_SOCKET)) };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(admin)),
        ..LbEndpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: key::drain(pod),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }],
    }
}

/// What endpoints have in common: how far they are away, their locality and their workload.
type Group = (u32, [Str; 3], Str);

/// Where an endpoint takes what is for a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum At {
    Here(Place, u16),
    /// Behind a gateway.
    Elsewhere(SocketAddr),
}

/// An endpoint, of perhaps several instances.
struct Found<'a> {
    weight: u32,
    is_hbone: bool,
    is_healthy: bool,
    /// The way there and who may answer, if it is elsewhere; and for what it is asked.
    through: Option<(&'a Through, BTreeSet<&'a Name>, &'a str)>,
}

/// Endpoints as one place sees them.
struct Groups<'a> {
    from: Vantage<'a>,
    preference: Option<&'a Preference>,
    trust_domain: &'a TrustDomain,
    /// What all instances of a workload have is said once.
    all: BTreeMap<Group, BTreeMap<At, Found<'a>>>,
}

impl<'a> Groups<'a> {
    fn add(&mut self, instance: &'a Instance, port: u16, target: &'a str) {
        let distance = self.preference.map_or(Some(0), |of| of.distance(self.from, instance));
        let Some(distance) = distance else { return };
        let (group, at) = match &instance.through {
            None => {
                let group = (distance, instance.locality.clone(), instance.workload.clone());
                (group, At::Here(instance.place.clone(), port))
            }
            // Who answers there is not known.
            Some(through) => ((distance, Default::default(), Str::new()), At::Elsewhere(through.address)),
        };
        let Instance { weight, is_hbone, is_healthy, .. } = *instance;
        let is_elsewhere = matches!(at, At::Elsewhere(_));
        let through = instance.through.as_ref().map(|through| (through, BTreeSet::new(), target));
        let found = self.all.entry(group).or_default().entry(at);
        let found = found
            .and_modify(|found| {
                if is_elsewhere {
                    found.weight = found.weight.saturating_add(weight);
                    found.is_healthy |= is_healthy;
                }
            })
            .or_insert(Found { weight, is_hbone, is_healthy, through });
        if let (Some((_, accounts, _)), Some(through)) = (&mut found.through, &instance.through) {
            accounts.extend(&through.accounts);
        }
    }

    fn encode(self) -> Vec<LocalityLbEndpoints> {
        let Self { from, preference, trust_domain, all } = self;
        let distances: BTreeSet<u32> = all.keys().map(|(distance, ..)| *distance).collect();
        let preference = preference.filter(|of| of.has_shares());
        let weights = preference.map(|of| {
            let mut localities: BTreeMap<[Str; 3], u32> = BTreeMap::new();
            for ((_, locality, _), endpoints) in &all {
                let sum = localities.entry(locality.clone()).or_default();
                *sum = endpoints.values().fold(*sum, |sum, of| sum.saturating_add(of.weight.max(1)));
            }
            of.weights(from, &localities)
        });
        let encoded = all.into_iter().filter_map(|((distance, locality, workload), endpoints)| {
            let weight = match &weights {
                Some(weights) => Some(*weights.get(&locality)?),
                None => None,
            };
            // Priorities follow one another without a gap.
            let priority = distances.range(..distance).count();
            let [region, zone, sub_zone] = locality.map(|part| part.to_string());
            let workload = telemetry::metadata(telemetry::WORKLOAD, workload.to_string());
            Some(LocalityLbEndpoints {
                locality: Some(Locality { region, zone, sub_zone }),
                metadata: Some(Metadata { filter_metadata: BTreeMap::from([workload]) }),
                lb_endpoints: endpoints.into_iter().map(|of| lb_endpoint(of, trust_domain)).collect(),
                priority: u32::try_from(priority).unwrap_or(u32::MAX),
                load_balancing_weight: weight,
            })
        });
        encoded.collect()
    }
}

fn lb_endpoint((at, of): (At, Found<'_>), trust_domain: &TrustDomain) -> LbEndpoint {
    let address = match &at {
        At::Here(Place::Address(ip), port) if of.is_hbone => {
            internal_address(CONNECT_ORIGINATE, &SocketAddr::new(*ip, *port).to_string())
        }
        At::Here(Place::Address(ip), port) => socket_address(&ip.to_string(), *port),
        At::Here(Place::Name(name), port) => socket_address(name, *port),
        At::Elsewhere(gateway) => internal_address(INNER_CONNECT_ORIGINATE, &gateway.to_string()),
    };
    let metadata = of.through.map(|(through, accounts, target)| {
        let identity = |of: &Name| format!("spiffe://{trust_domain}/ns/{}/sa/{}", &*of.ns, of.name);
        let accounts: Vec<String> = accounts.into_iter().map(identity).collect();
        elsewhere([
            (GATEWAY_ADDRESS, through.address.to_string()),
            (GATEWAY_IDENTITY, identity(&through.gateway)),
            (TARGET_ADDRESS, target.to_owned()),
            (TARGET_IDENTITIES, accounts.join(",")),
        ])
    });
    let status = if of.is_healthy { HealthStatus::Unknown } else { HealthStatus::Unhealthy };
    LbEndpoint {
        health_status: status.into(),
        load_balancing_weight: (of.weight > 1).then_some(of.weight),
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint { address: Some(address) })),
        metadata,
    }
}

/// The metadata of endpoints on other networks, or behind waypoints, which their connections have, too.
pub(crate) const ELSEWHERE: &str = "istio.double_hbone";
/// Of it: where the gateway is.
pub(crate) const GATEWAY_ADDRESS: &str = "gateway_address";
/// Of it: where the waypoint is.
pub(crate) const WAYPOINT_ADDRESS: &str = "waypoint_address";
/// Of it: who the gateway is.
pub(crate) const GATEWAY_IDENTITY: &str = "gateway_identity";
/// Of it: what is asked for, there and behind it.
pub(crate) const TARGET_ADDRESS: &str = "hbone_target_address";
/// Of it: who may answer behind it, separated by commas.
pub(crate) const TARGET_IDENTITIES: &str = "target_identities";

fn elsewhere<const N: usize>(texts: [(&str, String); N]) -> Metadata {
    let field =
        |(key, text): (&str, String)| (key.to_owned(), Value { kind: Some(value::Kind::StringValue(text)) });
    let fields = Struct { fields: texts.into_iter().map(field).collect() };
    Metadata { filter_metadata: BTreeMap::from([(ELSEWHERE.to_owned(), fields)]) }
}
