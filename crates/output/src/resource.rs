//! Tables whose rows are sent.

use engine::{Change, Graph, Key, Row, Table, Trace};
use model::Str;
use proto::{ResourceType, Scope};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// The message, not copied; `None` when the resource is gone.
    pub body: Option<Arc<[u8]>>,
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
pub(crate) struct Versions<'r> {
    resource_type: ResourceType,
    scope: Scope,
    name: Cow<'r, str>,
    old: Option<Cow<'r, Encoded>>,
    new: Option<Cow<'r, Encoded>>,
    /// Of the new one.
    needs: u8,
}

impl<'r> Versions<'r> {
    fn added(resource_type: ResourceType, of: Resource<'r>) -> Self {
        let Resource { scope, name, encoded, needs } = of;
        Self { resource_type, scope, name, old: None, new: Some(Cow::Borrowed(encoded)), needs }
    }

    fn removed(resource_type: ResourceType, of: Resource<'r>) -> Self {
        let Resource { scope, name, encoded, .. } = of;
        Self { resource_type, scope, name, old: Some(Cow::Borrowed(encoded)), new: None, needs: 0 }
    }

    fn into_owned(self) -> Versions<'static> {
        let owned =
            |version: Option<Cow<'r, Encoded>>| version.map(|version| Cow::Owned(version.into_owned()));
        Versions {
            resource_type: self.resource_type,
            scope: self.scope,
            name: Cow::Owned(self.name.into_owned()),
            old: owned(self.old),
            new: owned(self.new),
            needs: self.needs,
        }
    }

    /// What tells it from others, in the order in which they come.
    fn key(&self) -> (ResourceType, &Scope, &str) {
        (self.resource_type, &self.scope, &self.name)
    }

    /// Takes the old version with it to where the other comes from.
    fn merge(&mut self, other: Self) {
        self.old = self.old.take().or(other.old);
        if self.new.is_none() {
            (self.new, self.needs) = (other.new, other.needs);
        }
    }

    fn into_change(self) -> Option<ResourceChange> {
        let Self { resource_type, scope, name, old, new, needs } = self;
        let (body, resend, needs) = match (old, new) {
            // Something else of the row changed.
            (Some(old), Some(new)) if old == new => return None,
            (old, Some(new)) => {
                let resend = old.is_some_and(|old| old.body == new.body);
                (Some(Arc::clone(&new.body)), resend, needs)
            }
            (Some(_), None) => (None, false, 0),
            (None, None) => return None,
        };
        Some(ResourceChange { resource_type, scope, name: name.into_owned(), body, resend, needs })
    }
}

/// A declared table, whatever the types of its keys and rows.
pub(crate) trait ResourceTable: Send {
    /// Takes the changes of the last commit, ascending by key.
    fn take(&self, graph: &mut Graph, each: &mut dyn FnMut(Versions<'_>));
    /// Appends every resource, ascending by key.
    fn walk(&self, graph: &Graph, out: &mut Vec<ResourceChange>);
    /// Appends what the resources of this name, in whatever scope, were made from.
    fn why(&self, graph: &Graph, name: &str, depth: usize, out: &mut Vec<Trace>);
    /// The type of its resources.
    fn resource_type(&self) -> ResourceType;
    /// The inputs that a resource was made from, if the table finds its rows by scope and name.
    fn origins(&self, graph: &Graph, scope: &Scope, name: &str, limit: usize) -> Vec<Trace>;
}

/// Tells the key of the row of a resource.
pub(crate) type KeyOf<K> = fn(&Scope, &str) -> Option<K>;

pub(crate) struct Declared<K, V, F> {
    pub table: Table<K, V>,
    pub resource_type: ResourceType,
    /// Absent where rows are not found by what their resources are called.
    pub key_of: Option<KeyOf<K>>,
    pub encode: F,
}

impl<K: Key, V: Row, F> Declared<K, V, F>
where
    F: for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>>,
{
    fn versions(&self, change: &Change<K, V>, each: &mut dyn FnMut(Versions<'_>)) {
        let old = change.old.as_deref().and_then(|row| (self.encode)(&change.key, row));
        let new = change.new.as_deref().and_then(|row| (self.encode)(&change.key, row));
        match (old, new) {
            (Some(old), Some(new)) if old.name == new.name && old.scope == new.scope => {
                let old = Some(Cow::Borrowed(old.encoded));
                each(Versions { old, ..Versions::added(self.resource_type, new) });
            }
            // Under another name it is another resource.
            (old, new) => {
                old.into_iter().for_each(|old| each(Versions::removed(self.resource_type, old)));
                new.into_iter().for_each(|new| each(Versions::added(self.resource_type, new)));
            }
        }
    }
}

impl<K: Key, V: Row, F> ResourceTable for Declared<K, V, F>
where
    F: for<'r> Fn(&'r K, &'r V) -> Option<Resource<'r>> + Send,
{
    fn take(&self, graph: &mut Graph, each: &mut dyn FnMut(Versions<'_>)) {
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
                    body: Some(Arc::clone(&encoded.body)),
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

    fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    fn origins(&self, graph: &Graph, scope: &Scope, name: &str, limit: usize) -> Vec<Trace> {
        let key = self.key_of.and_then(|key_of| key_of(scope, name));
        key.map(|key| graph.origins(self.table, &key, limit)).unwrap_or_default()
    }
}

/// Takes what the last commit changed, of tables in the order of their ranks.
pub(crate) fn changed(tables: &[(Rank, Box<dyn ResourceTable>)], graph: &mut Graph) -> Changed {
    let mut changed = Changed::default();
    for group in tables.chunk_by(|(a, _), (b, _)| a.group == b.group) {
        if let [(_, table)] = group {
            table.take(graph, &mut |versions| changed.add(versions));
            continue;
        }
        let mut all = Vec::new();
        for (_, table) in group {
            table.take(graph, &mut |versions| all.push(versions.into_owned()));
        }
        // Of one name, those of the first table stay first.
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        let mut all = all.into_iter().peekable();
        while let Some(mut versions) = all.next() {
            while let Some(same) = all.next_if(|next| next.key() == versions.key()) {
                versions.merge(same);
            }
            changed.add(versions);
        }
    }
    changed
}

impl Changed {
    fn add(&mut self, versions: Versions<'_>) {
        let node = versions.new.as_ref().map(|new| new.node.clone()).filter(|node| !node.is_empty());
        if let Some(change) = versions.into_change() {
            self.resources.push(change);
            self.nodes.extend(node);
        }
    }
}
