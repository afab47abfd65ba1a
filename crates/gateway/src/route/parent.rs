//! What routes attach to: each of their parents says whether it takes them, and for which hostnames.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::{Meta, Namespace, ParentReference, Route, RouteProtocol};
use model::{Kind, Name, Ns, Str, shared};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::Backends;
use super::kinds::PerKind;
use super::routed::RoutedHosts;
use crate::allowed::admits;
use crate::hostname::{ANY, Specificity, intersection};
use crate::key::{HostKey, ListenerKey, Owner, RouteKey, ServiceTarget, Target};
use crate::listener::{GatewayListeners, Listener, Listeners};

/// What became of one entry of `parentRefs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ParentOutcome {
    pub reference: ParentReference,
    /// Where the route is attached.
    ///
    /// # Errors
    /// The reason and message of the condition `Accepted`.
    pub attached: Result<Vec<Attached>, (&'static str, String)>,
}

/// A place where a route is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attached {
    pub target: Target,
    /// The port of a service that is meant; `None` for every one.
    pub port: Option<u16>,
    /// For which hostnames.
    pub hostnames: Vec<Attachment>,
}

/// A hostname for which a route is attached.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Attachment {
    /// What both the parent and the route have.
    pub hostname: Str,
    /// How specific the route's own hostname is.
    pub specificity: Specificity,
}

/// The parents of a route that are ours to judge, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RouteParents {
    /// When the route was created, in seconds since 1970.
    pub created: i64,
    pub outcomes: Vec<ParentOutcome>,
}

impl RouteParents {
    /// Tells whether it has parents that are gateways, and whether it has ones in the mesh.
    pub fn has(&self) -> (bool, bool) {
        let is_mesh = |outcome: &ParentOutcome| is_service(&outcome.reference).is_some();
        (self.outcomes.iter().any(|of| !is_mesh(of)), self.outcomes.iter().any(is_mesh))
    }

    /// Returns where it is attached; a place is there for each reference to it.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.outcomes.iter().filter_map(|outcome| outcome.attached.as_ref().ok()).flatten()
    }
}

/// A row for each hostname that a route is attached for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AttachmentRow {
    pub specificity: Specificity,
    pub created: i64,
    /// The port of a service that is meant; `None` for every one.
    pub port: Option<u16>,
}

/// The key of such a row.
pub(crate) type AttachmentKey = (HostKey, RouteKey, Option<u16>);

/// Where routes of one kind are attached.
#[derive(Clone, Copy)]
pub(crate) struct Attachments {
    pub parents: Table<Name, RouteParents>,
    /// Each route once for a place where it is attached.
    pub by_target: Index<Target, Name, RouteParents>,
    pub by_host: ByHost,
}

/// Where they are, found by the hostname.
pub(crate) type ByHost = Index<HostKey, AttachmentKey, AttachmentRow>;

/// Declares that index.
pub(super) fn declare_by_host(b: &mut Builder, rows: Table<AttachmentKey, AttachmentRow>) -> ByHost {
    b.index(rows, "attachment_by_host", |key: &AttachmentKey, _| [key.0.clone()])
}

/// What parents are judged by.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub gateways: Table<Name, GatewayListeners>,
    pub set_parents: Table<Name, Name>,
    pub listeners: Listeners,
    pub namespaces: Table<Ns, Namespace>,
    /// The namespaces that take part in the mesh.
    pub in_scope: Memo<Ns, bool>,
    pub backends: Backends,
    pub hosts: RoutedHosts,
    /// Whether an object is of the revision that is served.
    pub is_ours: Arc<dyn Fn(&Meta) -> bool + Send + Sync>,
}

