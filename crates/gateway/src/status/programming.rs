//! Whether traffic reaches a gateway, and under which addresses: by the Services in front of it.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{AddressType, EndpointSlice, Gateway, GatewayAddress, Service, ServiceType, TargetPort};
use model::{Name, Str, shared};
use output::Condition;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::{PROGRAMMED, fine, wrong};
use crate::class::Class;
use crate::deployment::{MANAGED_LABEL, is_managed};
use crate::key::ListenerKey;
use crate::listener::{GatewayListeners, Listener};
use crate::name;

/// The annotation by which the author prefers a type of addresses.
const ADDRESS_TYPE: &str = "networking.istio.io/address-type";

/// What is said of a missing Service besides, where gateways are not deployed.
const NOT_DEPLOYED: &str =
    ": this instance deploys no gateways (--deploy-gateways=true does, and gateways.enabled of the chart)";

/// The most addresses of a status.
const MAX_ADDRESSES: usize = 16;

/// Whether traffic reaches a gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Programming {
    /// `Programmed`.
    pub condition: Condition,
    /// Under which it is reached.
    addresses: Vec<GatewayAddress>,
}

impl Programming {
    /// Tells whether the gateway was read with other addresses than these: somebody else wrote them, or these are
    /// not written yet.
    pub fn is_drifted(&self, gateway: &Gateway) -> bool {
        gateway.addresses != self.addresses
    }

    /// Returns `status.addresses`.
    pub fn addresses(&self) -> Value {
        let value = |address: &GatewayAddress| match address {
            GatewayAddress::Ip(ip) => Some(json!({"type": "IPAddress", "value": ip.to_string()})),
            GatewayAddress::Hostname(host) => Some(json!({"type": "Hostname", "value": host.as_str()})),
            GatewayAddress::Other => None,
        };
        Value::Array(self.addresses.iter().filter_map(value).collect())
    }
}

/// What it is made from.
pub(super) struct Inputs {
    pub gateways: Table<Name, Gateway>,
    pub merged: Table<Name, GatewayListeners>,
    pub services: Table<Name, Service>,
    pub slices: Table<Name, EndpointSlice>,
    /// The domain of hostnames of services.
    pub domain: Str,
    /// Whether gateways are deployed here.
    pub deploys: bool,
}

/// The ports of a service, by name, on which an endpoint is ready.
type ReadyPorts = BTreeSet<Str>;

/// Declares it for the gateways that are served. `is_served` tells whether a listener takes traffic.
pub(super) fn declare(
    b: &mut Builder,
    inputs: Inputs,
    is_served: impl Fn(&Cx<'_>, &ListenerKey, &Listener) -> bool + Send + 'static,
) -> Table<Name, Programming> {
    let by_service = b.index(inputs.slices, "slice_by_service", |name: &Name, slice: &EndpointSlice| {
        let is_of_service = !slice.service.is_empty() && slice.address_type != AddressType::Fqdn;
        is_of_service.then(|| Name { ns: name.ns.clone(), name: slice.service.clone() })
    });
    // Of services in front of gateways only, and one pod among several changes nothing.
    let ready = b.memo("service_ready_ports", move |cx, service: &Name| {
        let slices = cx.lookup(by_service, service);
        let is_ready = |slice: &EndpointSlice| {
            slice.endpoints.iter().any(|endpoint| endpoint.ready && !endpoint.addresses.is_empty())
        };
        let of_ready = slices.iter().filter(|(_, slice)| is_ready(slice));
        let ports = of_ready.flat_map(|(_, slice)| &slice.ports);
        Some(ports.map(|port| port.name.clone().unwrap_or_default()).collect::<ReadyPorts>())
    });
    b.derive("gateway_programming", inputs.gateways, move |cx, name, gateway| {
        let merged = cx.get(inputs.merged, name)?;
        let served = merged.listeners.iter().filter(|(key, listener)| is_served(cx, key, listener));
        let ports = served.map(|(_, listener)| listener.port).collect();
        Some(inputs.programming(cx, ready, gateway, merged.class, &ports))
    })
}

/// What clients of a gateway see of it.
#[derive(Clone, Copy)]
struct Front<'a> {
    gateway: &'a Gateway,
    class: Class,
    /// The ports of its listeners that take traffic.
    ports: &'a BTreeSet<u16>,
}

