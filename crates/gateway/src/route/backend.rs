//! What rules send traffic to.

use engine::{Builder, Cx, Index, Memo, Table};
use mesh::EntryHosts;
use model::facts::{BackendReference, Meta, ObjectReference, Service, ServiceEntry, ServiceType};
use model::{Kind, Name, Ns, Str, shared};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::destination::{Destinations, Path};
use crate::grant::Grants;
use crate::hostname::{ANY, intersection, is_wildcard, wider};
use crate::key::ServiceTarget;

/// A service that traffic can be sent to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Backend {
    /// The namespace of the object that it stands for.
    pub ns: Ns,
    /// Its hostname.
    pub hostname: Str,
    /// Its port; `None` for that by which the traffic came.
    pub port: Option<u16>,
    /// The name of a subset that a DestinationRule gives it; empty for all of it.
    pub subset: Str,
}

/// What rules read of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServicePorts {
    /// Its hostnames: one, unless it is a ServiceEntry.
    pub hostnames: Vec<Str>,
    /// Its ports, ascending.
    pub ports: Vec<u16>,
    /// The names that they have, each with its port.
    pub port_names: Vec<(Str, u16)>,
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
    entry_hosts: EntryHosts,
    service_by_hostname: Index<Str, Name, ServicePorts>,
    entry_by_own: Index<OwnHostname, Name, ServicePorts>,
    service_by_own: Index<OwnHostname, Name, ServicePorts>,
    grants: Grants,
    destinations: Destinations,
}

/// How services of a namespace are found by a hostname that may have a wildcard.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum OwnHostname {
    /// Those that have it.
    Same(Ns, Str),
    /// Those whose hostnames it covers.
    Wider(Ns, Str),
}

/// The group of ServiceEntries, and of references to hostnames.
const ISTIO_GROUP: &str = "networking.istio.io";
/// The group of services that several clusters have.
const IMPORT_GROUP: &str = "multicluster.x-k8s.io";

/// What they are made from.
pub(crate) struct Inputs {
    pub services: Table<Name, Service>,
    pub entries: Table<Name, ServiceEntry>,
    /// Which entry a hostname means.
    pub entry_hosts: EntryHosts,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    pub grants: Grants,
    pub destinations: Destinations,
    pub domain_suffix: Str,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, inputs: Inputs) -> Backends {
    let Inputs { services, entries, entry_hosts, in_scope, grants, destinations, is_ours, .. } = inputs;
    let suffix = inputs.domain_suffix;
    let services = b.derive("service_ports", services, move |cx, name, service| {
        if !*cx.memo(in_scope, &name.ns)? || service.service_type == ServiceType::ExternalName {
            return None;
        }
        let hostname = Str::from(format!("{}.{}.svc.{suffix}", name.name, name.ns));
        Some(ServicePorts {
            hostnames: vec![hostname],
            ports: sorted(service.ports.iter().map(|port| port.port)),
            port_names: service.ports.iter().map(|port| (port.name.clone(), port.port)).collect(),
        })
    });
    let entries = b.derive("entry_ports", entries, move |cx, name, entry| {
        (*cx.memo(in_scope, &name.ns)? && is_ours(&entry.meta)).then(|| ServicePorts {
            hostnames: entry.hosts.clone(),
            ports: sorted(entry.ports.iter().map(|port| port.number)),
            port_names: entry.ports.iter().map(|port| (port.name.clone(), port.number)).collect(),
        })
    });
    let hostnames = |_: &Name, row: &ServicePorts| row.hostnames.clone();
    Backends {
        services,
        entries,
        service_by_hostname: b.index(services, "service_ports_by_hostname", hostnames),
        entry_hosts,
        service_by_own: b.index(services, "service_ports_by_own_hostname", own_hostnames),
        entry_by_own: b.index(entries, "entry_ports_by_own_hostname", own_hostnames),
        grants,
        destinations,
    }
}

