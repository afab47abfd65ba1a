//! ServiceEntries as services: one for each of their hosts, where no other has the better claim.

use engine::{Builder, Cx, Index, Memo, Read, Table};
use model::facts::{
    MatchingRule, Namespace, Resolution, Service, ServiceEntry, ServiceEntryAddress, ServiceEntryPort,
    TargetPort, Visibility,
};
use model::{Kind, Labels, Name, Ns, ObjectRef, Str};
use output::Outputs;
use proto::workload::{self, service};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::app_protocol::PortProtocol;
use super::entry_findings::{addresses_taken, diagnostics};
use super::port_choice;
use super::row::{Balancing, ServiceRow, ingress, load_balancing};
use super::view::{PortView, ServiceView, Services};
use crate::address::{AddressRequest, takes_allocated};
use crate::encode::ip_bytes;
use crate::key::Anchor;
use crate::namespace::NamespaceView;
use crate::settings::Settings;
use crate::waypoint::{BindError, Binder, Bound, WaypointRequirement};
use crate::{Options, rank};

/// A hostname in a namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct HostKey {
    pub ns: Ns,
    pub host: Str,
}

/// A claim: which entry wants a hostname. Of claims in one namespace the least wins: the oldest,
/// then the first by name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct ClaimKey {
    created: i64,
    entry: Name,
    host: Str,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Claim {
    visibility: Visibility,
}

/// The entry that has a hostname in its namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Winner {
    pub entry: Name,
    pub visibility: Visibility,
    /// Whether it has the hostname in the whole mesh.
    pub canonical: bool,
}

/// Which ServiceEntry a hostname means.
#[derive(Clone, Copy)]
pub struct EntryHosts {
    winners: Table<HostKey, Winner>,
    /// Those that have a hostname in the whole mesh.
    canonical: Index<Str, HostKey, Winner>,
}

impl EntryHosts {
    /// Returns the entry that a hostname means to whoever is in a namespace: the namespace's own, else the one that has it
    /// in the whole mesh.
    pub fn of(self, cx: &Cx<'_>, ns: &Ns, host: &Str) -> Option<Name> {
        let own = cx.get(self.winners, &HostKey { ns: ns.clone(), host: host.clone() });
        let own = own.map(|winner| winner.entry.clone());
        own.or_else(|| self.in_mesh(cx, host).map(|(_, winner)| winner.entry))
    }

    /// Returns the one that has a hostname in the whole mesh.
    pub(crate) fn in_mesh(self, cx: &Cx<'_>, host: &Str) -> Option<(HostKey, Winner)> {
        cx.lookup(self.canonical, host).into_iter().next().map(|(key, winner)| (key, (*winner).clone()))
    }
}

/// Whose the addresses are that entries have from their authors.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    services: Index<IpAddr, Name, Service>,
    entries: Index<IpAddr, Name, ServiceEntry>,
    seen: Table<Name, Visibility>,
    root: Table<(), Ns>,
}

