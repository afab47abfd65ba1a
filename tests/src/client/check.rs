//! What a ztunnel refuses: one resource at a time, with the reason.
//!
//! A refusal makes the whole response a NACK, but the other resources of it are applied.

use prost::Message as _;
use proto::security::{self, Authorization};
use proto::workload::address::Type;
use proto::workload::application_tunnel::Protocol;
use proto::workload::load_balancing::{HealthPolicy, Mode, Scope};
use proto::workload::{
    Address, GatewayAddress, IpFamilies, NetworkAddress, NetworkMode, Service, TunnelProtocol, Workload,
    WorkloadStatus,
};

/// Why a resource was refused, as it would stand in the NACK.
pub type Reason = String;

/// Decodes an address and says whether a ztunnel would take it.
///
/// # Errors
/// The reason of the refusal.
pub fn address(bytes: &[u8]) -> Result<Type, Reason> {
    let address = Address::decode(bytes).map_err(|error| format!("undecodable address: {error}"))?;
    let kind = address.r#type.ok_or("address is neither a workload nor a service")?;
    match &kind {
        Type::Workload(workload) => check_workload(workload)?,
        Type::Service(service) => check_service(service)?,
    }
    Ok(kind)
}

/// Decodes a policy and says whether a ztunnel would take it.
///
/// # Errors
/// The reason of the refusal.
pub fn authorization(bytes: &[u8]) -> Result<Authorization, Reason> {
    let policy =
        Authorization::decode(bytes).map_err(|error| format!("undecodable authorization: {error}"))?;
    known("scope", policy.scope, security::Scope::try_from)?;
    known("action", policy.action, security::Action::try_from)?;
    Ok(policy)
}

fn check_workload(workload: &Workload) -> Result<(), Reason> {
    for bytes in &workload.addresses {
        ip_length("addresses", bytes)?;
    }
    let tunnel = known("tunnel_protocol", workload.tunnel_protocol, TunnelProtocol::try_from)?;
    if tunnel == TunnelProtocol::LegacyIstioMtls {
        return Err("tunnel_protocol: LEGACY_ISTIO_MTLS is not supported".to_owned());
    }
    known("status", workload.status, WorkloadStatus::try_from)?;
    known("network_mode", workload.network_mode, NetworkMode::try_from)?;
    if let Some(tunnel) = &workload.application_tunnel {
        known("application_tunnel.protocol", tunnel.protocol, Protocol::try_from)?;
    }
    gateway("waypoint", workload.waypoint.as_ref())?;
    gateway("network_gateway", workload.network_gateway.as_ref())?;
    match workload.services.keys().find(|key| !key.contains('/')) {
        Some(key) => Err(format!("services: key {key:?} is not namespace/hostname")),
        None => Ok(()),
    }
}

fn check_service(service: &Service) -> Result<(), Reason> {
    for address in &service.addresses {
        network_address("addresses", address)?;
    }
    known("ip_families", service.ip_families, IpFamilies::try_from)?;
    if let Some(balancing) = &service.load_balancing {
        known("load_balancing.mode", balancing.mode, Mode::try_from)?;
        known("load_balancing.health_policy", balancing.health_policy, HealthPolicy::try_from)?;
        for scope in &balancing.routing_preference {
            let scope = known("load_balancing.routing_preference", *scope, Scope::try_from)?;
            if scope == Scope::UnspecifiedScope {
                return Err("load_balancing.routing_preference: unspecified scope".to_owned());
            }
        }
    }
    gateway("waypoint", service.waypoint.as_ref())?;
    for weighted in &service.weighted_waypoints {
        let Some(destination) = &weighted.destination else {
            return Err("weighted_waypoints: no destination".to_owned());
        };
        gateway("weighted_waypoints.destination", Some(destination))?;
    }
    Ok(())
}

fn gateway(field: &str, gateway: Option<&GatewayAddress>) -> Result<(), Reason> {
    use proto::workload::gateway_address::Destination;
    let Some(gateway) = gateway else { return Ok(()) };
    match &gateway.destination {
        None => Err(format!("{field}: no destination")),
        Some(Destination::Address(address)) => network_address(field, address),
        Some(Destination::Hostname(_)) => Ok(()),
    }
}

fn network_address(field: &str, address: &NetworkAddress) -> Result<(), Reason> {
    ip_length(field, &address.address)?;
    let bits = address.address.len() as u32 * 8;
    match address.length {
        Some(length) if length > bits => Err(format!("{field}: prefix length {length} exceeds {bits}")),
        _ => Ok(()),
    }
}

fn ip_length(field: &str, bytes: &[u8]) -> Result<(), Reason> {
    match bytes.len() {
        4 | 16 => Ok(()),
        other => Err(format!("{field}: an IP address of {other} bytes")),
    }
}

fn known<T, E>(field: &str, value: i32, from: impl Fn(i32) -> Result<T, E>) -> Result<T, Reason> {
    from(value).map_err(|_| format!("{field}: unknown value {value}"))
}
