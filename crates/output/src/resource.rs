//! Tables whose rows are sent.

use bytes::Bytes;
use engine::{Change, Graph, Key, Row, Table, Trace};
use model::Str;
use proto::{ResourceType, Scope};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::Encoded;

/// The place of a table in the order in which clients are sent what changed: the least goes first.
///
/// Tables of one group share their names: a name that passes from one to the other in one commit is
/// one change, and changes of them come by scope and name; those of any other table come by key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    group: u16,
    place: u16,
}

impl Rank {
    /// The rank of the first table of a group, which may be its only one.
    pub const fn new(group: u16) -> Self {
        Self { group, place: 0 }
    }

    /// Returns the rank of the next table of the same group.
    pub const fn next(self) -> Self {
        Self { group: self.group, place: self.place + 1 }
    }
}

/// What a row is sent as.
#[derive(Debug)]
pub struct Resource<'r> {
    /// Whom it is for.
    pub scope: Scope,
    /// Its name, unique within its type and scope.
    pub name: Cow<'r, str>,
    /// Its content.
    pub encoded: &'r Encoded,
    /// What a client must understand to be sent it, as bits; 0 for every client.
    pub needs: u8,
}

impl<'r> Resource<'r> {
    /// A resource for all ztunnels.
    pub fn new(name: impl Into<Cow<'r, str>>, encoded: &'r Encoded) -> Self {
        Self { scope: Scope::Mesh, name: name.into(), encoded, needs: 0 }
    }

    /// Returns the resource for clients that understand this.
    pub fn needs(self, needs: u8) -> Self {
        Self { needs, ..self }
    }

    /// Returns the resource for this scope.
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}

/// One resource that is there, is another one, or is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceChange {
    /// Its type.
    pub resource_type: ResourceType,
    /// Whom it is for.
    pub scope: Scope,
    /// Its name, unique within type and scope.
    pub name: String,
    /// The message; `None` when the resource is gone.
    pub body: Option<Bytes>,
    /// The bytes are those of before and must be sent all the same.
    pub resend: bool,
    /// What a client must understand to be sent it, as bits; 0 for every client.
    pub needs: u8,
}

/// What a commit changed of the resources.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Changed resources, by rank, then as [`Rank`] says.
    pub resources: Vec<ResourceChange>,
    /// The nodes of the workloads that are new or another now.
    pub nodes: BTreeSet<Str>,
}

/// A resource before a commit and after it.
struct Versions {
    scope: Scope,
    name: String,
    old: Option<Encoded>,
    new: Option<Encoded>,
    /// Of the new one.
    needs: u8,
}

impl Versions {
    fn added(Resource { scope, name, encoded, needs }: Resource<'_>) -> Self {
        Self { scope, name: name.into_owned(), old: None, new: Some(encoded.clone()), needs }
    }

    fn removed(Resource { scope, name, encoded, .. }: Resource<'_>) -> Self {
        Self { scope, name: name.into_owned(), old: Some(encoded.clone()), new: None, needs: 0 }
    }

    /// Takes the old version with it to where the other comes from.
    fn merge(&mut self, other: Self) {
        self.old = self.old.take().or(other.old);
        if self.new.is_none() {
            (self.new, self.needs) = (other.new, other.needs);
        }
    }

    fn into_change(self, resource_type: ResourceType) -> Option<ResourceChange> {
        let Self { scope, name, old, new, needs } = self;
        let (body, resend, needs) = match (old, new) {
            // Something else of the row changed.
            (Some(old), Some(new)) if old == new => return None,
            (old, Some(new)) => {
                let resend = old.is_some_and(|old| old.body == new.body);
                (Some(new.bytes()), resend, needs)
            }
            (Some(_), None) => (None, false, 0),
            (None, None) => return None,
        };
        Some(ResourceChange { resource_type, scope, name, body, resend, needs })
    }
}