impl Addresses {
    /// Returns the addresses of an entry that are another's in the mesh, by their places, with whose they are: a Service of
    /// another namespace, or the oldest entry, if it has none of the hosts. A client would find either of the two.
    pub fn taken(self, cx: &Cx<'_>, entry: &ServiceEntry) -> Vec<(usize, ObjectRef)> {
        let name = &entry.meta.name;
        let is_public = |of: &Name| cx.get(self.seen, of).is_some_and(|seen| *seen == Visibility::Public);
        if entry.addresses.is_empty()
            || !is_public(name)
            || cx.single(self.root).is_some_and(|root| *root == name.ns)
        {
            return Vec::new();
        }
        let holder = |ip: &IpAddr| {
            let services = cx.lookup(self.services, ip).into_iter().map(|(name, _)| name);
            if let Some(service) = services.filter(|of| of.ns != name.ns).min() {
                return Some(ObjectRef { kind: Kind::Service, name: service });
            }
            let entries = cx.lookup(self.entries, ip).into_iter().filter(|(of, _)| is_public(of));
            let age = |of: &(Name, Arc<ServiceEntry>)| (of.1.meta.created, of.0.clone());
            let (first, other) = entries.min_by_key(age)?;
            let is_meant = first.ns == name.ns || other.hosts.iter().any(|host| entry.hosts.contains(host));
            (!is_meant).then_some(ObjectRef { kind: Kind::ServiceEntry, name: first })
        };
        let all = entry.addresses.iter().enumerate().filter_map(|(n, address)| match address {
            ServiceEntryAddress::Ip(ip) => Some((n, holder(ip)?)),
            // Of ranges the longest one that has an address goes first, and addresses go before ranges.
            ServiceEntryAddress::Net(_) | ServiceEntryAddress::Invalid(_) => None,
        });
        all.collect()
    }
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Entries {
    /// The entries that are ours and in scope.
    pub entries: Table<Name, ServiceEntry>,
    /// Who sees what is in their namespace.
    pub seen: Table<Name, Visibility>,
    pub winners: Table<HostKey, Winner>,
    pub hosts: EntryHosts,
    pub addresses: Addresses,
    pub views: Table<HostKey, ServiceView>,
    pub by_anchor: Index<Anchor, HostKey, ServiceView>,
    pub rows: Table<HostKey, ServiceRow>,
    /// What each entry has to do with automatic addresses.
    pub address_requests: Table<Name, AddressRequest>,
}

/// Declares them over the entries that are ours and in scope.
#[allow(clippy::too_many_arguments)] // what the wiring has at hand, each used once
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    entries: Table<Name, ServiceEntry>,
    namespaces: Table<Ns, Namespace>,
    views: Memo<Ns, NamespaceView>,
    settings: Settings,
    binder: Binder,
    services: Services,
    options: &Options,
) -> Entries {
    let seen = b.derive("entry_visibility", entries, move |cx, name, _| {
        Some(visibility(cx, settings, namespaces, &name.ns))
    });
    let suffix = options.domain_suffix.clone();
    let claims = b.expand("host_claims", entries, move |cx, name, entry| {
        let Some(visibility) = cx.get(seen, name).map(|v| *v) else { return Vec::new() };
        let is_valid = !entry.addresses.iter().any(|a| matches!(a, ServiceEntryAddress::Invalid(_)));
        if !is_valid || visibility == Visibility::None {
            return Vec::new();
        }
        let root = cx.single(settings.root_namespace);
        let claim = |host: &Str| {
            let key = ClaimKey { created: entry.meta.created, entry: name.clone(), host: host.clone() };
            let is_own = may_have(host, &name.ns, root.as_deref(), &suffix);
            (key, Claim { visibility: if is_own { visibility } else { Visibility::Namespace } })
        };
        entry.hosts.iter().map(claim).collect()
    });
    let by_key = b.index(claims, "claim_by_host_and_namespace", |key: &ClaimKey, _| {
        [HostKey { ns: key.entry.ns.clone(), host: key.host.clone() }]
    });
    let by_host = b.index(claims, "claim_by_host", |key: &ClaimKey, _| [key.host.clone()]);
    let winners = b.group("host_winners", by_key, move |cx, key: &HostKey, claims| {
        let of_services = cx.lookup(services.by_hostname, &key.host);
        if of_services.iter().any(|(service, _)| service.ns == key.ns) {
            return None;
        }
        let (first, claim) = claims.first()?;
        // The order of claims is by age, then by namespace and name.
        let in_mesh = cx.lookup(by_host, &key.host);
        let leader = in_mesh.iter().find(|(_, c)| c.visibility != Visibility::Namespace);
        let canonical = of_services.is_empty() && leader.is_some_and(|(l, _)| l == first);
        Some(Winner { entry: first.entry.clone(), visibility: claim.visibility, canonical })
    });
    let canonical = b.index(winners, "canonical_host", |key: &HostKey, winner: &Winner| {
        winner.canonical.then(|| key.host.clone())
    });
    let address_requests = b.derive("address_requests", entries, move |cx, name, entry| {
        let is_seen = *cx.get(seen, name)? != Visibility::None;
        let has = |host: &Str| {
            let key = HostKey { ns: name.ns.clone(), host: host.clone() };
            holder(cx, winners, services, &key)
                .is_none_or(|of| of.kind == Kind::ServiceEntry && of.name == *name)
        };
        Some(AddressRequest::of(entry, is_seen, has))
    });
    let requires = options.require_waypoints;
    let entry_views = b.derive("entry_view", winners, move |cx, key, winner| {
        let entry = cx.get(entries, &winner.entry)?;
        let view = cx.memo(views, &key.ns)?;
        Some(ServiceView {
            key: Str::from(format!("{}/{}", key.ns, key.host)),
            object: winner.entry.clone(),
            is_entry: true,
            selector: entry.selector.clone().unwrap_or_default(),
            ports: sent_ports(&entry)
                .map(|p| PortView {
                    name: p.name.clone(),
                    port: p.number,
                    is_tcp: is_tcp(p),
                    target: TargetPort::Number(p.target),
                })
                .collect(),
            allow_all: entry.resolution == Resolution::None,
            requirement: requirement(&entry, winner, &view, requires),
        })
    });
    let by_anchor = b.index(entry_views, "entry_by_anchor", |key: &HostKey, view: &ServiceView| {
        Anchor::of_selector(Some(&key.ns), &view.selector)
    });
    let addresses = Addresses {
        services: services.by_address,
        entries: b.index(entries, "entry_by_address", |_, entry: &ServiceEntry| {
            let single = entry.addresses.iter().filter_map(|address| match address {
                ServiceEntryAddress::Ip(ip) => Some(*ip),
                ServiceEntryAddress::Net(_) | ServiceEntryAddress::Invalid(_) => None,
            });
            single.collect::<Vec<_>>()
        }),
        seen,
        root: settings.root_namespace,
    };
    let allocates = options.allocates_addresses;
    let rows = b.derive("entries_sent", winners, move |cx, key, winner| {
        let entry = cx.get(entries, &winner.entry)?;
        let view = cx.memo(views, &key.ns)?;
        let bound = bind(cx, binder, views, &entry, winner);
        let waypoints = bound.as_ref().ok().and_then(|b| b.as_ref());
        let network = cx.single(settings.network)?;
        let taken = addresses.taken(cx, &entry);
        let mut message = encode(key, winner, &entry, &view, waypoints, &network);
        if !taken.is_empty() {
            let is_own = |n: usize| !taken.iter().any(|(of, _)| *of == n);
            message.addresses = sent_addresses(&entry, &network, is_own);
        }
        if allocates && takes_allocated(&entry, &key.host) {
            message.addresses = allocated(&entry, &key.host, &network);
        }
        let resource = Str::from(format!("{}/{}", key.ns, key.host));
        let requirement = requirement(&entry, winner, &view, requires);
        Some(ServiceRow::new(&entry.meta, resource, message, bound, &requirement))
    });
    ServiceRow::declare_output(b, out, rows, rank::ENTRY_SERVICE);
    b.sink(address_requests);
    let hosts = EntryHosts { winners, canonical };
    let entries = Entries {
        entries,
        seen,
        winners,
        hosts,
        addresses,
        views: entry_views,
        by_anchor,
        rows,
        address_requests,
    };
    // The hosts of an entry have one waypoint: it is told once.
    out.diagnostics_where(
        b,
        "entry_waypoint_findings",
        entries.entries,
        |_, _| true,
        move |cx, name, entry| {
            let keys = entry.hosts.iter().map(|host| HostKey { ns: name.ns.clone(), host: host.clone() });
            let sent = keys.filter_map(|key| cx.get(rows, &key)).filter(|row| row.object == *name);
            // Hosts of one entry mostly say the same.
            sent.filter_map(|row| row.diagnostic(Kind::ServiceEntry, name)).collect::<BTreeSet<_>>()
        },
    );
    let suffix = options.domain_suffix.clone();
    out.diagnostics_where(
        b,
        "entry_findings",
        entries.entries,
        |_, _| true,
        move |cx, name, entry| {
            let is_seen = cx.get(seen, name).is_none_or(|v| *v != Visibility::None);
            let ns = &name.ns;
            let root = cx.single(settings.root_namespace);
            let holder =
                |host: &Str| entries.holder(cx, services, &HostKey { ns: ns.clone(), host: host.clone() });
            let mut all =
                diagnostics(entry, is_seen, holder, |host| may_have(host, ns, root.as_deref(), &suffix));
            all.extend(addresses_taken(entry, &addresses.taken(cx, entry)));
            all
        },
    );
    entries
}

