//! Indexes: the rows of a table under keys computed from them.

use crate::core::{Core, Dep};
use crate::set::SmallSet;
use crate::slab::Slab;
use crate::{Key, Row};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

/// A handle to a declared index over a table of `K` and `V`.
#[allow(clippy::type_complexity)] // the marker only names the three types
pub struct Index<IK, K, V> {
    pub(crate) stage: u16,
    pub(crate) position: u16,
    pub(crate) types: PhantomData<fn() -> (IK, K, V)>,
}

impl<IK, K, V> Clone for Index<IK, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<IK, K, V> Copy for Index<IK, K, V> {}
impl<IK, K, V> fmt::Debug for Index<IK, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({}.{})", self.stage, self.position)
    }
}

/// An index as its table sees it: the type of its keys is its own business.
pub(crate) trait Postings<K, V>: Send {
    fn update(&self, core: &Core, slot: u32, key: &K, old: Option<&V>, new: Option<&V>);
    fn edit_reader(&self, slot: u32, reader: Dep, add: bool);
    fn sweep(&self);
    fn describe(&self, slot: u32) -> (&'static str, String, Vec<u32>);
    fn add_group(&mut self, stage: u16);
    fn as_any(&self) -> &dyn Any;
}

#[derive(Default)]
pub(crate) struct Posting {
    pub rows: SmallSet<u32>,
    pub readers: SmallSet<Dep>,
}

pub(crate) struct IndexData<IK, K, V, F> {
    pub shared: IndexRows<IK>,
    keys_of: F,
    types: PhantomData<fn() -> (K, V)>,
}

/// The part of an index that does not depend on the function behind it.
pub(crate) struct IndexRows<IK> {
    pub name: &'static str,
    pub node: u16,
    pub postings: RefCell<Slab<IK, Posting>>,
    groups: Vec<u16>,
    idle: RefCell<Vec<u32>>,
}

impl<IK: Key, K, V, F> IndexData<IK, K, V, F> {
    pub fn new(name: &'static str, node: u16, keys_of: F) -> Self {
        let shared = IndexRows {
            name,
            node,
            postings: RefCell::default(),
            groups: Vec::new(),
            idle: RefCell::default(),
        };
        Self { shared, keys_of, types: PhantomData }
    }
}

impl<IK: Key> IndexRows<IK> {
    /// Returns the slot of a key, made if it is new, and what `of` says of the slots of the rows under
    /// it.
    pub fn read<T: Default>(&self, key: &IK, of: impl FnOnce(&SmallSet<u32>) -> T) -> (u32, T) {
        let mut postings = self.postings.borrow_mut();
        let slot = postings.intern(key);
        let found = postings.get(slot).map(|(_, posting)| of(&posting.rows)).unwrap_or_default();
        (slot, found)
    }

    fn touch(&self, core: &Core, key: &IK, edit: impl FnOnce(&mut SmallSet<u32>)) {
        let mut postings = self.postings.borrow_mut();
        let slot = postings.intern(key);
        let Some((_, posting)) = postings.get_mut(slot) else { return };
        edit(&mut posting.rows);
        if posting.rows.is_empty() && posting.readers.is_empty() {
            self.idle.borrow_mut().push(slot);
        }
        posting.readers.for_each(|reader| core.mark_reader(reader));
        for group in &self.groups {
            core.mark_source(*group, slot);
        }
    }
}

impl<IK, K, V, F, I> Postings<K, V> for IndexData<IK, K, V, F>
where
    IK: Key,
    K: Key,
    V: Row,
    F: Fn(&K, &V) -> I + Send + 'static,
    I: IntoIterator<Item = IK>,
{
    fn update(&self, core: &Core, slot: u32, key: &K, old: Option<&V>, new: Option<&V>) {
        let keys = |row: Option<&V>| -> Vec<IK> {
            let mut keys: Vec<IK> =
                row.map(|r| (self.keys_of)(key, r).into_iter().collect()).unwrap_or_default();
            if keys.len() > 1 {
                keys.sort_unstable();
                keys.dedup();
            }
            keys
        };
        let (before, after) = (keys(old), keys(new));
        for gone in before.iter().filter(|k| after.binary_search(k).is_err()) {
            self.shared.touch(core, gone, |rows| rows.remove(&slot));
        }
        // A key that stays is touched too: the row under it is another one now.
        for here in &after {
            self.shared.touch(core, here, |rows| rows.insert(slot));
        }
    }

    fn edit_reader(&self, slot: u32, reader: Dep, add: bool) {
        let mut postings = self.shared.postings.borrow_mut();
        let Some((_, posting)) = postings.get_mut(slot) else { return };
        if add {
            posting.readers.insert(reader);
        } else {
            posting.readers.remove(&reader);
            if posting.readers.is_empty() && posting.rows.is_empty() {
                self.shared.idle.borrow_mut().push(slot);
            }
        }
    }

    fn sweep(&self) {
        let idle = std::mem::take(&mut *self.shared.idle.borrow_mut());
        let mut postings = self.shared.postings.borrow_mut();
        for slot in idle {
            if postings.get(slot).is_some_and(|(_, p)| p.rows.is_empty() && p.readers.is_empty()) {
                postings.remove(slot);
            }
        }
        postings.trim();
    }

    fn describe(&self, slot: u32) -> (&'static str, String, Vec<u32>) {
        let postings = self.shared.postings.borrow();
        match postings.get(slot) {
            Some((key, posting)) => (self.shared.name, format!("{key:?}"), posting.rows.to_vec()),
            None => (self.shared.name, String::new(), Vec::new()),
        }
    }

    fn add_group(&mut self, stage: u16) {
        self.shared.groups.push(stage);
    }

    fn as_any(&self) -> &dyn Any {
        &self.shared
    }
}
