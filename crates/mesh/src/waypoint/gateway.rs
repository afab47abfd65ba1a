//! Waypoints: which gateways are one, and what traffic each takes.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{AllowedNamespaces, Gateway, GatewayAddress, GatewayClass, Node, Pod};
use model::{Name, Ns, Str, shared};
use proto::workload::{self, application_tunnel, gateway_address};
use std::borrow::Cow;
use std::net::IpAddr;

use super::instance::{GATEWAY_NAME_LABEL, Instance, Location, is_live};
use crate::Options;
use crate::encode::ip_bytes;
use crate::namespace::NamespaceView;
use crate::revision::Ownership;
use crate::settings::Settings;

const FOR_LABEL: &str = "istio.io/waypoint-for";
const INBOUND_ANNOTATION: &str = "ambient.istio.io/waypoint-inbound-binding";

/// The port on which every waypoint accepts HBONE.
pub(crate) const HBONE_PORT: u16 = 15008;

/// The traffic that a waypoint accepts (`istio.io/waypoint-for`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TrafficType {
    Service,
    Workload,
    All,
    /// Any other text.
    None,
}

impl TrafficType {
    /// Tells whether traffic of a binding is among it.
    pub fn accepts(self, binding: Binding) -> bool {
        match binding {
            Binding::Service => matches!(self, Self::Service | Self::All),
            Binding::Workload => matches!(self, Self::Workload | Self::All),
        }
    }
}

/// What an object is bound as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Binding {
    Service,
    Workload,
}

/// How a waypoint's instances take traffic (`ambient.istio.io/waypoint-inbound-binding`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inbound {
    pub proxy: bool,
    pub port: u16,
}

/// The controller of classes whose gateways are waypoints of ours.
pub const WAYPOINT_CONTROLLER: &str = "istio.io/mesh-controller";
/// The controller of classes whose gateways are at the edge.
pub const EDGE_CONTROLLER: &str = "istio.io/gateway-controller";
/// The class of [`EDGE_CONTROLLER`] that counts while it is not in the cluster.
const EDGE_CLASS: &str = "istio";

/// Tells whether a gateway of a class is one at the edge.
pub(crate) fn is_edge(gateway: &Gateway, class: Option<&GatewayClass>) -> bool {
    class.map_or(gateway.class == EDGE_CLASS, |class| class.controller == EDGE_CONTROLLER)
}

/// Why a waypoint is not programmed by this control plane: routes and policies for it are not active.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unprogrammed {
    /// It is of a class of ours, and waypoints are not programmed here.
    TurnedOff,
    /// Its class is of another controller; without one, there is no such class.
    NotOurs { class: Str, controller: Option<Str> },
    /// Its Envoys are those of another revision; without a name, it names none, and this one has a name.
    OfRevision(Str),
}

impl Unprogrammed {
    /// Returns why a gateway is not programmed, where those of our classes are if `configures` says so.
    fn of(gateway: &Gateway, class: Option<&GatewayClass>, configures: bool) -> Option<Self> {
        match class {
            Some(class) if class.controller == WAYPOINT_CONTROLLER => {
                (!configures).then_some(Self::TurnedOff)
            }
            other => Some(Self::NotOurs {
                class: gateway.class.clone(),
                controller: other.map(|class| class.controller.clone()),
            }),
        }
    }

    /// Tells whether what Envoys of the gateway would be sent is not even made.
    fn is_unserved(&self) -> bool {
        // One that moves from one revision to another is served by both all along.
        !matches!(self, Self::OfRevision(_))
    }

    /// Returns it in words, to follow a colon.
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::TurnedOff => "this control plane configures no waypoints".into(),
            Self::NotOurs { class, controller: Some(controller) } => {
                format!("its class {class:?} is of controller {controller:?}").into()
            }
            Self::NotOurs { class, controller: None } => format!("there is no GatewayClass {class:?}").into(),
            Self::OfRevision(name) if name.is_empty() => {
                "it names no revision (istio.io/rev), and is that of the default one".into()
            }
            Self::OfRevision(name) => format!("it is that of revision {name:?} (istio.io/rev)").into(),
        }
    }
}

