//! What ztunnels are sent, in the shapes of Istio's pages.

use super::answer::{self, Answer};
use super::asked::Asked;
use super::monitoring::Monitoring;
use axum::http::StatusCode;
use bytes::Bytes;
use prost::Message;
use proto::Described;
use proto::workload::address::Type;
use proto::workload::gateway_address::Destination;
use proto::workload::{Address, GatewayAddress, NetworkAddress, Workload};
use serde::ser::{Error, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use xds::{ResourceType, Scope, Snapshot};

/// Returns the addresses of a snapshot, one at a time; what is none is left out.
pub(super) fn addresses(snapshot: &Snapshot) -> impl Iterator<Item = Type> + '_ {
    let all = snapshot.resources(&Scope::Mesh, ResourceType::Address);
    all.filter_map(|of| Address::decode(of.body).ok()?.r#type)
}

/// Reads an address in network order.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// What a list of the page has.
#[derive(Clone, Copy)]
enum Listed {
    Workloads,
    Services,
    Policies,
}

/// A list that is made while it is written: of a large mesh it would be large.
struct List(Arc<Snapshot>, Listed);

#[derive(Serialize)]
struct Ambient {
    workloads: List,
    services: List,
    policies: List,
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(snapshot, listed) = self;
        let mut seq = serializer.serialize_seq(None)?;
        let mut put = |type_url: &str, body: &[u8]| {
            let described = Described::decode(type_url, body).map_err(S::Error::custom)?;
            seq.serialize_element(&described.in_camel_case())
        };
        if matches!(listed, Listed::Policies) {
            for policy in snapshot.resources(&Scope::Mesh, ResourceType::Authorization) {
                put(ResourceType::Authorization.type_url(), policy.body)?;
            }
            return seq.end();
        }
        for address in addresses(snapshot) {
            match (listed, address) {
                (Listed::Workloads, Type::Workload(mut workload)) => {
                    workload.addresses.iter_mut().for_each(as_text);
                    let gateways = [&mut workload.waypoint, &mut workload.network_gateway];
                    gateways.into_iter().flatten().for_each(gateway_as_text);
                    put("istio.workload.Workload", &workload.encode_to_vec())?;
                }
                (Listed::Services, Type::Service(mut service)) => {
                    service.addresses.iter_mut().for_each(|of| as_text(&mut of.address));
                    service.waypoint.iter_mut().for_each(gateway_as_text);
                    put("istio.workload.Service", &service.encode_to_vec())?;
                }
                _ => {}
            }
        }
        seq.end()
    }
}

/// Writes an address as text, which JSON then has in base64: so do Istio's.
fn as_text(address: &mut Bytes) {
    if let Some(ip) = ip(address) {
        *address = ip.to_string().into();
    }
}

fn gateway_as_text(gateway: &mut GatewayAddress) {
    if let Some(Destination::Address(NetworkAddress { address, .. })) = &mut gateway.destination {
        as_text(address);
    }
}

fn too_early() -> Answer {
    let why = "nothing is served yet: /ready of the health port says why";
    answer::line(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// The published snapshot.
///
/// # Errors
/// That there is none yet.
pub(super) fn snapshot(m: &Monitoring) -> Result<Arc<Snapshot>, Answer> {
    m.engine.snapshots().borrow().clone().ok_or_else(too_early)
}

/// `/debug/ambientz`.
pub(super) async fn ambientz(m: &Monitoring, _: &Asked) -> Answer {
    match snapshot(m) {
        Ok(of) => answer::json(
            StatusCode::OK,
            &Ambient {
                workloads: List(Arc::clone(&of), Listed::Workloads),
                services: List(Arc::clone(&of), Listed::Services),
                policies: List(of, Listed::Policies),
            },
        ),
        Err(early) => early,
    }
}

/// `/debug/authorizationz`.
pub(super) async fn authorizationz(m: &Monitoring, _: &Asked) -> Answer {
    #[derive(Serialize)]
    struct Policies {
        authorization_policies: List,
    }
    match snapshot(m) {
        Ok(of) => {
            answer::json(StatusCode::OK, &Policies { authorization_policies: List(of, Listed::Policies) })
        }
        Err(early) => early,
    }
}

/// `/debug/networkz`: the gateways that workloads of other networks are reached by.
pub(super) async fn networkz(m: &Monitoring, _: &Asked) -> Answer {
    let of = match snapshot(m) {
        Ok(of) => of,
        Err(early) => return early,
    };
    let gateway = |address| match address {
        Type::Workload(Workload { network, network_gateway: Some(gateway), cluster_id, .. }) => {
            let address = match gateway.destination? {
                Destination::Address(of) => ip(&of.address)?.to_string(),
                Destination::Hostname(of) => of.hostname,
            };
            Some((network, cluster_id, address, gateway.hbone_mtls_port))
        }
        _ => None,
    };
    let gateways: BTreeSet<_> = addresses(&of).filter_map(gateway).collect();
    let view = |(network, cluster, address, port): &(String, String, String, u32)| {
        json!({
            "Network": network, "Cluster": cluster, "Addr": address, "Port": port, "HBONEPort": port,
            "ServiceAccount": { "Namespace": "", "Name": "" },
        })
    };
    answer::json(StatusCode::OK, &gateways.iter().map(view).collect::<Vec<_>>())
}
