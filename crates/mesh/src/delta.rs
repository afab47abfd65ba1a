//! What a commit changed for clients.

use bytes::Bytes;
use engine::{Change, Graph, Key, Row, Table, Trace};
use model::{Diagnostic, Kind, Name, ObjectRef, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::condition::Conditions;
use crate::dialect::BEHIND_GATEWAY;
use crate::encode::Encoded;
use crate::graph::Sinks;
use crate::key;
use crate::policy_row::{PolicyRow, SentPolicy};
use crate::service::ServiceRow;
use crate::service_entry::HostKey;
use crate::split_horizon::Summary;
use crate::store::Facts;
use crate::workload::EntryWorkload;

/// Which type of resource a change is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ResourceKind {
    /// An `Address`: a workload or a service.
    Address,
    /// An `Authorization`.
    Authorization,
}

/// One resource that is there, is another one, or is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceChange {
    /// Its type.
    pub kind: ResourceKind,
    /// Its name, unique within the type.
    pub name: String,
    /// The message; `None` when the resource is gone.
    pub body: Option<Bytes>,
    /// The bytes are those of before and must be sent all the same.
    pub resend: bool,
    /// What a client must understand to be sent it, as bits of [`understood_by`](crate::understood_by).
    pub needs: u8,
}

/// The conditions of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionsChange {
    /// The object.
    pub object: ObjectRef,
    /// Its conditions; `None` when the object is gone or not ours any more.
    pub conditions: Option<Arc<Conditions>>,
}

/// What one commit changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// Changed resources: services, then workloads, then authorizations, each ascending by key.
    ///
    /// Services come first since a client judges a workload by the service that it knows.
    pub resources: Vec<ResourceChange>,
    /// The nodes of the workloads that are new or another now.
    pub nodes: BTreeSet<Str>,
    /// Changed conditions of objects' statuses.
    pub conditions: Vec<ConditionsChange>,
    /// ServiceEntries that came, went, or ask for other automatic addresses than before.
    pub address_requests: Vec<Name>,
    /// Objects that were refused, for the log.
    pub rejected: Vec<Diagnostic>,
}

impl Delta {
    /// Tells whether no resource changed.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    pub(crate) fn collect(graph: &mut Graph, facts: &Facts, sinks: &Sinks, cluster: &str) -> Self {
        let (mut out, mut nodes) = (Vec::new(), BTreeSet::new());
        take_services(graph, cluster, sinks, &mut out);
        let mut take = Take { graph: &mut *graph, cluster, out: &mut out, nodes: &mut nodes };
        each_besides_services(sinks, &mut take);
        let rejected = graph.changes(facts.rejected).into_iter().filter_map(|c| c.new.map(|d| (*d).clone()));
        let conditions = status_tables(sinks)
            .into_iter()
            .flat_map(|(kind, table)| {
                graph.changes(table).into_iter().map(move |c| conditions_change(kind, c.key, c.new))
            })
            .collect();
        let rejected = rejected.collect();
        let address_requests = graph.changes(sinks.address_requests).into_iter().map(|c| c.key).collect();
        Self { resources: out, nodes, conditions, address_requests, rejected }
    }
}

pub(crate) fn all(graph: &Graph, sinks: &Sinks, cluster: &str) -> Vec<ResourceChange> {
    let mut out = Vec::new();
    let mut walk = Walk { graph, cluster, out: &mut out };
    walk.visit(sinks.services);
    walk.visit(sinks.entry_services);
    each_besides_services(sinks, &mut walk);
    out
}

fn status_tables(sinks: &Sinks) -> [(Kind, Table<Name, Conditions>); 4] {
    let of = sinks.statuses;
    [
        (Kind::Service, of.services),
        (Kind::AuthorizationPolicy, of.policies),
        (Kind::ServiceEntry, of.entries),
        (Kind::WorkloadEntry, of.workload_entries),
    ]
}

fn conditions_change(kind: Kind, name: Name, conditions: Option<Arc<Conditions>>) -> ConditionsChange {
    ConditionsChange { object: ObjectRef { kind, name }, conditions }
}

pub(crate) fn all_conditions(graph: &Graph, sinks: &Sinks) -> Vec<ConditionsChange> {
    let tables = status_tables(sinks).into_iter();
    tables
        .flat_map(|(kind, table)| {
            graph.rows(table).into_iter().map(move |(name, row)| conditions_change(kind, name, Some(row)))
        })
        .collect()
}

pub(crate) fn conditions_of(graph: &Graph, sinks: &Sinks, object: &ObjectRef) -> Option<Arc<Conditions>> {
    let (_, table) = status_tables(sinks).into_iter().find(|(kind, _)| *kind == object.kind)?;
    graph.get(table, &object.name)
}