fn own_hostnames(name: &Name, row: &ServicePorts) -> Vec<OwnHostname> {
    let of = |hostname: &Str| {
        let wider = wider(hostname).into_iter().map(|wide| OwnHostname::Wider(name.ns.clone(), wide));
        std::iter::once(OwnHostname::Same(name.ns.clone(), hostname.clone())).chain(wider).collect::<Vec<_>>()
    };
    row.hostnames.iter().flat_map(of).collect()
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
        let own = if is_hostname { Some(&object.name) } else { row.hostnames.first() };
        let hostname = own.cloned().unwrap_or_default();
        let port = match (reference.port, row.ports.as_slice()) {
            (Some(port), ports) if ports.binary_search(&port).is_err() => {
                let message = format!("backend({hostname}) has no port {port}");
                return Err(unresolved("BackendNotFound", message));
            }
            // Where nothing else is written, the port stays what it was.
            (None, [only]) if kind == Kind::VirtualService => Some(*only),
            (None, _) if kind != Kind::VirtualService => {
                return Err(unresolved("BackendNotFound", "port is required in backendRef".to_owned()));
            }
            (port, _) => port,
        };
        let subset = &reference.subset;
        let ns_of_service = service.name.ns;
        if !subset.is_empty() && !self.has_subset(cx, ns, (&ns_of_service, &hostname), subset) {
            let message = format!(
                "backend({hostname}) has no subset {:?}: no DestinationRule gives it",
                subset.as_str()
            );
            return Err(unresolved("SubsetNotFound", message));
        }
        Ok(Backend { ns: ns_of_service, hostname, port, subset: subset.clone() })
    }

    /// Tells whether a DestinationRule that holds for traffic of namespace `client` to a service gives it a subset.
    fn has_subset(self, cx: &Cx<'_>, client: &Ns, (service, hostname): (&Ns, &Str), subset: &str) -> bool {
        let path = Path { client: client.clone(), service: service.clone(), hostname: hostname.clone() };
        let held = self.destinations.held(cx, &path);
        let rows = held.and_then(|key| cx.get(self.destinations.rows, &key));
        rows.is_some_and(|destination| destination.subset(subset).is_some())
    }

    /// Returns the services of a namespace that a hostname of a VirtualService there is for, each with the hostname
    /// that both cover; ascending. One without a dot is the name of a Service.
    pub fn of_namespace(self, cx: &Cx<'_>, ns: &Ns, hostname: &Str) -> Vec<(ServiceTarget, Str)> {
        let mut found = BTreeSet::new();
        let mut add = |kind, name: Name, both: Str| found.insert((ServiceTarget { kind, name }, both));
        if !hostname.contains('.') && hostname != ANY {
            let name = Name { ns: ns.clone(), name: hostname.clone() };
            if let Some(own) = cx.get(self.services, &name).and_then(|row| row.hostnames.first().cloned()) {
                add(Kind::Service, name, own);
            }
            return found.into_iter().collect();
        }
        let mut keys = vec![OwnHostname::Same(ns.clone(), hostname.clone())];
        if is_wildcard(hostname) {
            keys.push(OwnHostname::Wider(ns.clone(), hostname.clone()));
        }
        // What has a wildcard itself may be wider.
        keys.extend(wider(hostname).into_iter().map(|wide| OwnHostname::Same(ns.clone(), wide)));
        for key in &keys {
            for (kind, index) in
                [(Kind::Service, self.service_by_own), (Kind::ServiceEntry, self.entry_by_own)]
            {
                for (name, row) in cx.lookup(index, key) {
                    for both in row.hostnames.iter().filter_map(|own| intersection(hostname, own)) {
                        add(kind, name.clone(), both);
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    /// Returns the service that a hostname means to whoever is in a namespace: one of that namespace, else the Service that
    /// has it, else the entry that has it in the whole mesh.
    pub fn with_hostname(self, cx: &Cx<'_>, ns: &Ns, hostname: &Str) -> Option<ServiceTarget> {
        let service = cx.lookup(self.service_by_hostname, hostname).into_iter().next().map(|(name, _)| name);
        let entry = self.entry_hosts.of(cx, ns, hostname);
        let of = |kind| move |name: Name| ServiceTarget { kind, name };
        match (service, entry) {
            (Some(service), Some(entry)) if service.ns != *ns && entry.ns == *ns => {
                Some(of(Kind::ServiceEntry)(entry))
            }
            (Some(service), _) => Some(of(Kind::Service)(service)),
            (None, entry) => entry.map(of(Kind::ServiceEntry)),
        }
    }

    /// Returns the ports of a service.
    pub fn ports(self, cx: &Cx<'_>, service: &ServiceTarget) -> Option<Arc<ServicePorts>> {
        let table = if service.kind == Kind::Service { self.services } else { self.entries };
        cx.get(table, &service.name)
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

    /// Finds a service, by its name or by its hostname.
    fn find(
        self,
        cx: &Cx<'_>,
        ns: &Ns,
        object: &ObjectReference,
    ) -> Option<(ServiceTarget, Arc<ServicePorts>)> {
        let target = match object.is(ISTIO_GROUP, "Hostname") {
            true => self.with_hostname(cx, ns, &object.name)?,
            false => ServiceTarget { kind: Kind::Service, name: object.target(ns) },
        };
        let row = self.ports(cx, &target)?;
        Some((target, row))
    }
}

/// The host of a backend that is not there, as a message has it.
fn quoted(target: &Name, is_hostname: bool) -> Str {
    if is_hostname { shared(&target.name) } else { shared(&format!("{}.{}", target.name, target.ns)) }
}
