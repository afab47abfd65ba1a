use prost::Message as _;
use proto::security::Authorization;
use proto::workload::address::Type;
use proto::workload::gateway_address::Destination;
use proto::workload::{
    Address, ApplicationTunnel, GatewayAddress, LoadBalancing, NamespacedHostname, NetworkAddress, PortList,
    Service, TunnelProtocol, WeightedWaypoint, Workload,
};

use super::{pod, web};
use crate::client::check;

fn workload(edit: impl FnOnce(&mut Workload)) -> Result<Type, String> {
    let mut workload = pod("a", [10, 0, 0, 1], &[]);
    edit(&mut workload);
    check::address(&Address { r#type: Some(Type::Workload(workload)) }.encode_to_vec())
}

fn service(edit: impl FnOnce(&mut Service)) -> Result<Type, String> {
    let mut service = web();
    edit(&mut service);
    check::address(&Address { r#type: Some(Type::Service(service)) }.encode_to_vec())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, String>, reason: &str) {
    let found = outcome.unwrap_err();
    assert!(found.contains(reason), "{found:?} does not say {reason:?}");
}

#[test]
fn plain_resources_are_taken() {
    workload(|_| {}).unwrap();
    service(|_| {}).unwrap();
    check::authorization(&Authorization::default().encode_to_vec()).unwrap();
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    refused(check::address(&[0xff]), "undecodable address");
    refused(check::address(&[]), "neither a workload nor a service");
    refused(check::authorization(&[0xff]), "undecodable authorization");
}

#[test]
fn addresses_of_odd_length_are_refused() {
    refused(workload(|w| w.addresses.push(vec![1, 2, 3].into())), "an IP address of 3 bytes");
    refused(service(|s| s.addresses.push(NetworkAddress::default())), "an IP address of 0 bytes");
    let wide = NetworkAddress { address: vec![1, 2, 3, 4].into(), length: Some(33), ..Default::default() };
    refused(service(|s| s.addresses.push(wide)), "prefix length 33");
}

#[test]
fn gateways_without_destination_are_refused() {
    refused(workload(|w| w.waypoint = Some(GatewayAddress::default())), "waypoint: no destination");
    refused(workload(|w| w.network_gateway = Some(GatewayAddress::default())), "network_gateway");
    refused(service(|s| s.waypoint = Some(GatewayAddress::default())), "waypoint: no destination");
    refused(service(|s| s.weighted_waypoints.push(WeightedWaypoint::default())), "weighted_waypoints");
    let named = GatewayAddress {
        destination: Some(Destination::Hostname(NamespacedHostname::default())),
        ..Default::default()
    };
    workload(|w| w.waypoint = Some(named)).unwrap();
}

#[test]
fn unknown_values_are_refused() {
    refused(workload(|w| w.tunnel_protocol = 9), "tunnel_protocol: unknown value 9");
    refused(workload(|w| w.status = 9), "status");
    refused(workload(|w| w.network_mode = 9), "network_mode");
    let tunnel = ApplicationTunnel { protocol: 9, port: 0 };
    refused(workload(|w| w.application_tunnel = Some(tunnel)), "application_tunnel.protocol");
    refused(service(|s| s.ip_families = 9), "ip_families");
    let balancing = |edit: fn(&mut LoadBalancing)| {
        let mut balancing = LoadBalancing::default();
        edit(&mut balancing);
        service(|s| s.load_balancing = Some(balancing))
    };
    refused(balancing(|b| b.mode = 9), "mode");
    refused(balancing(|b| b.health_policy = 9), "health_policy");
    refused(balancing(|b| b.routing_preference.push(9)), "routing_preference");
    refused(balancing(|b| b.routing_preference.push(0)), "unspecified scope");
    let policy = |scope, action| Authorization { scope, action, ..Default::default() }.encode_to_vec();
    refused(check::authorization(&policy(9, 0)), "scope");
    refused(check::authorization(&policy(0, 9)), "action");
}

#[test]
fn the_unsupported_tunnel_protocol_is_refused() {
    refused(workload(|w| w.tunnel_protocol = TunnelProtocol::LegacyIstioMtls.into()), "LEGACY_ISTIO_MTLS");
}

#[test]
fn service_keys_without_namespace_are_refused() {
    refused(workload(|w| drop(w.services.insert("web".to_owned(), PortList::default()))), "\"web\"");
}

#[test]
fn an_unknown_visibility_is_taken() {
    service(|s| s.visibility = 9).unwrap();
}