/// Declares them.
pub(crate) fn declare(
    b: &mut Builder,
    routes: PerKind<Table<Name, Route>>,
    inputs: &Inputs,
) -> PerKind<Attachments> {
    let names: BTreeMap<Kind, [&'static str; 2]> = BTreeMap::from([
        (Kind::HTTPRoute, ["http_route_parents", "http_route_attachments"]),
        (Kind::GRPCRoute, ["grpc_route_parents", "grpc_route_attachments"]),
        (Kind::TLSRoute, ["tls_route_parents", "tls_route_attachments"]),
        (Kind::TCPRoute, ["tcp_route_parents", "tcp_route_attachments"]),
        (Kind::UDPRoute, ["udp_route_parents", "udp_route_attachments"]),
    ]);
    routes.map(|kind, routes| {
        let [parents, attachments] = names.get(&kind).copied().unwrap_or_default();
        let (inputs, hosts) = (inputs.clone(), inputs.hosts);
        let parents = b.derive(parents, routes, move |cx, name, route| {
            let is_served = (inputs.is_ours)(&route.meta) && *cx.memo(inputs.in_scope, &name.ns)?;
            is_served.then(|| RouteParents {
                created: route.meta.created,
                outcomes: route
                    .parents
                    .iter()
                    .filter_map(|parent| inputs.judge(cx, kind, name, route, parent))
                    .collect(),
            })
        });
        // Of the parents alone: an edit of the rules does not come here.
        let rows = b.expand(attachments, parents, move |cx, name, row: &RouteParents| {
            let rows = rows_of(&RouteKey { kind, name: name.clone() }, row.created, row.attached());
            hosts.attach(cx, kind, rows.iter().map(|((host, ..), _)| host));
            rows
        });
        let by_target = b.index(parents, "route_by_target", |_, row: &RouteParents| {
            row.attached().map(|attached| attached.target.clone()).collect::<Vec<_>>()
        });
        Attachments { parents, by_target, by_host: declare_by_host(b, rows) }
    })
}

/// Returns the rows of a route that is attached so.
pub(super) fn rows_of<'a>(
    route: &RouteKey,
    created: i64,
    attached: impl Iterator<Item = &'a Attached>,
) -> Vec<(AttachmentKey, AttachmentRow)> {
    let mut rows: BTreeMap<AttachmentKey, AttachmentRow> = BTreeMap::new();
    for Attached { target, port, hostnames } in attached {
        for of in hostnames {
            let host = HostKey { target: target.clone(), hostname: of.hostname.clone() };
            let row = AttachmentRow { specificity: of.specificity, created, port: *port };
            // Two hostnames of the route, or two references, may come to the same: the more specific counts.
            let entry = rows.entry((host, route.clone(), *port)).or_insert_with(|| row.clone());
            entry.specificity = entry.specificity.max(row.specificity);
        }
    }
    rows.into_iter().collect()
}

/// The kind of a parent in the mesh; `None` for any other.
pub(crate) fn is_service(parent: &ParentReference) -> Option<Kind> {
    let is = |kind: Kind| parent.object.is(kind.group(), kind.name()).then_some(kind);
    is(Kind::Service).or_else(|| is(Kind::ServiceEntry))
}

/// Why a listener does not take a route, the least severe first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Refusal {
    NotAllowed,
    NoHostname,
    NoMatch,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::NotAllowed => "NotAllowedByListeners",
            Self::NoHostname => "NoMatchingListenerHostname",
            Self::NoMatch => NO_MATCHING_PARENT,
        }
    }
}

const NO_MATCHING_PARENT: &str = "NoMatchingParent";

impl Inputs {
    /// Judges one parent; `None` for one that is another controller's.
    fn judge(
        &self,
        cx: &Cx<'_>,
        kind: Kind,
        name: &Name,
        route: &Route,
        parent: &ParentReference,
    ) -> Option<ParentOutcome> {
        let target = parent.object.target(&name.ns);
        let attached = if let Some(service) = is_service(parent) {
            self.attach_to_service(cx, route, parent, ServiceTarget { kind: service, name: target })
        } else if parent.object.is(Kind::Gateway.group(), Kind::Gateway.name()) {
            let gateway = cx.get(self.gateways, &target)?;
            gateway.class.has_routes().then_some(())?;
            self.attach_to_listeners(cx, kind, name, route, parent, &Owner::Gateway(target))
        } else if parent.object.is(Kind::ListenerSet.group(), Kind::ListenerSet.name()) {
            cx.get(self.set_parents, &target)?;
            self.attach_to_listeners(cx, kind, name, route, parent, &Owner::Set(target))
        } else {
            return None;
        };
        Some(ParentOutcome { reference: parent.clone(), attached })
    }