impl Entries {
    /// Returns the object that has a hostname in a namespace.
    pub fn holder(&self, read: &impl Read, services: Services, key: &HostKey) -> Option<ObjectRef> {
        holder(read, self.winners, services, key)
    }
}

fn holder(
    read: &impl Read,
    winners: Table<HostKey, Winner>,
    services: Services,
    key: &HostKey,
) -> Option<ObjectRef> {
    let of = |kind, name| ObjectRef { kind, name };
    if let Some(winner) = read.get(winners, key) {
        return Some(of(Kind::ServiceEntry, winner.entry.clone()));
    }
    services.with_host(read, &key.ns, &key.host).map(|service| of(Kind::Service, service))
}

fn bind(
    cx: &Cx<'_>,
    binder: Binder,
    views: Memo<Ns, NamespaceView>,
    entry: &ServiceEntry,
    winner: &Winner,
) -> Result<Option<Bound>, BindError> {
    let ns = &winner.entry.ns;
    let Some(view) = cx.memo(views, ns) else { return Ok(None) };
    let Some(mut bound) = binder.bind_service(cx, &entry.meta, &view)? else { return Ok(None) };
    // Who is seen in one namespace only must not be served from another.
    let forbids = |waypoint: &Name| winner.visibility == Visibility::Namespace && waypoint.ns != *ns;
    if forbids(&bound.primary.name) {
        return Err(BindError::CrossNamespace(bound.primary.name.clone()));
    }
    if let Some(Ok((canary, _))) = &bound.canary
        && forbids(&canary.name)
    {
        bound.canary = Some(Err(BindError::CrossNamespace(canary.name.clone())));
    }
    Ok(Some(bound))
}