/// Returns what the resource of this name was made from.
pub(crate) fn why(
    graph: &Graph,
    sinks: &Sinks,
    cluster: &str,
    resource: &str,
    depth: usize,
) -> Option<Trace> {
    if let Some(pod) = resource.strip_prefix(cluster).and_then(|r| r.strip_prefix("//Pod/")) {
        return graph.why(sinks.pods, &object(pod)?, depth);
    }
    let by_uid = Str::from(resource);
    let name = object(resource)?;
    // A service's resource is named by its hostname, of which the object's name is the first label.
    let service =
        Name { ns: name.ns.clone(), name: Str::from(name.name.split('.').next().unwrap_or_default()) };
    graph
        .why(sinks.endpoints, &by_uid, depth)
        .or_else(|| graph.why(sinks.entries, &by_uid, depth))
        .or_else(|| graph.why(sinks.inline, &by_uid, depth))
        .or_else(|| graph.why(sinks.networks, &by_uid, depth))
        .or_else(|| graph.why(sinks.horizon?.summaries, &by_uid, depth))
        .or_else(|| graph.why(sinks.policies, &name, depth))
        .or_else(|| graph.why(sinks.peer_strict, &name, depth))
        .or_else(|| {
            // Guards have keys that are no names; only people ask, so all may be looked through.
            let guards = graph.rows(sinks.guards.policies).into_iter();
            let (guard, _) = guards.into_iter().find(|(_, row)| row.resource == resource)?;
            graph.why(sinks.guards.policies, &guard, depth)
        })
        .or_else(|| graph.why(sinks.services, &service, depth))
        .or_else(|| {
            graph.why(sinks.entry_services, &HostKey { ns: name.ns.clone(), host: name.name.clone() }, depth)
        })
}

fn object(text: &str) -> Option<Name> {
    let (ns, name) = text.split_once('/')?;
    Some(Name::new(ns, name))
}

/// A row that clients may be sent.
trait Sent<K>: Row {
    const KIND: ResourceKind;
    /// The resource's name and content; `None` when the row is for status only.
    fn resource(&self, key: &K, cluster: &str) -> Option<(String, &Encoded)>;
    /// What a client must understand to be sent it.
    fn needs(&self) -> u8 {
        0
    }
}

impl<K: Key> Sent<K> for ServiceRow {
    const KIND: ResourceKind = ResourceKind::Address;
    fn resource(&self, _: &K, _: &str) -> Option<(String, &Encoded)> {
        Some((self.resource.to_string(), &self.encoded))
    }
    fn needs(&self) -> u8 {
        self.needs
    }
}

impl Sent<Str> for Encoded {
    const KIND: ResourceKind = ResourceKind::Address;
    fn resource(&self, key: &Str, _: &str) -> Option<(String, &Encoded)> {
        Some((key.to_string(), self))
    }
}

impl Sent<Str> for EntryWorkload {
    const KIND: ResourceKind = ResourceKind::Address;
    fn resource(&self, key: &Str, _: &str) -> Option<(String, &Encoded)> {
        Some((key.to_string(), self.sent()?))
    }
}

impl Sent<Str> for Summary {
    const KIND: ResourceKind = ResourceKind::Address;
    fn resource(&self, key: &Str, _: &str) -> Option<(String, &Encoded)> {
        Some((key.to_string(), &self.encoded))
    }
    fn needs(&self) -> u8 {
        BEHIND_GATEWAY
    }
}

/// Only pods have rows of this kind under a name of an object.
impl Sent<Name> for Encoded {
    const KIND: ResourceKind = ResourceKind::Address;
    fn resource(&self, key: &Name, cluster: &str) -> Option<(String, &Encoded)> {
        Some((key::pod_uid(cluster, key), self))
    }
}

impl<K: Key> Sent<K> for SentPolicy {
    const KIND: ResourceKind = ResourceKind::Authorization;
    fn resource(&self, _: &K, _: &str) -> Option<(String, &Encoded)> {
        Some((self.resource.to_string(), &self.encoded))
    }
}

impl Sent<Name> for PolicyRow {
    const KIND: ResourceKind = ResourceKind::Authorization;
    fn resource(&self, key: &Name, _: &str) -> Option<(String, &Encoded)> {
        Some((key.to_string(), self.encoded.as_ref()?))
    }
    fn needs(&self) -> u8 {
        self.needs
    }
}

/// Something done with every table whose rows are sent.
trait Visit {
    fn visit<K: Key, V: Sent<K>>(&mut self, table: Table<K, V>);
}

