//! Shared strings and object names.

use crate::Kind;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// A reference-counted, immutable string of one word.
pub type Str = arcstr::ArcStr;

/// Returns the one shared copy of `text` in this process.
///
/// Names of nodes, namespaces and accounts repeat in every pod; one copy serves them all. The table
/// holds no string alive: what nobody uses is dropped when the table would otherwise grow.
pub fn shared(text: &str) -> Str {
    static TABLE: LazyLock<Mutex<Interner>> = LazyLock::new(Mutex::default);
    if text.is_empty() {
        return Str::new();
    }
    TABLE.lock().get(text)
}

struct Interner {
    table: HashTable<Str>,
    hasher: foldhash::fast::RandomState,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self { table: HashTable::new(), hasher: foldhash::fast::RandomState::default(), sweep_at: 1024 }
    }
}

impl Interner {
    fn get(&mut self, text: &str) -> Str {
        let hash = self.hasher.hash_one(text);
        if let Some(found) = self.table.find(hash, |s| s == text) {
            return found.clone();
        }
        if self.table.len() >= self.sweep_at {
            // A count of one means that only this table refers to the string.
            self.table.retain(|s| Str::strong_count(s).is_none_or(|n| n > 1));
            self.sweep_at = (self.table.len() * 2).max(1024);
            self.table.shrink_to(self.sweep_at, |s| self.hasher.hash_one(s.as_str()));
        }
        let new = Str::from(text);
        self.table.insert_unique(hash, new.clone(), |s| self.hasher.hash_one(s.as_str()));
        new
    }
}

/// The name of an object within its kind. `ns` is empty for cluster-scoped kinds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Name {
    /// `metadata.namespace`, empty when the kind is cluster-scoped.
    pub ns: Str,
    /// `metadata.name`.
    pub name: Str,
}

impl Name {
    /// Builds a name from its parts; the namespace is shared.
    pub fn new(ns: &str, name: &str) -> Self {
        Self { ns: shared(ns), name: Str::from(name) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ns.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.ns, self.name) }
    }
}

/// A reference to one object: its kind and its name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectRef {
    /// The kind of the object.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: Name,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
