//! Endpoints of clusters.

use engine::{Builder, Cx, Table};
use mesh::destination::{Endpoint as Instance, Endpoints};
use model::Str;
use output::Encoded;
use prost_types::{Struct, Value, value};
use proto::envoy::config::core::v3::{HealthStatus, Locality, Metadata};
use proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::key::{CONNECT_ORIGINATE, ClusterKey, ResourceKey};
use crate::message::{internal_address, socket_address};
use crate::upstream::Upstream;

/// Where the listener `connect_originate` finds whom to dial.
pub(crate) const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";

/// Declares the endpoints of upstreams: one resource for all layers of a port, since they are the same.
pub(crate) fn declare(
    b: &mut Builder,
    upstreams: Table<ClusterKey, Upstream>,
    endpoints: Endpoints,
    network: Table<(), Str>,
) -> Table<ResourceKey, Encoded> {
    b.expand("cluster_endpoints", upstreams, move |cx: &Cx<'_>, key, upstream| {
        let first = upstream.with_endpoints(key);
        if first != *key {
            return Vec::new();
        }
        let own = cx.single(network);
        // Nothing here leads to another network yet.
        let is_here = |of: &Instance| own.as_ref().is_none_or(|own| **own == of.network);
        let policy = &upstream.policy;
        // What is used when too little is ready is what was left out for its answers, not what was never ready.
        let takes_unready = policy.port.outliers.is_none_or(|of| of.min_health_percent.is_none());
        let is_meant =
            |of: &Instance| policy.labels.is_subset_of(&of.labels) && (of.is_healthy || takes_unready);
        let all = endpoints.of(cx, &key.service);
        let instances = all.iter().map(|of| &**of).filter(|of| is_here(of) && is_meant(of));
        let name = key.name();
        let message = assignment(&name, key.port, instances);
        vec![(ResourceKey::new(&key.waypoint, name), Encoded::message(&message))]
    })
}

fn assignment<'a>(
    name: &str,
    port: u16,
    instances: impl Iterator<Item = &'a Instance>,
) -> ClusterLoadAssignment {
    let mut by_locality: BTreeMap<&[Str; 3], Vec<(SocketAddr, LbEndpoint)>> = BTreeMap::new();
    for instance in instances {
        for (_, own) in instance.ports.iter().filter(|(of, _)| *of == port) {
            let at = SocketAddr::new(instance.address, *own);
            by_locality.entry(&instance.locality).or_default().push((at, lb_endpoint(instance, at)));
        }
    }
    let endpoints = by_locality.into_iter().map(|(locality, mut endpoints)| {
        endpoints.sort_by_key(|(at, _)| *at);
        endpoints.dedup_by_key(|(at, _)| *at);
        let [region, zone, sub_zone] = locality.each_ref().map(ToString::to_string);
        LocalityLbEndpoints {
            locality: Some(Locality { region, zone, sub_zone }),
            lb_endpoints: endpoints.into_iter().map(|(_, endpoint)| endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }
    });
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: endpoints.collect() }
}

fn lb_endpoint(instance: &Instance, at: SocketAddr) -> LbEndpoint {
    let text = at.to_string();
    let (address, metadata) = if instance.is_hbone {
        let local = Value { kind: Some(value::Kind::StringValue(text.clone())) };
        let fields = Struct { fields: BTreeMap::from([("local".to_owned(), local)]) };
        let metadata = Metadata { filter_metadata: BTreeMap::from([(ORIGINAL_DST.to_owned(), fields)]) };
        (internal_address(CONNECT_ORIGINATE, &text), Some(metadata))
    } else {
        (socket_address(&at.ip().to_string(), at.port()), None)
    };
    let status = if instance.is_healthy { HealthStatus::Unknown } else { HealthStatus::Unhealthy };
    LbEndpoint {
        health_status: status.into(),
        metadata,
        load_balancing_weight: None,
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint { address: Some(address) })),
    }
}
