//! Endpoints of clusters.

use engine::{Builder, Cx, Table};
use mesh::destination::{Endpoint as Instance, Endpoints, Place};
use model::Str;
use output::Encoded;
use proto::envoy::config::core::v3::{HealthStatus, Locality, Metadata};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::key::{self, ADMIN_PORT, CONNECT_ORIGINATE, ClusterKey, ResourceKey};
use crate::message::{internal_address, socket_address};
use crate::telemetry;
use crate::upstream::Upstream;

/// Where the endpoints of upstreams are found.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub endpoints: Endpoints,
    pub network: Table<(), Str>,
}

/// Declares the endpoints of upstreams: one resource for all layers of a port, since they are the same.
pub(crate) fn declare(
    b: &mut Builder,
    upstreams: Table<ClusterKey, Upstream>,
    of: Sources,
) -> Table<ResourceKey, Encoded> {
    b.expand("cluster_endpoints", upstreams, move |cx: &Cx<'_>, key, upstream| {
        let is_other = upstream.is_resolved_by_name() || upstream.is_asked_for_by_name(key);
        if upstream.with_endpoints(key) != *key || is_other {
            return Vec::new();
        }
        let name = key.name();
        let message = of.assignment(cx, &name, key, upstream);
        vec![(ResourceKey::new(&key.waypoint, name), Encoded::message(&message))]
    })
}

impl Sources {
    /// Returns the endpoints of an upstream, under a name.
    pub fn assignment(
        self,
        cx: &Cx<'_>,
        name: &str,
        key: &ClusterKey,
        upstream: &Upstream,
    ) -> ClusterLoadAssignment {
        let own = cx.single(self.network);
        // Nothing here leads to another network yet.
        let is_here = |of: &Instance| own.as_ref().is_none_or(|own| **own == of.network);
        let policy = &upstream.policy;
        // What is used when too little is ready is what was left out for its answers, not what was never ready.
        let takes_unready = policy.port.outliers.is_none_or(|of| of.min_health_percent.is_none());
        let by_name = upstream.is_resolved_by_name();
        let is_meant = |of: &Instance| {
            // What is found by name is no part of the mesh: there is no tunnel to it.
            let is_found = if by_name { !of.is_hbone } else { matches!(of.place, Place::Address(_)) };
            is_found && policy.labels.is_subset_of(&of.labels) && (of.is_healthy || takes_unready)
        };
        let all = self.endpoints.of(cx, &key.service);
        let instances = all.iter().map(|of| &**of).filter(|of| is_here(of) && is_meant(of));
        assignment(name, key.port, instances)
    }
}

/// Returns what has an instance of a waypoint close its connections, as it answers what is under way: its admin interface
/// is an endpoint of a cluster of its bootstrap, whose health check is what says so.
pub(crate) fn drain(pod: &str) -> ClusterLoadAssignment {
    let admin = Endpoint { address: Some(socket_address("127.0.0.1", ADMIN_PORT)) };
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

/// Where an instance takes what is for a port.
type At<'a> = (&'a Place, u16);

/// A locality, and a workload in it.
type Group<'a> = (&'a [Str; 3], &'a Str);

fn assignment<'a>(
    name: &str,
    port: u16,
    instances: impl Iterator<Item = &'a Instance>,
) -> ClusterLoadAssignment {
    // What all instances of a workload have is said once.
    let mut by_locality: BTreeMap<Group<'_>, Vec<(At<'_>, LbEndpoint)>> = BTreeMap::new();
    for instance in instances {
        for (_, own) in instance.ports.iter().filter(|(of, _)| *of == port) {
            let at = (&instance.place, *own);
            by_locality
                .entry((&instance.locality, &instance.workload))
                .or_default()
                .push((at, lb_endpoint(instance, *own)));
        }
    }
    let endpoints = by_locality.into_iter().map(|((locality, workload), mut endpoints)| {
        endpoints.sort_by_key(|(at, _)| *at);
        endpoints.dedup_by_key(|(at, _)| *at);
        let [region, zone, sub_zone] = locality.each_ref().map(ToString::to_string);
        let workload = telemetry::metadata(telemetry::WORKLOAD, workload.to_string());
        LocalityLbEndpoints {
            locality: Some(Locality { region, zone, sub_zone }),
            metadata: Some(Metadata { filter_metadata: BTreeMap::from([workload]) }),
            lb_endpoints: endpoints.into_iter().map(|(_, endpoint)| endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }
    });
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: endpoints.collect() }
}

fn lb_endpoint(instance: &Instance, port: u16) -> LbEndpoint {
    let address = match &instance.place {
        Place::Address(ip) if instance.is_hbone => {
            internal_address(CONNECT_ORIGINATE, &SocketAddr::new(*ip, port).to_string())
        }
        Place::Address(ip) => socket_address(&ip.to_string(), port),
        Place::Name(name) => socket_address(name, port),
    };
    let status = if instance.is_healthy { HealthStatus::Unknown } else { HealthStatus::Unhealthy };
    LbEndpoint {
        health_status: status.into(),
        load_balancing_weight: (instance.weight > 1).then_some(instance.weight),
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint { address: Some(address) })),
        ..LbEndpoint::default()
    }
}