/// A declared table, whatever the types of its keys and rows.
pub(crate) trait ResourceTable: Send {
    fn rank(&self) -> Rank;
    fn resource_type(&self) -> ResourceType;
    /// Takes the changes of the last commit, ascending by key.
    fn take(&self, graph: &mut Graph, each: &mut dyn FnMut(VersionsOf));
    /// Appends every resource, ascending by key.
    fn walk(&self, graph: &Graph, out: &mut Vec<ResourceChange>);
    /// Appends what the resources of this name, in whatever scope, were made from.
    fn why(&self, graph: &Graph, name: &str, depth: usize, out: &mut Vec<Trace>);
}

/// Opaque outside of this module.
pub(crate) struct VersionsOf(Versions);

pub(crate) struct Declared<K, V, F> {
    pub table: Table<K, V>,
    pub resource_type: ResourceType,
    pub rank: Rank,
    pub encode: F,
}

impl<K: Key, V: Row, F> Declared<K, V, F>
where
    F: for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>>,
{
    fn versions(&self, change: &Change<K, V>, each: &mut dyn FnMut(VersionsOf)) {
        let old = change.old.as_deref().and_then(|row| (self.encode)(&change.key, row));
        let new = change.new.as_deref().and_then(|row| (self.encode)(&change.key, row));
        match (old, new) {
            (Some(old), Some(new)) if old.name == new.name && old.scope == new.scope => {
                each(VersionsOf(Versions { old: Some(old.encoded.clone()), ..Versions::added(new) }));
            }
            // Under another name it is another resource.
            (old, new) => {
                old.into_iter().for_each(|old| each(VersionsOf(Versions::removed(old))));
                new.into_iter().for_each(|new| each(VersionsOf(Versions::added(new))));
            }
        }
    }
}

impl<K: Key, V: Row, F> ResourceTable for Declared<K, V, F>
where
    F: for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>> + Send,
{
    fn rank(&self) -> Rank {
        self.rank
    }

    fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    fn take(&self, graph: &mut Graph, each: &mut dyn FnMut(VersionsOf)) {
        for change in graph.changes(self.table) {
            self.versions(&change, each);
        }
    }

    fn walk(&self, graph: &Graph, out: &mut Vec<ResourceChange>) {
        for (key, row) in graph.rows(self.table) {
            if let Some(Resource { scope, name, encoded, needs }) = (self.encode)(&key, &row) {
                out.push(ResourceChange {
                    resource_type: self.resource_type,
                    scope,
                    name: name.into_owned(),
                    body: Some(encoded.bytes()),
                    resend: false,
                    needs,
                });
            }
        }
    }

    fn why(&self, graph: &Graph, name: &str, depth: usize, out: &mut Vec<Trace>) {
        let is_it = |key: &K, row: &V| (self.encode)(key, row).is_some_and(|resource| resource.name == name);
        let keys = graph.keys_of(self.table, is_it);
        out.extend(keys.iter().filter_map(|key| graph.why(self.table, key, depth)));
    }
}

/// Takes what the last commit changed, of tables in the order of their ranks.
pub(crate) fn changed(tables: &[Box<dyn ResourceTable>], graph: &mut Graph) -> Changed {
    let mut changed = Changed::default();
    for group in tables.chunk_by(|a, b| a.rank().group == b.rank().group) {
        if let [table] = group {
            table.take(graph, &mut |VersionsOf(versions)| changed.add(table.resource_type(), versions));
            continue;
        }
        let mut by_name: BTreeMap<(ResourceType, Scope, String), Versions> = BTreeMap::new();
        for table in group {
            table.take(graph, &mut |VersionsOf(versions)| {
                let key = (table.resource_type(), versions.scope.clone(), versions.name.clone());
                match by_name.entry(key) {
                    std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(versions)),
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        entry.get_mut().merge(versions);
                    }
                }
            });
        }
        for ((resource_type, ..), versions) in by_name {
            changed.add(resource_type, versions);
        }
    }
    changed
}

impl Changed {
    fn add(&mut self, resource_type: ResourceType, versions: Versions) {
        let node = versions.new.as_ref().map(|new| new.node.clone()).filter(|node| !node.is_empty());
        if let Some(change) = versions.into_change(resource_type) {
            self.resources.push(change);
            self.nodes.extend(node);
        }
    }
}