/// A Service that takes the traffic of a gateway.
struct Backing {
    hostname: Str,
    /// Whether it is the one that is deployed for the gateway.
    is_deployed: bool,
    /// `None` for a hostname that is none of a Service.
    service: Option<Name>,
}

/// What stands between a gateway and its traffic.
#[derive(Default)]
struct Findings {
    /// `hostname:port` where traffic arrives.
    assigned: BTreeSet<String>,
    warnings: BTreeSet<String>,
    /// Something will not come about by waiting.
    is_unusable: bool,
    addresses: Vec<GatewayAddress>,
}

impl Inputs {
    fn programming(
        &self,
        cx: &Cx<'_>,
        ready: Memo<Name, ReadyPorts>,
        gateway: &Gateway,
        class: Class,
        ports: &BTreeSet<u16>,
    ) -> Programming {
        if class == Class::Remote {
            let message = "This Gateway is remote; Istio will not program it";
            return Programming { condition: fine(PROGRAMMED, message), addresses: requested(gateway) };
        }
        let backings = self.backings(gateway, class);
        let front = Front { gateway, class, ports };
        let mut findings = Findings::default();
        for backing in &backings {
            self.look(cx, ready, front, backing, &mut findings);
        }
        findings.addresses.truncate(MAX_ADDRESSES);
        let condition = if backings.is_empty() {
            wrong(PROGRAMMED, "UnsupportedAddress", "Failed to assign to any requested addresses")
        } else if ports.is_empty() {
            wrong(PROGRAMMED, "Invalid", "None of the Gateway's listeners are valid")
        } else {
            findings.condition()
        };
        Programming { condition, addresses: findings.addresses }
    }

    /// The Services of a gateway: the one that is deployed for it, else those that its author names.
    fn backings(&self, gateway: &Gateway, class: Class) -> Vec<Backing> {
        if is_managed(gateway) {
            let service = name::service(gateway, class);
            let hostname = self.hostname(&service);
            return vec![Backing { hostname, is_deployed: true, service: Some(service) }];
        }
        let own = &gateway.meta.name.ns;
        let hosts = gateway.requested.iter().filter(|address| address.kind == "Hostname");
        let backing = |value: &Str| {
            if !value.contains('.') {
                let service = Name { ns: own.clone(), name: value.clone() };
                return Backing {
                    hostname: self.hostname(&service),
                    is_deployed: false,
                    service: Some(service),
                };
            }
            let parts = value.strip_suffix(self.domain.as_str()).and_then(|rest| rest.strip_suffix(".svc."));
            let service = parts.and_then(|rest| rest.split_once('.'));
            let service =
                service.filter(|(name, ns)| !name.is_empty() && !ns.is_empty() && !ns.contains('.'));
            let service = service.map(|(name, ns)| Name { ns: own.beside(ns), name: shared(name) });
            Backing { hostname: value.clone(), is_deployed: false, service }
        };
        hosts.map(|address| backing(&address.value)).collect()
    }

    fn hostname(&self, service: &Name) -> Str {
        shared(&format!("{}.{}.svc.{}", service.name, service.ns, self.domain))
    }

