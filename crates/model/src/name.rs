//! Shared strings and object names.

use crate::Kind;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;
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

/// A namespace of a cluster. The one without a name is the cluster itself, where objects of
/// cluster-scoped kinds are.
///
/// One word, shared by all that is in the namespace. As text, by dereference and when it is written, it
/// is the namespace's name alone, as resources and hostnames have it; compared, it is of its cluster.
///
/// ```
/// use pilothouse_model::Ns;
///
/// let (here, there) = (Ns::own("shop"), Ns::of("east", "shop"));
/// assert!(here != there && *here == *there);
/// assert_eq!((here.cluster(), there.cluster()), (None, Some("east")));
/// assert_eq!(there.beside("bank"), Ns::of("east", "bank"));
/// ```
// The text is the name, after the cluster and a slash unless that is the own one: no name has a slash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ns(Str);

impl Ns {
    /// Returns a namespace of the own cluster, from which the mesh is configured.
    pub fn own(name: &str) -> Self {
        Self(shared(name))
    }

    /// Returns a namespace of another cluster, named by its id.
    pub fn of(cluster: &str, name: &str) -> Self {
        Self(shared(&format!("{cluster}/{name}")))
    }

    /// Tells whether this is the namespace of that name in the own cluster.
    pub fn is_own(&self, name: &str) -> bool {
        self.0 == name
    }

    /// Returns the id of the cluster; `None` for the own one.
    pub fn cluster(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(cluster, _)| cluster)
    }

    /// Returns the namespace of this name in the same cluster.
    pub fn beside(&self, name: &str) -> Self {
        self.cluster().map_or_else(|| Self::own(name), |cluster| Self::of(cluster, name))
    }

    /// Returns the name of the object of kind Namespace that stands for it.
    pub fn object(&self) -> Name {
        Name { ns: self.whole_cluster(), name: shared(self) }
    }

    /// Returns the cluster itself as the place of its cluster-scoped objects.
    pub fn whole_cluster(&self) -> Self {
        self.beside("")
    }
}

impl From<&str> for Ns {
    fn from(name: &str) -> Self {
        Self::own(name)
    }
}

impl Deref for Ns {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl fmt::Debug for Ns {
    /// Writes the cluster too, where it is another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_str())
    }
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The name of an object within its kind, in its cluster. `ns` is empty for cluster-scoped kinds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name {
    /// The cluster and `metadata.namespace`, empty when the kind is cluster-scoped.
    pub ns: Ns,
    /// `metadata.name`.
    pub name: Str,
}

impl Name {
    /// Builds the name of an object of the own cluster from its parts.
    pub fn new(ns: &str, name: &str) -> Self {
        Self { ns: Ns::own(ns), name: Str::from(name) }
    }

    /// Builds the name of a cluster-scoped object of the cluster that `of` is in.
    pub fn in_cluster(of: &Ns, name: &Str) -> Self {
        Self { ns: of.whole_cluster(), name: name.clone() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ns.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.ns, self.name) }
    }
}

/// As people write it, which is what debug pages show.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
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
