//! VirtualServices: which services of their namespace they are for, and their rules.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{Meta, VirtualService};
use model::{Kind, Name, Ns, Str};
use std::sync::Arc;

use super::backend::Backends;
use super::parent::{Attached, Attachment, ByHost, declare_by_host, rows_of};
use super::routed::RoutedHosts;
use super::rule::{Lowered, RouteRules, lower};
use crate::hostname::Specificity;
use crate::key::{RouteKey, ServiceTarget, Target};

/// Which services a VirtualService is for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct VirtualServiceHosts {
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Whether its rules are for the mesh, as `gateways` says.
    pub is_for_mesh: bool,
    /// Whether its rules are for its own namespace, as `exportTo` says.
    pub is_exported: bool,
    /// One for each of its hosts, in order.
    pub hosts: Vec<HostOutcome>,
}

/// What became of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HostOutcome {
    /// These services of its namespace have it.
    Of(Vec<Attached>),
    /// Only a service of another namespace has it: it stays that one's.
    Elsewhere(ServiceTarget),
    /// No service has it.
    Nobody,
}

impl VirtualServiceHosts {
    /// Tells whether its rules are for services of its namespace.
    pub fn is_active(&self) -> bool {
        self.is_for_mesh && self.is_exported
    }

    /// Returns where the rules are attached.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        let hosts = self.hosts.iter().filter(|_| self.is_active());
        hosts.flat_map(|host| if let HostOutcome::Of(attached) = host { attached.as_slice() } else { &[] })
    }
}

/// The VirtualServices of the mesh, with their rules for requests and for streams.
#[derive(Clone, Copy)]
pub(crate) struct VirtualServices {
    pub hosts: Table<Name, VirtualServiceHosts>,
    pub by_host: ByHost,
    pub requests: Table<Name, RouteRules>,
    pub streams: Table<Name, RouteRules>,
}

/// What they are judged by.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub virtual_services: Table<Name, VirtualService>,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    pub backends: Backends,
    pub hosts: RoutedHosts,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, inputs: &Inputs) -> VirtualServices {
    let Inputs { virtual_services, in_scope, backends, hosts: routed, .. } = *inputs;
    let is_ours = inputs.is_ours.clone();
    let hosts = b.derive("virtual_service_hosts", virtual_services, move |cx, name, service| {
        let is_served = is_ours(&service.meta) && *cx.memo(in_scope, &name.ns)?;
        is_served.then(|| VirtualServiceHosts {
            created: service.meta.created,
            is_for_mesh: service.is_for_mesh,
            is_exported: is_exported(&service.export_to, &name.ns),
            hosts: service.hosts.iter().map(|host| judge(cx, backends, &name.ns, host)).collect(),
        })
    });
    let rows =
        b.expand("virtual_service_attachments", hosts, move |cx, name, hosts: &VirtualServiceHosts| {
            let rows = rows_of(&key(name), hosts.created, hosts.attached());
            routed.attach(cx, Kind::VirtualService, rows.iter().map(|((host, ..), _)| host));
            rows
        });
    let by_host = declare_by_host(b, rows);
    let rules = |b: &mut Builder, table, is_requests| {
        b.derive(table, virtual_services, move |cx, name, service: &VirtualService| {
            cx.get(hosts, name).filter(|hosts| hosts.is_active())?;
            let rules = if is_requests { &service.http } else { &service.streams };
            // Callers in the mesh could reach the backends anyway.
            let mesh = lower(cx, backends, &key(name), &service.meta, rules, false);
            (!rules.is_empty()).then(|| RouteRules { gateway: Lowered::default(), mesh })
        })
    };
    let requests = rules(b, "virtual_service_request_rules", true);
    let streams = rules(b, "virtual_service_stream_rules", false);
    VirtualServices { hosts, by_host, requests, streams }
}

fn key(name: &Name) -> RouteKey {
    RouteKey { kind: Kind::VirtualService, name: name.clone() }
}

/// Tells whether a list of namespaces has one; without a list all are meant.
fn is_exported(to: &[Str], ns: &Ns) -> bool {
    to.is_empty() || to.iter().any(|to| matches!(to.as_str(), "*" | ".") || **to == **ns)
}

fn judge(cx: &Cx<'_>, backends: Backends, ns: &Ns, host: &Str) -> HostOutcome {
    let found = backends.of_namespace(cx, ns, host);
    if found.is_empty() {
        return backends.with_hostname(cx, ns, host).map_or(HostOutcome::Nobody, HostOutcome::Elsewhere);
    }
    let specificity = Specificity::of(host);
    let attached = found.into_iter().map(|(service, hostname)| Attached {
        target: Target::Service(service),
        port: None,
        hostnames: vec![Attachment { hostname, specificity }],
    });
    HostOutcome::Of(attached.collect())
}
