//! Gateways of other networks.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{Gateway, GatewayAddress};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str, shared};
use output::{Outputs, Resource};
use proto::ResourceType;
use proto::workload::{self, gateway_address};
use std::sync::Arc;

use crate::encode::{self, ip_bytes};
use crate::namespace::NamespaceView;
use crate::settings::{NETWORK_LABEL, Settings};
use crate::{Options, key, rank};

/// The class of a gateway that stands for another network's.
const REMOTE_CLASS: &str = "istio-remote";
const SERVICE_ACCOUNT_ANNOTATION: &str = "gateway.istio.io/service-account";

/// One address of a gateway of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NetworkGateway {
    pub network: Str,
    pub address: GatewayAddress,
    pub hbone_port: u16,
    /// Namespace and service account that it proves.
    pub identity: Name,
    /// The cluster that declares it.
    pub cluster: Str,
    /// The name of its object, in the namespace of its account.
    pub name: Str,
}

impl NetworkGateway {
    /// Returns the address as it stands in names of resources.
    pub fn address_text(&self) -> Option<String> {
        match &self.address {
            GatewayAddress::Ip(ip) => Some(ip.to_string()),
            GatewayAddress::Hostname(host) => Some(host.to_string()),
            GatewayAddress::Other => None,
        }
    }

    /// Returns how workloads of its network name it.
    pub fn gateway_address(&self) -> Option<workload::GatewayAddress> {
        let destination = match &self.address {
            GatewayAddress::Ip(ip) => gateway_address::Destination::Address(workload::NetworkAddress {
                network: self.network.to_string(),
                address: ip_bytes(ip),
                length: None,
            }),
            GatewayAddress::Hostname(host) => {
                gateway_address::Destination::Hostname(workload::NamespacedHostname {
                    namespace: self.identity.ns.to_string(),
                    hostname: host.to_string(),
                })
            }
            GatewayAddress::Other => return None,
        };
        Some(workload::GatewayAddress {
            destination: Some(destination),
            hbone_mtls_port: u32::from(self.hbone_port),
        })
    }
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Networks {
    by_network: Index<Str, Str, NetworkGateway>,
}

/// Declares them.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    gateways: Table<Name, Gateway>,
    namespaces: Memo<Ns, NamespaceView>,
    settings: Settings,
    options: &Options,
) -> Networks {
    let cluster = shared(&options.cluster_id);
    let declared = b.expand("network_gateways", gateways, move |cx, name, gateway| {
        let in_scope = cx.memo(namespaces, &name.ns).is_some_and(|v| v.in_scope);
        if in_scope { addresses(&cluster, name, gateway) } else { Vec::new() }
    });
    if options.configures_waypoints {
        out.diagnostics(b, "network_gateway_findings", declared, |_, _, gateway: &NetworkGateway| {
            unresolved(gateway)
        });
    }
    let by_network = b.index(declared, "network_gateway_by_network", |_, gateway: &NetworkGateway| {
        [gateway.network.clone()]
    });
    let rows = b.derive("network_gateways_sent", declared, move |cx, uid, gateway| {
        let trust_domain = cx.single(settings.sent_trust_domain)?;
        let mut sent = workload::Workload {
            uid: uid.to_string(),
            name: uid.to_string(),
            namespace: gateway.identity.ns.to_string(),
            service_account: gateway.identity.name.to_string(),
            network: gateway.network.to_string(),
            trust_domain: trust_domain.to_string(),
            ..Default::default()
        };
        match &gateway.address {
            GatewayAddress::Ip(ip) => sent.addresses = vec![ip_bytes(ip)],
            GatewayAddress::Hostname(host) => sent.hostname = host.to_string(),
            GatewayAddress::Other => return None,
        }
        Some(encode::workload(sent, 0))
    });
    out.resources(b, rows, ResourceType::Address, rank::NETWORK_GATEWAY, |uid, encoded| {
        Some(Resource::new(uid.as_str(), encoded))
    });
    Networks { by_network }
}

/// Codes of the diagnostics that arise here.
mod code {
    /// Waypoints do not reach a network, whose gateway has a name.
    pub(super) const NAMED: &str = "NW002";
}

/// Returns what the author of a gateway should know that has a name where waypoints dial addresses.
fn unresolved(gateway: &NetworkGateway) -> Option<Diagnostic> {
    let GatewayAddress::Hostname(host) = &gateway.address else { return None };
    let name = Name { ns: gateway.identity.ns.clone(), name: gateway.name.clone() };
    Some(Diagnostic {
        code: code::NAMED,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::Gateway, name }),
        field: "spec.addresses".to_owned(),
        message: format!(
            "waypoints do not reach network {:?} by the name {:?}; ztunnels do",
            gateway.network.as_str(),
            host.as_str()
        ),
        help: "write an address of type IPAddress".to_owned(),
        place: None,
    })
}

/// The addresses of a gateway that this cluster declares for another network. Its own east-west gateway,
/// of another class, is for the other networks: they declare it in turn.
fn addresses(cluster: &Str, name: &Name, gateway: &Gateway) -> Vec<(Str, NetworkGateway)> {
    let network = gateway.meta.labels.get(NETWORK_LABEL).filter(|network| !network.is_empty());
    let Some(network) = network else { return Vec::new() };
    if gateway.class != REMOTE_CLASS {
        return Vec::new();
    }
    let Some(listener) = gateway.listeners.iter().find(|l| l.protocol == "HBONE") else { return Vec::new() };
    let account = gateway
        .meta
        .annotations
        .get(SERVICE_ACCOUNT_ANNOTATION)
        .filter(|account| !account.is_empty())
        .cloned()
        .unwrap_or_else(|| shared(&format!("{}-istio-remote", name.name)));
    let rows = gateway.addresses.iter().filter_map(|address| {
        let row = NetworkGateway {
            cluster: cluster.clone(),
            name: name.name.clone(),
            network: network.clone(),
            address: address.clone(),
            hbone_port: listener.port,
            identity: Name { ns: name.ns.clone(), name: account.clone() },
        };
        let uid = Str::from(key::network_gateway_uid(network, &row.address_text()?, listener.port));
        Some((uid, row))
    });
    rows.collect()
}

impl Networks {
    /// Returns the gateways of a network, ascending by uid: where one is wanted, the first is it.
    pub fn gateways(&self, cx: &Cx<'_>, network: &Str) -> impl Iterator<Item = Arc<NetworkGateway>> + use<> {
        cx.lookup(self.by_network, network).into_iter().map(|(_, gateway)| gateway)
    }

    /// Returns the gateway through which a network is reached, as its workloads name it.
    pub fn gateway(&self, cx: &Cx<'_>, network: &Str) -> Option<workload::GatewayAddress> {
        self.gateways(cx, network).find(|g| g.hbone_port != 0).and_then(|g| g.gateway_address())
    }
}
