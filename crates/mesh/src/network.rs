//! Gateways of other networks.
//!
//! ```text
//! Gateways ─▶ declarations ──by network──▶ the oldest ─▶ network_gateways ─▶ resources, workloads, waypoints
//!             (what each says, or why it does not count)
//! ```
//!
//! Whoever declares the gateway of a network is handed what is for it: so that is for the namespace of the control plane,
//! and those that the operator names.

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

/// What a Gateway says of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Declaration {
    network: Str,
    created: i64,
    /// Why it does not count, whatever others say.
    refused: Option<Refused>,
    /// By uid; one without any leads nowhere, and is in nobody's way.
    addresses: Vec<(Str, NetworkGateway)>,
}

/// Why what a Gateway says of a network does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refused {
    /// Its namespace may not say it.
    Namespace,
    /// It is the cluster's own network.
    Own,
}

/// The Gateway that counts for a network, and its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Chosen {
    gateway: Name,
    addresses: Vec<(Str, NetworkGateway)>,
}

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
    let (cluster, network) = (shared(&options.cluster_id), settings.network);
    let may_declare = options.network_gateways();
    let declares = |_: &Name, gateway: &Gateway| gateway.class == REMOTE_CLASS;
    let declarations =
        b.derive_where("network_declarations", gateways, declares, move |cx, name, gateway| {
            cx.memo(namespaces, &name.ns).filter(|view| view.in_scope)?;
            let named = gateway.meta.labels.get(NETWORK_LABEL).filter(|network| !network.is_empty())?;
            let refused = match cx.single(network).is_some_and(|own| *own == *named) {
                _ if !may_declare(&name.ns) => Some(Refused::Namespace),
                true => Some(Refused::Own),
                false => None,
            };
            Some(Declaration {
                network: named.clone(),
                created: gateway.meta.created,
                refused,
                addresses: addresses(&cluster, name, named, gateway),
            })
        });
    let by_network = b.index(declarations, "declaration_by_network", |_, declaration: &Declaration| {
        let counts = declaration.refused.is_none() && !declaration.addresses.is_empty();
        counts.then(|| declaration.network.clone())
    });
    // Equally old ones go by their names, by which they are ordered.
    let chosen = b.group("network_gateways_chosen", by_network, |_, _, all| {
        let (gateway, oldest) = all.iter().min_by_key(|(_, declaration)| declaration.created)?;
        Some(Chosen { gateway: gateway.clone(), addresses: oldest.addresses.clone() })
    });
    out.diagnostics_where(
        b,
        "network_declaration_findings",
        declarations,
        |_, _| true,
        move |cx, name, declaration| {
            let other = cx.get(chosen, &declaration.network).filter(|chosen| chosen.gateway != *name);
            left_out(name, declaration, other.as_deref())
        },
    );
    let declared = b.expand("network_gateways", chosen, |_, _, chosen: &Chosen| chosen.addresses.clone());
    if options.configures_waypoints {
        out.diagnostics(b, "network_gateway_findings", declared, |_, gateway: &NetworkGateway| {
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
    /// A Gateway declares the gateway of a network, and does not count.
    pub(super) const LEFT_OUT: &str = "NW003";
}

/// Returns what the author of a Gateway should know that does not count for the network that it names; `other` is the
/// Gateway that does.
fn left_out(name: &Name, declaration: &Declaration, other: Option<&Chosen>) -> Option<Diagnostic> {
    let network = declaration.network.as_str();
    let (severity, message, help) = match (declaration.refused, other) {
        (Some(Refused::Namespace), _) => (
            Severity::Warning,
            format!("no Gateway of namespace {:?} declares the gateway of a network, such as {network:?}", &*name.ns),
            "put it into the namespace of the control plane, or name its namespace by --network-gateway-namespaces".to_owned(),
        ),
        (Some(Refused::Own), _) => (
            Severity::Info,
            format!("network {network:?} is the cluster's own: what is there is reached without a gateway"),
            "label it with the network that it leads to, or leave it to the other clusters".to_owned(),
        ),
        (None, Some(other)) if !declaration.addresses.is_empty() => (
            Severity::Warning,
            format!("network {network:?} has the gateway {}, which goes before this one", other.gateway),
            "remove one of them, or label it with another network: the oldest counts, then the first by name".to_owned(),
        ),
        (None, _) => return None,
    };
    Some(Diagnostic {
        code: code::LEFT_OUT,
        severity,
        object: Some(ObjectRef { kind: Kind::Gateway, name: name.clone() }),
        field: format!("metadata.labels[{NETWORK_LABEL}]"),
        message,
        help,
        place: None,
    })
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
fn addresses(cluster: &Str, name: &Name, network: &Str, gateway: &Gateway) -> Vec<(Str, NetworkGateway)> {
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
