//! What workloads read of services.

use engine::{Builder, Index, Memo, Read, Table};
use model::facts::{Protocol, Service, ServicePort, ServiceType, TargetPort};
use model::{Kind, Labels, Name, Ns, ObjectRef, Str};
use proto::workload;
use std::net::IpAddr;

use super::app_protocol::PortProtocol;
use super::{app_protocol, port_choice};
use crate::Options;
use crate::key::Anchor;
use crate::namespace::NamespaceView;
use crate::waypoint::WaypointRequirement;

/// What workloads read of a service. What becomes of its waypoint, or of its addresses, leaves this equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServiceView {
    /// `namespace/hostname`, the key of a workload's services.
    pub key: Str,
    /// The object that it stands for.
    pub object: Name,
    /// Whether it comes from a ServiceEntry: named ports are then looked up otherwise.
    pub is_entry: bool,
    pub selector: Labels,
    pub ports: Vec<PortView>,
    /// Whether unready workloads are to be used.
    pub allow_all: bool,
    /// The service's waypoints, by name, and whether they are required.
    pub requirement: WaypointRequirement,
}

impl ServiceView {
    /// Returns the object that it stands for, with its kind.
    pub fn object_ref(&self) -> ObjectRef {
        let kind = if self.is_entry { Kind::ServiceEntry } else { Kind::Service };
        ObjectRef { kind, name: self.object.clone() }
    }
}

/// One port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PortView {
    pub name: Str,
    pub port: u16,
    /// Whether it is of TCP, which is all that a ztunnel sees.
    pub is_tcp: bool,
    pub target: TargetPort,
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Services {
    pub views: Table<Name, ServiceView>,
    pub by_anchor: Index<Anchor, Name, ServiceView>,
    /// By hostname: a service beats every entry that claims its own.
    pub by_hostname: Index<Str, Name, ServiceView>,
    /// By the addresses that the API server gave them.
    pub by_address: Index<IpAddr, Name, Service>,
}

impl Services {
    /// Returns the Service that has a hostname in its namespace.
    pub fn with_host(&self, read: &impl Read, ns: &Ns, host: &str) -> Option<Name> {
        let label = host.split('.').next().unwrap_or_default();
        let name = Name::new(ns, label);
        let view = read.get(self.views, &name)?;
        let is_its = view.key.split_once('/').is_some_and(|(_, own)| host == own);
        is_its.then_some(name)
    }
}

/// Declares them.
pub(crate) fn declare(
    b: &mut Builder,
    services: Table<Name, Service>,
    namespaces: Memo<Ns, NamespaceView>,
    options: &Options,
) -> Services {
    let suffix = Str::from(options.domain_suffix.as_str());
    let requires = options.require_waypoints;
    let views = b.derive("service_view", services, move |cx, name, service| {
        let view = cx.memo(namespaces, &name.ns)?;
        if !is_sent(service, &view) {
            return None;
        }
        Some(ServiceView {
            requirement: WaypointRequirement::of_service(&service.meta, &view, requires),
            key: resource_name(name, &suffix),
            object: name.clone(),
            is_entry: false,
            selector: service.selector.clone(),
            ports: sent_ports(service)
                .map(|p| PortView {
                    name: p.name.clone(),
                    port: p.port,
                    is_tcp: p.protocol == Protocol::Tcp,
                    target: p.target.clone(),
                })
                .collect(),
            allow_all: service.publish_not_ready,
        })
    });
    let by_anchor = b.index(views, "service_by_anchor", |name: &Name, view| {
        Anchor::of_selector(Some(&name.ns), &view.selector)
    });
    let by_hostname = b.index(views, "service_by_hostname", |_, view: &ServiceView| {
        // The key is namespace/hostname.
        view.key.split_once('/').map(|(_, host)| Str::from(host))
    });
    let by_address =
        b.index(services, "service_by_address", |_, service: &Service| service.cluster_ips.clone());
    Services { views, by_anchor, by_hostname, by_address }
}

/// Tells whether clients are sent a service of a namespace at all.
pub(crate) fn is_sent(service: &Service, view: &NamespaceView) -> bool {
    service.service_type != ServiceType::ExternalName && view.in_scope
}

/// Returns the name of a service's resource.
pub(crate) fn resource_name(name: &Name, suffix: &str) -> Str {
    // Not formatted: it is made for each service of a waypoint that moves.
    Str::from([&*name.ns, "/", &name.name, ".", &name.ns, ".svc.", suffix].concat())
}

/// Returns the host by which a service is reached.
pub(crate) fn hostname(name: &Name, suffix: &str) -> String {
    [&*name.name, ".", &name.ns, ".svc.", suffix].concat()
}

fn sent_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    port_choice::by_number(&service.ports, |p| p.port, |p| p.protocol == Protocol::Tcp)
}

/// Returns the ports of TCP of a service, what is spoken there, and their names.
pub(crate) fn tcp_ports(service: &Service) -> Vec<(u16, PortProtocol, Str)> {
    let ports = sent_ports(service).filter(|port| port.protocol == Protocol::Tcp);
    ports.map(|port| (port.port, PortProtocol::of(port), port.name.clone())).collect()
}

/// Returns the ports of a service as sent.
pub(crate) fn ports(service: &Service) -> Vec<workload::Port> {
    let ports = sent_ports(service).map(|p| workload::Port {
        service_port: u32::from(p.port),
        // A name has another number in each pod; workloads carry it.
        target_port: match p.target {
            TargetPort::Number(n) => u32::from(n),
            TargetPort::Name(_) => 0,
        },
        app_protocol: app_protocol::of(p).into(),
    });
    ports.collect()
}