fn requirement(
    entry: &ServiceEntry,
    winner: &Winner,
    view: &NamespaceView,
    by_default: bool,
) -> WaypointRequirement {
    let requirement = WaypointRequirement::of_service(&entry.meta, view, by_default);
    match winner.visibility {
        Visibility::Namespace => requirement.within(&winner.entry.ns),
        _ => requirement,
    }
}

/// The first policy whose rules all match the namespace, else the default.
fn visibility(cx: &Cx<'_>, settings: Settings, namespaces: Table<Ns, Namespace>, ns: &Ns) -> Visibility {
    let Some(configured) = cx.single(settings.visibility) else { return Visibility::Public };
    let Some((default, policies)) = configured.as_ref() else { return Visibility::Public };
    let labels: Labels = cx.get(namespaces, ns).map(|n| n.labels.clone()).unwrap_or_default();
    let matches = |rule: &MatchingRule| match rule {
        MatchingRule::Namespace(selector) => selector.matches(&labels),
        MatchingRule::Unknown => false,
    };
    policies.iter().find(|p| p.rules.iter().all(matches)).map_or(*default, |p| p.visibility)
}

/// Tells whether a hostname may be that of an entry of namespace `ns` for others, too: not where it is within the domain of
/// the Services of another namespace, unless the entry is in the root namespace.
fn may_have(host: &str, ns: &Ns, root: Option<&Ns>, suffix: &str) -> bool {
    let within = host.strip_suffix(suffix).and_then(|host| host.strip_suffix(".svc."));
    let is_own = match within {
        Some(name) => name.rsplit_once('.').is_some_and(|(_, of)| *of == **ns),
        // A wildcard may be wider than that domain.
        None => !host.strip_prefix('*').is_some_and(|rest| format!(".svc.{suffix}").ends_with(rest)),
    };
    is_own || root.is_some_and(|root| root == ns)
}

fn is_tcp(port: &ServiceEntryPort) -> bool {
    !port.protocol.eq_ignore_ascii_case("UDP")
}

