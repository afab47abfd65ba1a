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

use crate::key::{CONNECT_ORIGINATE, PortKey};
use crate::message::{internal_address, socket_address};
use crate::port::Port;
use crate::telemetry;

/// Where the listener `connect_originate` finds whom to dial.
pub(crate) const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";

/// Endpoints of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Assignment {
    /// The name of the resource.
    pub name: Str,
    pub encoded: Encoded,
}

/// Declares the endpoints of ports, by name of the resource as `name` says.
pub(crate) fn declare(
    b: &mut Builder,
    table: &'static str,
    ports: Table<PortKey, Port>,
    endpoints: Endpoints,
    network: Table<(), Str>,
    name: impl Fn(&PortKey, &Port) -> String + Send + 'static,
) -> Table<PortKey, Assignment> {
    b.derive(table, ports, move |cx: &Cx<'_>, key, port| {
        let own = cx.single(network);
        // Nothing here leads to another network yet.
        let is_here = |of: &Instance| own.as_ref().is_none_or(|own| **own == of.network);
        let instances = endpoints.of(cx, &key.service);
        let name = name(key, port);
        let message = assignment(&name, key.port, instances.iter().map(|of| &**of).filter(|of| is_here(of)));
        Some(Assignment { name: name.into(), encoded: Encoded::message(&message) })
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
    let workload = telemetry::metadata(telemetry::WORKLOAD, instance.workload.to_string());
    let mut metadata = BTreeMap::from([workload]);
    let address = if instance.is_hbone {
        let local = Value { kind: Some(value::Kind::StringValue(text.clone())) };
        let fields = Struct { fields: BTreeMap::from([("local".to_owned(), local)]) };
        metadata.insert(ORIGINAL_DST.to_owned(), fields);
        internal_address(CONNECT_ORIGINATE, &text)
    } else {
        socket_address(&at.ip().to_string(), at.port())
    };
    let status = if instance.is_healthy { HealthStatus::Unknown } else { HealthStatus::Unhealthy };
    LbEndpoint {
        health_status: status.into(),
        metadata: Some(Metadata { filter_metadata: metadata }),
        load_balancing_weight: None,
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint { address: Some(address) })),
    }
}