/// A gateway that has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Waypoint {
    pub name: Name,
    /// Why it is not programmed; `None` once it is.
    pub unprogrammed: Option<Unprogrammed>,
    /// Whether what its Envoys are sent is made here: also while they are those of another revision.
    pub is_served: bool,
    pub address: Option<WaypointAddress>,
    pub traffic: TrafficType,
    pub allowed: AllowedNamespaces,
    pub inbound: Option<Inbound>,
}

/// Where a waypoint is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WaypointAddress {
    Hostname(Str),
    Ip { network: Str, ip: IpAddr },
}

impl Waypoint {
    /// Returns the address as sent; a gateway without a usable one is bound all the same.
    pub fn gateway_address(&self) -> Option<workload::GatewayAddress> {
        let destination = match self.address.as_ref()? {
            WaypointAddress::Hostname(host) => {
                gateway_address::Destination::Hostname(workload::NamespacedHostname {
                    namespace: self.name.ns.to_string(),
                    hostname: host.to_string(),
                })
            }
            WaypointAddress::Ip { network, ip } => {
                gateway_address::Destination::Address(workload::NetworkAddress {
                    network: network.to_string(),
                    address: ip_bytes(ip),
                    length: None,
                })
            }
        };
        Some(workload::GatewayAddress {
            destination: Some(destination),
            hbone_mtls_port: u32::from(HBONE_PORT),
        })
    }

    /// Returns how the waypoint's own instances take traffic from a ztunnel.
    pub fn application_tunnel(&self) -> Option<workload::ApplicationTunnel> {
        let inbound = self.inbound?;
        let protocol = if inbound.proxy {
            application_tunnel::Protocol::Proxy
        } else {
            application_tunnel::Protocol::None
        };
        Some(workload::ApplicationTunnel { protocol: protocol.into(), port: u32::from(inbound.port) })
    }
}

/// The service accounts of a waypoint's instances.
pub(crate) type Accounts = std::collections::BTreeSet<Str>;

/// Of which families the addresses of a gateway's instances are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Families {
    /// Some are of IPv4.
    pub v4: bool,
    /// Some are of IPv6.
    pub v6: bool,
}

/// What is known of the instances of waypoints: pods that are labelled as such, in their own namespace.
#[derive(Clone, Copy)]
pub(crate) struct Instances {
    pub accounts: Table<Name, Accounts>,
    /// Of those gateways that have any, waypoint or not.
    pub families: Table<Name, Families>,
    /// The live ones of each gateway that has any, waypoint or not; ascending.
    pub located: Table<Name, Vec<Instance>>,
    pub leaving: Leaving,
}

/// Instances that are being deleted.
///
/// While no other is ready, one that still serves is used as before: a gap would be worse. (Kubernetes does the same for
/// endpoints of Services, since 1.28.)
#[derive(Clone, Copy)]
pub(crate) struct Leaving {
    by_gateway: Index<Name, Name, Pod>,
    /// Whether an instance of a gateway is ready.
    have_ready: Memo<Name, ()>,
}

impl Leaving {
    /// Tells whether an instance of a gateway is used though it is being deleted.
    pub fn is_needed(self, cx: &Cx<'_>, gateway: &Name, pod: &Pod) -> bool {
        pod.serving && pod.is_terminating() && cx.memo(self.have_ready, gateway).is_none()
    }