    fn attach_to_listeners(
        &self,
        cx: &Cx<'_>,
        kind: Kind,
        name: &Name,
        route: &Route,
        parent: &ParentReference,
        owner: &Owner,
    ) -> Result<Vec<Attached>, (&'static str, String)> {
        let listeners = cx.lookup(self.listeners.by_owner, owner);
        let (mut attached, mut refusals) = (Vec::new(), Vec::new());
        for (key, listener) in listeners.iter().filter(|(_, listener)| listener.conflict.is_none()) {
            match self.attach(cx, kind, name, route, parent, (key, listener)) {
                Ok(hostnames) => {
                    attached.push(Attached { target: Target::Listener(key.clone()), port: None, hostnames });
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        if !attached.is_empty() {
            return Ok(attached);
        }
        let Some(least) = refusals.iter().map(|(refusal, _)| *refusal).min() else {
            return Err((NO_MATCHING_PARENT, not_found(parent)));
        };
        let mut messages: Vec<String> = refusals
            .into_iter()
            .filter(|(refusal, _)| *refusal == least)
            .map(|(_, message)| message)
            .collect();
        messages.sort_unstable();
        messages.dedup();
        Err((least.reason(), messages.join("; ")))
    }

    /// Attaches to one listener.
    fn attach(
        &self,
        cx: &Cx<'_>,
        kind: Kind,
        name: &Name,
        route: &Route,
        parent: &ParentReference,
        (key, listener): (&ListenerKey, &Listener),
    ) -> Result<Vec<Attachment>, (Refusal, String)> {
        if let Some(port) = parent.port.filter(|port| *port != listener.port) {
            return Err((Refusal::NoMatch, format!("port {port} not found")));
        }
        if !parent.section.is_empty() && parent.section != key.name {
            return Err((Refusal::NoMatch, not_found(parent)));
        }
        let hostnames = hostnames(route, &listener.hostname);
        let host = listener.hostname.as_str();
        if hostnames.is_empty() {
            return Err((Refusal::NoHostname, format!("no hostnames matched parent hostname {host:?}")));
        }
        if !admits(cx, self.namespaces, &listener.allowed, &key.owner.name().ns, &name.ns) {
            let message = format!(
                "hostnames matched parent hostname {host:?}, but namespace {:?} is not allowed by the parent",
                &*name.ns
            );
            return Err((Refusal::NotAllowed, message));
        }
        if !listener.kinds.contains(&kind) {
            return Err((Refusal::NotAllowed, format!("kind {kind} is not allowed")));
        }
        Ok(hostnames)
    }

    fn attach_to_service(
        &self,
        cx: &Cx<'_>,
        route: &Route,
        parent: &ParentReference,
        target: ServiceTarget,
    ) -> Result<Vec<Attached>, (&'static str, String)> {
        let (table, what) = match target.kind {
            Kind::Service => (self.backends.services, "parent service"),
            _ => (self.backends.entries, "parent service entry"),
        };
        let Some(service) = cx.get(table, &target.name) else {
            return Err((NO_MATCHING_PARENT, format!("{what}: {:?} not found", target.name.name.as_str())));
        };
        if let Some(port) = parent.port.filter(|port| service.ports.binary_search(port).is_err()) {
            return Err((NO_MATCHING_PARENT, format!("port {port} not found")));
        }
        // In the mesh requests are told by where they go: hostnames of the route do not count, but that
        // streams may be told apart by theirs.
        let hostnames = match route.protocol {
            RouteProtocol::Tls if !route.hostnames.is_empty() => route.hostnames.clone(),
            _ => service.hostnames.clone(),
        };
        let attachments = hostnames
            .into_iter()
            .map(|hostname| Attachment { specificity: Specificity::of(&hostname), hostname });
        Ok(vec![Attached {
            target: Target::Service(target),
            port: parent.port,
            hostnames: attachments.collect(),
        }])
    }
}

fn not_found(parent: &ParentReference) -> String {
    match (parent.section.as_str(), parent.port) {
        ("", Some(port)) => format!("port {port} not found"),
        ("", None) => "no listener of the parent takes routes".to_owned(),
        (section, _) => format!("sectionName {section:?} not found"),
    }
}

/// The hostnames that a listener and a route have both, each with how specific the route's is.
fn hostnames(route: &Route, listener: &Str) -> Vec<Attachment> {
    // Streams of TCP and UDP have no hosts.
    let has_hosts = !matches!(route.protocol, RouteProtocol::Tcp | RouteProtocol::Udp);
    let any = [shared(ANY)];
    let own = if route.hostnames.is_empty() || !has_hosts { any.as_slice() } else { &route.hostnames };
    let mut found: Vec<Attachment> = own
        .iter()
        .filter_map(|own| {
            let hostname = intersection(own, listener)?;
            Some(Attachment { hostname, specificity: Specificity::of(own) })
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