    fn look(
        &self,
        cx: &Cx<'_>,
        ready: Memo<Name, ReadyPorts>,
        Front { gateway, class, ports }: Front<'_>,
        backing: &Backing,
        findings: &mut Findings,
    ) {
        let hostname = backing.hostname.as_str();
        let found = backing.service.as_ref().and_then(|name| Some((name, cx.get(self.services, name)?)));
        let Some((name, service)) = found else {
            // Nobody waits for a Service that this instance is not to make.
            let why = if backing.is_deployed && !self.deploys { NOT_DEPLOYED } else { "" };
            return findings.unusable(format!("hostname {hostname:?} not found{why}"));
        };
        if service.service_type == ServiceType::ExternalName {
            return findings.unusable(format!("hostname {hostname:?} is of type ExternalName"));
        }
        let ready = cx.memo(ready, name).unwrap_or_default();
        let is_pending = service.service_type == ServiceType::LoadBalancer && service.external.is_empty();
        if is_pending {
            findings.warn(format!("address pending for hostname {hostname:?}"));
        }
        if ready.is_empty() {
            findings.warn(format!("no instances found for hostname {hostname:?}"));
        }
        for port in ports {
            let defined = service.ports.iter().find(|defined| defined.port == *port);
            // What the Service of a deployment defines has endpoints a moment later.
            let is_deployed = service.meta.labels.get(MANAGED_LABEL).is_some();
            let has_endpoint = |name: &Str| ready.contains(name) || ready.is_empty() || is_deployed;
            match defined {
                Some(defined) if has_endpoint(&defined.name) => {
                    if !ready.is_empty() && !is_pending {
                        findings.assigned.insert(format!("{hostname}:{port}"));
                    }
                }
                _ => {
                    let is_target = |target: &TargetPort| *target == TargetPort::Number(*port);
                    let meant =
                        service.ports.iter().find(|other| other.port != *port && is_target(&other.target));
                    let hint = meant.map_or_else(String::new, |other| {
                        format!(" (hint: the service port should be specified, not the workload port. Did you mean one of these ports: [{}]?)", other.port)
                    });
                    findings.unusable(format!("port {port} not found for hostname {hostname:?}{hint}"));
                }
            }
        }
        let addresses = addresses(gateway, class, &service, &backing.hostname, is_pending);
        // One that was told stays while its Service has it: pods that restart must not unbind what is bound
        // to a waypoint by its address.
        let was_told = addresses.iter().any(|address| gateway.addresses.contains(address));
        if !ready.is_empty() || was_told {
            for address in addresses {
                if !findings.addresses.contains(&address) {
                    findings.addresses.push(address);
                }
            }
        }
    }
}

/// The addresses under which a Service is reached from where the gateway's clients are.
fn addresses(
    gateway: &Gateway,
    class: Class,
    service: &Service,
    hostname: &Str,
    is_pending: bool,
) -> Vec<GatewayAddress> {
    if !service.external.is_empty() {
        return service.external.clone();
    }
    let (by_ip, by_name) = match gateway.annotations.get(ADDRESS_TYPE).map(Str::as_str) {
        Some("IPAddress") => (true, false),
        Some("Hostname") => (false, true),
        _ => (class.is_in_mesh(), true),
    };
    let ips = service.cluster_ips.iter().filter(|_| by_ip).map(|ip| GatewayAddress::Ip(*ip));
    let name = (by_name && !is_pending).then(|| GatewayAddress::Hostname(hostname.clone()));
    ips.chain(name).collect()
}

/// The addresses that the author of a remote gateway writes.
fn requested(gateway: &Gateway) -> Vec<GatewayAddress> {
    let written = gateway.requested.iter().filter(|address| !address.value.is_empty());
    let address = |value: &Str| match value.parse() {
        Ok(ip) => GatewayAddress::Ip(ip),
        Err(_) => GatewayAddress::Hostname(value.clone()),
    };
    written.map(|written| address(&written.value)).collect()
}

impl Findings {
    fn warn(&mut self, warning: String) {
        self.warnings.insert(warning);
    }

    fn unusable(&mut self, warning: String) {
        self.is_unusable = true;
        self.warn(warning);
    }

    fn condition(&self) -> Condition {
        let assigned = joined(&self.assigned);
        if self.warnings.is_empty() {
            return fine(PROGRAMMED, &format!("Resource programmed, assigned to service(s) {assigned}"));
        }
        let reason = if self.is_unusable { "AddressNotUsable" } else { "AddressNotAssigned" };
        let warnings = self.warnings.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        let message = match assigned.as_str() {
            "" => format!("Failed to assign to any requested addresses: {warnings}"),
            _ => format!(
                "Assigned to service(s) {assigned}, but failed to assign to all requested addresses: {warnings}"
            ),
        };
        wrong(PROGRAMMED, reason, message)
    }
}

/// Joins as one says it: `a`, `a and b`, `a, b, and c`.
fn joined(all: &BTreeSet<String>) -> String {
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    match all.as_slice() {
        [rest @ .., before, last] if !rest.is_empty() => {
            format!("{}, {before}, and {last}", rest.join(", "))
        }
        [first, second] => format!("{first} and {second}"),
        _ => all.join(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_joined_as_one_says_them() {
        let of = |all: &[&str]| joined(&all.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["a"]), "a");
        assert_eq!(of(&["a", "b"]), "a and b");
        assert_eq!(of(&["a", "b", "c", "d"]), "a, b, c, and d");
    }
}