fn sent_ports(entry: &ServiceEntry) -> impl Iterator<Item = &ServiceEntryPort> {
    port_choice::by_number(&entry.ports, |p| p.number, is_tcp)
}

/// Returns the ports of TCP of an entry, and what is spoken there.
pub(crate) fn entry_tcp_ports(entry: &ServiceEntry) -> Vec<(u16, PortProtocol, Str)> {
    let ports = sent_ports(entry).filter(|port| is_tcp(port));
    ports.map(|port| (port.number, PortProtocol::of_entry(&port.protocol), port.name.clone())).collect()
}

fn encode(
    key: &HostKey,
    winner: &Winner,
    entry: &ServiceEntry,
    view: &NamespaceView,
    waypoints: Option<&Bound>,
    network: &str,
) -> workload::Service {
    workload::Service {
        name: entry.meta.name.name.to_string(),
        namespace: key.ns.to_string(),
        hostname: key.host.to_string(),
        addresses: sent_addresses(entry, network, |_| true),
        ports: sent_ports(entry)
            .map(|p| workload::Port {
                service_port: u32::from(p.number),
                target_port: u32::from(p.target),
                app_protocol: PortProtocol::of_entry(&p.protocol).app_protocol().into(),
            })
            .collect(),
        subject_alt_names: entry.subject_alt_names.iter().map(|s| s.to_string()).collect(),
        waypoint: waypoints.and_then(|b| b.primary.gateway_address()),
        weighted_waypoints: waypoints.map(Bound::weighted).unwrap_or_default(),
        load_balancing: load_balancing(
            Balancing {
                pass_through: entry.resolution == Resolution::None,
                local: false,
                distribution: "",
                annotations: &entry.meta.annotations,
                publish_not_ready: false,
            },
            view,
        ),
        canonical: winner.canonical,
        ingress_use_waypoint: waypoints.is_some() && ingress(&entry.meta.labels, view),
        visibility: match winner.visibility {
            Visibility::Namespace => service::Visibility::Namespace,
            _ => service::Visibility::Public,
        }
        .into(),
        ..Default::default()
    }
}

/// Returns the addresses that an author gave an entry, as they are sent, of those places that count.
fn sent_addresses(
    entry: &ServiceEntry,
    network: &str,
    counts: impl Fn(usize) -> bool,
) -> Vec<workload::NetworkAddress> {
    let all = entry.addresses.iter().enumerate().filter(|(n, _)| counts(*n));
    let sent = all.filter_map(|(_, address)| match address {
        ServiceEntryAddress::Ip(ip) => Some(host_address(ip, network)),
        ServiceEntryAddress::Net(net) => Some(workload::NetworkAddress {
            network: network.to_owned(),
            address: ip_bytes(&net.network()),
            length: Some(u32::from(net.prefix_len())),
        }),
        ServiceEntryAddress::Invalid(_) => None,
    });
    sent.collect()
}

fn host_address(ip: &IpAddr, network: &str) -> workload::NetworkAddress {
    workload::NetworkAddress { network: network.to_owned(), address: ip_bytes(ip), length: None }
}

/// The addresses that the status of an entry gives a host.
fn allocated(entry: &ServiceEntry, host: &str, network: &str) -> Vec<workload::NetworkAddress> {
    let own = entry.status_addresses.iter().filter(|(of, _)| *of == host);
    own.map(|(_, ip)| host_address(ip, network)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_the_domain_of_another_namespace_are_not_for_all() {
        let (shop, root) = (Ns::own("shop"), Ns::own("istio-system"));
        let of = |host: &str, ns: &Ns| may_have(host, ns, Some(&root), "cluster.local");
        for host in
            ["api.example.org", "*.example.org", "web.shop.svc.cluster.local", "a.web.shop.svc.cluster.local"]
        {
            assert!(of(host, &shop), "{host}");
        }
        for host in
            ["web.far.svc.cluster.local", "*.far.svc.cluster.local", "*.svc.cluster.local", "*.local", "*"]
        {
            assert!(!of(host, &shop), "{host}");
            assert!(of(host, &root), "{host}");
        }
    }
}