    /// Returns the addresses of the instances of a gateway that are used, of each the first; ascending.
    pub fn serving(self, cx: &Cx<'_>, gateway: &Name) -> Vec<IpAddr> {
        let instances = cx.lookup(self.by_gateway, gateway).into_iter();
        let used = instances
            .filter(|(name, pod)| is_live(name, pod) && (pod.is_ready() || self.is_needed(cx, gateway, pod)));
        let mut all: Vec<IpAddr> = used.filter_map(|(_, pod)| pod.ips.first().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the instances of a gateway that are used no more: others are, and these end. Ascending.
    pub fn replaced(self, cx: &Cx<'_>, gateway: &Name) -> Vec<Str> {
        let leave = cx.lookup(self.by_gateway, gateway).into_iter().filter(|(_, pod)| pod.is_terminating());
        let mut names: Vec<Str> = leave.map(|(name, _)| name.name).collect();
        if !names.is_empty() && cx.memo(self.have_ready, gateway).is_none() {
            return Vec::new();
        }
        names.sort();
        names
    }
}

/// Declares it.
pub(crate) fn declare_instances(
    b: &mut Builder,
    waypoints: Table<Name, Waypoint>,
    (pods, nodes): (Table<Name, Pod>, Table<Name, Node>),
    options: &Options,
) -> Instances {
    let cluster = shared(&options.cluster_id);
    let by_gateway = b.index(pods, "pod_by_gateway", |name: &Name, pod: &Pod| {
        pod.labels.get(GATEWAY_NAME_LABEL).map(|g| Name { ns: name.ns.clone(), name: g.clone() })
    });
    let accounts = b.derive("waypoint_accounts", waypoints, move |cx, name, _| {
        let instances = cx.lookup(by_gateway, name).into_iter();
        Some(instances.map(|(_, p)| p.service_account.clone()).collect::<Accounts>())
    });
    let families = b.group("gateway_families", by_gateway, |_, _: &Name, instances| {
        let mut all = instances.iter().flat_map(|(_, pod)| pod.ips.iter());
        let v6 = all.clone().any(IpAddr::is_ipv6);
        Some(Families { v4: all.any(IpAddr::is_ipv4), v6 })
    });
    let located = b.group("gateway_instances", by_gateway, move |cx, gateway: &Name, pods| {
        let live = pods.iter().filter(|(name, pod)| !gateway.name.is_empty() && is_live(name, pod));
        let all = live.map(|(name, pod)| {
            let node = (!pod.node.is_empty()).then(|| Name::in_cluster(&name.ns, &pod.node));
            let node = node.and_then(|node| cx.get(nodes, &node));
            Instance { pod: name.clone(), location: Location::of(&cluster, name, pod, node.as_deref()) }
        });
        let all: Vec<Instance> = all.collect();
        (!all.is_empty()).then_some(all)
    });
    let have_ready = b.memo("waypoint_is_ready", move |cx, gateway: &Name| {
        cx.lookup(by_gateway, gateway).iter().any(|(_, pod)| pod.is_ready()).then_some(())
    });
    Instances { accounts, families, located, leaving: Leaving { by_gateway, have_ready } }
}

/// Declares what every gateway says of the traffic that it takes, whether it is ready or not.
pub(crate) fn declare_traffic(
    b: &mut Builder,
    gateways: Table<Name, Gateway>,
    classes: Table<Name, GatewayClass>,
    namespaces: Memo<Ns, NamespaceView>,
) -> Table<Name, TrafficType> {
    b.derive("waypoint_traffic", gateways, move |cx, name, gateway| {
        if !cx.memo(namespaces, &name.ns)?.in_scope {
            return None;
        }
        let class = cx.get(classes, &Name::in_cluster(&name.ns, &gateway.class));
        let text = gateway
            .meta
            .labels
            .get(FOR_LABEL)
            .or_else(|| class.as_ref().and_then(|class| class.meta.labels.get(FOR_LABEL)));
        Some(text.map_or(TrafficType::Service, |text| traffic_type(text)))
    })
}

/// What waypoints are made from.
pub(crate) struct Inputs {
    pub gateways: Table<Name, Gateway>,
    pub classes: Table<Name, GatewayClass>,
    pub traffic: Table<Name, TrafficType>,
    pub settings: Settings,
    pub ownership: Ownership,
}

/// Declares the waypoints by gateway name.
pub(crate) fn declare(b: &mut Builder, inputs: Inputs, options: &Options) -> Table<Name, Waypoint> {
    let Inputs { gateways, classes, traffic, settings, ownership } = inputs;
    let configures = options.configures_waypoints;
    b.derive("waypoints", gateways, move |cx, name, gateway| {
        if gateway.addresses.is_empty() {
            return None;
        }
        let traffic = *cx.get(traffic, name)?;
        let class = cx.get(classes, &Name::in_cluster(&name.ns, &gateway.class));
        let class_meta = class.as_ref().map(|c| &c.meta);
        let inbound = gateway
            .meta
            .annotations
            .get(INBOUND_ANNOTATION)
            .or_else(|| class_meta.and_then(|m| m.annotations.get(INBOUND_ANNOTATION)))
            .and_then(|text| inbound(text));
        let unprogrammed = Unprogrammed::of(gateway, class.as_deref(), configures)
            .or_else(|| ownership.other(cx, &gateway.meta).map(Unprogrammed::OfRevision));
        Some(Waypoint {
            name: name.clone(),
            is_served: !unprogrammed.as_ref().is_some_and(Unprogrammed::is_unserved),
            unprogrammed,
            address: address(gateway, || {
                cx.single(settings.network).map(|n| (*n).clone()).unwrap_or_default()
            }),
            traffic,
            allowed: allowed(gateway, inbound),
            inbound,
        })
    })
}

fn traffic_type(text: &str) -> TrafficType {
    match text {
        "service" => TrafficType::Service,
        "workload" => TrafficType::Workload,
        "all" => TrafficType::All,
        _ => TrafficType::None,
    }
}

fn inbound(text: &str) -> Option<Inbound> {
    let (protocol, port) = match text.split_once('/') {
        None => (text, 0),
        Some((_, port)) if port.contains('/') => return None,
        // A port that is no port counts as none given.
        Some((protocol, port)) => (protocol, port.parse().unwrap_or(0)),
    };
    match protocol {
        "NONE" => Some(Inbound { proxy: false, port }),
        "PROXY" => Some(Inbound { proxy: true, port }),
        _ => None,
    }
}

/// The first hostname, else the first address.
fn address(gateway: &Gateway, network: impl FnOnce() -> Str) -> Option<WaypointAddress> {
    let host = gateway.addresses.iter().find_map(|a| match a {
        GatewayAddress::Hostname(host) => Some(WaypointAddress::Hostname(host.clone())),
        _ => None,
    });
    host.or_else(|| {
        let ip = gateway.addresses.iter().find_map(|a| match a {
            GatewayAddress::Ip(ip) => Some(*ip),
            _ => None,
        })?;
        Some(WaypointAddress::Ip { network: network(), ip })
    })
}

/// Which namespaces may use the waypoint: one listener says it. That is the one that the inbound
/// binding means; without such a one, the waypoint's own for HBONE.
fn allowed(gateway: &Gateway, inbound: Option<Inbound>) -> AllowedNamespaces {
    let mut listeners = gateway.listeners.iter();
    let bound = match inbound {
        Some(Inbound { port, .. }) if port != 0 => listeners.find(|l| l.port == port),
        Some(Inbound { proxy: true, .. }) => listeners.find(|l| l.protocol == "istio.io/PROXY"),
        _ => None,
    };
    let own = || gateway.listeners.iter().find(|l| l.protocol == "HBONE" && l.port == HBONE_PORT);
    bound.or_else(own).map(|l| l.allowed.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound_bindings_are_read_as_the_annotation_says() {
        assert_eq!(inbound("PROXY/15088"), Some(Inbound { proxy: true, port: 15088 }));
        assert_eq!(inbound("PROXY"), Some(Inbound { proxy: true, port: 0 }));
        assert_eq!(inbound("NONE/80"), Some(Inbound { proxy: false, port: 80 }));
        assert_eq!(inbound("PROXY/x"), Some(Inbound { proxy: true, port: 0 }));
        assert_eq!(inbound("PROXY/1/2"), None);
        assert_eq!(inbound("HBONE/15008"), None);
    }
}
