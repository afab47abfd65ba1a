//! What rules send traffic to.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{BackendReference, ObjectReference, Service, ServiceEntry, ServiceType};
use model::{Kind, Name, Ns, Str, shared};
use std::sync::Arc;

use crate::grant::Grants;
use crate::key::ServiceTarget;

/// A service that traffic can be sent to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Backend {
    /// The namespace of the object that it stands for.
    pub ns: Ns,
    /// Its hostname.
    pub hostname: Str,
    /// Its port.
    pub port: u16,
}

/// What rules read of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServicePorts {
    /// Its hostnames: one, unless it is a ServiceEntry.
    pub hostnames: Vec<Str>,
    /// Its ports, ascending.
    pub ports: Vec<u16>,
    /// The names that they have.
    pub port_names: Vec<Str>,
}

/// Why a reference to a backend is not resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unresolved {
    /// The reason of the condition `ResolvedRefs`.
    pub reason: &'static str,
    pub message: String,
}

/// The services that routes may name.
#[derive(Clone, Copy)]
pub(crate) struct Backends {
    pub services: Table<Name, ServicePorts>,
    pub entries: Table<Name, ServicePorts>,
    entry_by_hostname: Index<Str, Name, ServicePorts>,
    service_by_hostname: Index<Str, Name, ServicePorts>,
    grants: Grants,
}

/// The group of ServiceEntries, and of references to hostnames.
const ISTIO_GROUP: &str = "networking.istio.io";
/// The group of services that several clusters have.
const IMPORT_GROUP: &str = "multicluster.x-k8s.io";

/// Declares them. `is_ours` tells whether an entry is of the revision that is served.
pub(crate) fn declare(
    b: &mut Builder,
    services: Table<Name, Service>,
    entries: Table<Name, ServiceEntry>,
    in_scope: Memo<Ns, bool>,
    grants: Grants,
    domain_suffix: &str,
    is_ours: impl Fn(&ServiceEntry) -> bool + Send + 'static,
) -> Backends {
    let suffix = Str::from(domain_suffix);
    let services = b.derive("service_ports", services, move |cx, name, service| {
        if !*cx.memo(in_scope, &name.ns)? || service.service_type == ServiceType::ExternalName {
            return None;
        }
        let hostname = Str::from(format!("{}.{}.svc.{suffix}", name.name, name.ns));
        Some(ServicePorts {
            hostnames: vec![hostname],
            ports: sorted(service.ports.iter().map(|port| port.port)),
            port_names: service.ports.iter().map(|port| port.name.clone()).collect(),
        })
    });
    let entries = b.derive("entry_ports", entries, move |cx, name, entry| {
        (*cx.memo(in_scope, &name.ns)? && is_ours(entry)).then(|| ServicePorts {
            hostnames: entry.hosts.clone(),
            ports: sorted(entry.ports.iter().map(|port| port.number)),
            port_names: entry.ports.iter().map(|port| port.name.clone()).collect(),
        })
    });
    let hostnames = |_: &Name, row: &ServicePorts| row.hostnames.clone();
    Backends {
        services,
        entries,
        service_by_hostname: b.index(services, "service_ports_by_hostname", hostnames),
        entry_by_hostname: b.index(entries, "entry_ports_by_hostname", hostnames),
        grants,
    }
}

fn sorted(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

impl Backends {
    /// Resolves a reference of a route of namespace `ns`. References into other namespaces need a grant
    /// unless the route is only for callers in the mesh, which could call the service anyway.
    ///
    /// # Errors
    /// Why it is not resolved. Without a grant nobody learns what exists.
    pub fn resolve(
        self,
        cx: &Cx<'_>,
        kind: Kind,
        ns: &Ns,
        reference: &BackendReference,
        needs_grant: bool,
    ) -> Result<Backend, Unresolved> {
        let object = &reference.object;
        let target = object.target(ns);
        let unresolved = |reason, message| Unresolved { reason, message };
        let is_hostname = object.is(ISTIO_GROUP, "Hostname");
        if !is_hostname && !object.is("", "Service") && !object.is(IMPORT_GROUP, "ServiceImport") {
            let (group, kind) = (object.group.as_str(), object.kind.as_str());
            let message = format!("referencing unsupported backendRef: group {group:?} kind {kind:?}");
            return Err(unresolved("InvalidKind", message));
        }
        if is_hostname && !object.namespace.is_empty() {
            let message = "namespace may not be set with Hostname type".to_owned();
            return Err(unresolved("BackendNotFound", message));
        }
        if needs_grant && !self.grants.permit(cx, kind, ns, object) {
            let message = format!(
                "backendRef {}/{} not accessible to a {kind} in namespace {:?} (missing a ReferenceGrant?)",
                target.name, target.ns, &**ns
            );
            return Err(unresolved("RefNotPermitted", message));
        }
        let Some((service, row)) = self.find(cx, ns, object) else {
            return Err(unresolved(
                "BackendNotFound",
                format!("backend({}) not found", quoted(&target, is_hostname)),
            ));
        };
        let Some(port) = reference.port else {
            return Err(unresolved("BackendNotFound", "port is required in backendRef".to_owned()));
        };
        let own = if is_hostname { Some(&object.name) } else { row.hostnames.first() };
        let hostname = own.cloned().unwrap_or_default();
        if row.ports.binary_search(&port).is_err() {
            let message = format!("backend({hostname}) has no port {port}");
            return Err(unresolved("BackendNotFound", message));
        }
        Ok(Backend { ns: service.name.ns, hostname, port })
    }

    /// Returns the service that a reference of a route for gateways stands for, if it is resolved.
    pub fn service_of(
        self,
        cx: &Cx<'_>,
        kind: Kind,
        ns: &Ns,
        reference: &BackendReference,
    ) -> Option<ServiceTarget> {
        self.resolve(cx, kind, ns, reference, true).ok()?;
        self.find(cx, ns, &reference.object).map(|(service, _)| service)
    }

    /// Finds a service, by its name or by its hostname: of these, one of the route's own namespace goes before
    /// others.
    fn find(
        self,
        cx: &Cx<'_>,
        ns: &Ns,
        object: &ObjectReference,
    ) -> Option<(ServiceTarget, Arc<ServicePorts>)> {
        let of = |kind, name: Name| ServiceTarget { kind, name };
        if object.is(ISTIO_GROUP, "Hostname") {
            let services = cx.lookup(self.service_by_hostname, &object.name).into_iter();
            let entries = cx.lookup(self.entry_by_hostname, &object.name).into_iter();
            let services = services.map(|(name, row)| (of(Kind::Service, name), row));
            let all: Vec<_> =
                services.chain(entries.map(|(name, row)| (of(Kind::ServiceEntry, name), row))).collect();
            let own = all.iter().find(|(service, _)| service.name.ns == *ns);
            return own.or(all.first()).cloned();
        }
        let name = object.target(ns);
        cx.get(self.services, &name).map(|row| (of(Kind::Service, name), row))
    }
}

/// The host of a backend that is not there, as a message has it.
fn quoted(target: &Name, is_hostname: bool) -> Str {
    if is_hostname { shared(&target.name) } else { shared(&format!("{}.{}", target.name, target.ns)) }
}