/// Visits the tables that are sent in the order in which clients are: workloads, then authorizations.
/// Services go before; those of both kinds share names, so each caller treats them its own way.
fn each_besides_services(sinks: &Sinks, visit: &mut impl Visit) {
    visit.visit(sinks.networks);
    if let Some(horizon) = sinks.horizon {
        visit.visit(horizon.summaries);
    }
    visit.visit(sinks.entries);
    visit.visit(sinks.inline);
    visit.visit(sinks.endpoints);
    visit.visit(sinks.pods);
    visit.visit(sinks.peer_strict);
    visit.visit(sinks.peer_ports);
    if let Some(passes) = sinks.passes {
        visit.visit(passes);
    }
    visit.visit(sinks.guards.policies);
    visit.visit(sinks.policies);
}

/// Collects every resource.
struct Walk<'a> {
    graph: &'a Graph,
    cluster: &'a str,
    out: &'a mut Vec<ResourceChange>,
}

impl Visit for Walk<'_> {
    fn visit<K: Key, V: Sent<K>>(&mut self, table: Table<K, V>) {
        for (key, row) in self.graph.rows(table) {
            if let Some((name, encoded)) = row.resource(&key, self.cluster) {
                let body = Some(shared(&encoded.body));
                let needs = row.needs();
                self.out.push(ResourceChange { kind: V::KIND, name, body, resend: false, needs });
            }
        }
    }
}

/// Takes what the last commit changed.
struct Take<'a> {
    graph: &'a mut Graph,
    cluster: &'a str,
    out: &'a mut Vec<ResourceChange>,
    nodes: &'a mut BTreeSet<Str>,
}

impl Visit for Take<'_> {
    fn visit<K: Key, V: Sent<K>>(&mut self, table: Table<K, V>) {
        for change in self.graph.changes(table) {
            let Some((name, versions)) = versions(&change, self.cluster) else { continue };
            let node = versions.new.as_ref().map(|new| new.node.clone()).filter(|node| !node.is_empty());
            let Some(changed) = versions.change(V::KIND, name) else { continue };
            self.out.push(changed);
            self.nodes.extend(node);
        }
    }
}

/// Takes the services of both kinds. A hostname may pass from one kind to the other: that is a change
/// of one resource, and not one that comes and another that goes.
fn take_services(graph: &mut Graph, cluster: &str, sinks: &Sinks, out: &mut Vec<ResourceChange>) {
    let services = graph.changes(sinks.services);
    let entries = graph.changes(sinks.entry_services);
    let changes = services.iter().filter_map(|c| versions(c, cluster));
    let mut by_name: BTreeMap<String, Versions> = BTreeMap::new();
    for (name, versions) in changes.chain(entries.iter().filter_map(|c| versions(c, cluster))) {
        let all = by_name.entry(name).or_default();
        all.old = all.old.take().or(versions.old);
        if all.new.is_none() {
            (all.new, all.needs) = (versions.new, versions.needs);
        }
    }
    out.extend(by_name.into_iter().filter_map(|(name, all)| all.change(ResourceKind::Address, name)));
}

/// Returns the bytes of a row, not copied.
fn shared(body: &Arc<[u8]>) -> Bytes {
    Bytes::from_owner(Arc::clone(body))
}

/// A resource before a commit and after it.
#[derive(Default)]
struct Versions {
    old: Option<Encoded>,
    new: Option<Encoded>,
    /// Of the new one.
    needs: u8,
}

fn versions<K: Key, V: Sent<K>>(change: &Change<K, V>, cluster: &str) -> Option<(String, Versions)> {
    let of = |row: &Option<Arc<V>>| {
        row.as_deref().and_then(|r| r.resource(&change.key, cluster)).map(|(n, e)| (n, e.clone()))
    };
    let (old, new) = (of(&change.old), of(&change.new));
    let name = new.as_ref().or(old.as_ref())?.0.clone();
    let needs = change.new.as_deref().map_or(0, V::needs);
    Some((name, Versions { old: old.map(|(_, e)| e), new: new.map(|(_, e)| e), needs }))
}

impl Versions {
    fn change(self, kind: ResourceKind, name: String) -> Option<ResourceChange> {
        match (self.old, self.new) {
            // Only the status of the row changed.
            (Some(old), Some(new)) if old == new => None,
            (old, Some(new)) => {
                let resend = old.is_some_and(|old| old.body == new.body);
                Some(ResourceChange { kind, name, body: Some(shared(&new.body)), resend, needs: self.needs })
            }
            (Some(_), None) => Some(ResourceChange { kind, name, body: None, resend: false, needs: 0 }),
            (None, None) => None,
        }
    }
}
