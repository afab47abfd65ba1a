//! The addresses of load balancers, which lead to the pods behind them.
//!
//! ```text
//!  pod ─────────┐
//!               ├──▶ 198.18.0.1:80 ──rules of the node──▶ 10.100.0.7:8080
//!  node itself ─┘
//! ```
//!
//! As the load balancer of a cloud and the rules of a node do together: what goes to an address in the status of a Service of
//! type LoadBalancer, at a port of the Service, goes to one of the endpoints that are ready, by chance. Where there is none
//! the connection is refused, since the address is the node's and nobody listens there.

use crate::netfilter::{self, Action, Chain, Condition, Rule};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The addresses that load balancers have.
pub const RANGE: &str = "198.18.0.0/15";
/// The label of a slice with the name of its Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// A port of a load balancer, and where connections to it go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// Its address.
    pub at: SocketAddrV4,
    /// The endpoints that are ready, ascending.
    pub endpoints: Vec<SocketAddrV4>,
}

/// Returns the ports of all load balancers, ascending.
pub fn frontends<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
) -> Vec<Frontend> {
    let mut all = Vec::new();
    for service in services {
        let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
        for address in ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse::<Ipv4Addr>().ok()) {
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                let Ok(number) = u16::try_from(port.port) else { continue };
                if port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP") {
                    let own = slices.clone().into_iter().filter(|slice| is_of(slice, service));
                    let name = port.name.as_deref().unwrap_or_default();
                    let mut endpoints: Vec<_> = own.flat_map(|slice| ready(slice, name)).collect();
                    endpoints.sort_unstable();
                    all.push(Frontend { at: SocketAddrV4::new(address, number), endpoints });
                }
            }
        }
    }
    all.sort_unstable();
    all
}

fn is_of(slice: &EndpointSlice, service: &Service) -> bool {
    let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(OF_SERVICE));
    slice.metadata.namespace == service.metadata.namespace
        && name == service.metadata.name.as_ref()
        && slice.address_type == "IPv4"
}

/// The endpoints of a slice that are ready, at its port of this name.
fn ready(slice: &EndpointSlice, name: &str) -> Vec<SocketAddrV4> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref().unwrap_or_default() == name);
    let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else { return Vec::new() };
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    let endpoints = slice.endpoints.iter().flatten();
    endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|of| is_ready(of.ready)))
        .filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
        .map(|address| SocketAddrV4::new(address, port))
        .collect()
}

/// Has the connections of pods and of the node go to these ports, and to no others.
///
/// # Errors
/// When the kernel refuses.
pub fn apply(frontends: &[Frontend]) -> anyhow::Result<()> {
    netfilter::replace(&frontends.iter().flat_map(rules).collect::<Vec<_>>())
}

fn rules(frontend: &Frontend) -> Vec<Rule> {
    let mut rules = Vec::new();
    for chain in [Chain::Redirected, Chain::Captured] {
        for (left, endpoint) in (1..=frontend.endpoints.len()).rev().zip(&frontend.endpoints) {
            let mut conditions = vec![
                Condition::Destination(*frontend.at.ip(), 32, true),
                Condition::Port(frontend.at.port(), true),
            ];
            // Of those that are left each has the same chance.
            conditions.extend(u32::try_from(left).ok().filter(|left| *left > 1).map(Condition::OneOf));
            rules.push(Rule { chain, conditions, action: Action::Forward(*endpoint) });
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::{Frontend, frontends};
    use serde_json::{from_value, json};

    #[test]
    fn ports_lead_to_the_target_ports_of_what_is_ready() -> anyhow::Result<()> {
        let service = json!({
            "metadata": {"name": "gateway", "namespace": "shop"},
            "spec": {
                "type": "LoadBalancer",
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "https", "port": 443, "protocol": "TCP"},
                ],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "198.18.0.1"}]}},
        });
        let slice = |namespace: &str| {
            json!({
                "metadata": {
                    "name": "gateway-1",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": "gateway"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": ["10.101.0.2"], "conditions": {"ready": true}},
                    {"addresses": ["10.100.0.2"]},
                    {"addresses": ["10.100.0.3"], "conditions": {"ready": false}},
                ],
            })
        };
        let slices = [from_value(slice("shop"))?, from_value(slice("other"))?];
        let at = |text: &str| text.parse();
        let expected = [
            Frontend {
                at: at("198.18.0.1:80")?,
                endpoints: vec![at("10.100.0.2:8080")?, at("10.101.0.2:8080")?],
            },
            Frontend { at: at("198.18.0.1:443")?, endpoints: Vec::new() },
        ];
        assert_eq!(frontends([&from_value(service)?], &slices), expected);
        Ok(())
    }
}
