//! A table: rows by key, who reads them, and the indexes over them.

use crate::core::{Core, Dep};
use crate::index::Postings;
use crate::set::SmallSet;
use crate::slab::Slab;
use crate::{Key, Row, StageStats, Trace};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A handle to a declared table. It is a number: copy it freely.
pub struct Table<K, V> {
    pub(crate) stage: u16,
    pub(crate) types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Table<K, V> {}
impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.stage)
    }
}

/// One changed row of a sink.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// The key of the row.
    pub key: K,
    /// The row before the commit.
    pub old: Option<Arc<V>>,
    /// The row after the commit.
    pub new: Option<Arc<V>>,
}

/// What a table keeps under a key.
pub(crate) struct Entry<V> {
    pub value: Option<Arc<V>>,
    pub readers: SmallSet<Dep>,
}

impl<V> Default for Entry<V> {
    fn default() -> Self {
        Self { value: None, readers: SmallSet::Empty }
    }
}

/// Makes rows, of those that say no more than that they are there only one.
pub(crate) struct Maker<V>(RefCell<Option<Arc<V>>>);

impl<V> Default for Maker<V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<V> Maker<V> {
    pub fn make(&self, value: V) -> Arc<V> {
        if size_of::<V>() > 0 {
            return Arc::new(value);
        }
        Arc::clone(self.0.borrow_mut().get_or_insert_with(|| Arc::new(value)))
    }
}

/// A stage that has a row for each row of a table, or for each that it wants.
pub(crate) struct Child<K, V> {
    pub stage: u16,
    pub wants: Option<Wants<K, V>>,
}

/// Tells whether a row is wanted.
pub(crate) type Wants<K, V> = Box<dyn Fn(&K, &V) -> bool + Send>;

impl<K, V> Child<K, V> {
    /// Tells whether a change of a row concerns it.
    fn is_concerned(&self, key: &K, old: Option<&V>, new: Option<&V>) -> bool {
        let Some(wants) = &self.wants else { return true };
        [new, old].into_iter().flatten().any(|row| wants(key, row))
    }
}

pub(crate) struct TableData<K, V> {
    pub name: &'static str,
    pub stage: u16,
    pub node: u16,
    pub rows: RefCell<Slab<K, Entry<V>>>,
    pub maker: Maker<V>,
    pub indexes: Vec<Box<dyn Postings<K, V>>>,
    /// Stages that have a row for rows of this one.
    pub children: Vec<Child<K, V>>,
    pub is_sink: bool,
    /// Whether nobody wants its changes sorted.
    pub is_unsorted: bool,
    /// Changed slots of the commit at work, with their former values; only kept for sinks.
    pub touched: RefCell<Vec<(u32, Option<Arc<V>>)>>,
    /// Changes of the last commit, by key.
    pub changes: RefCell<Vec<Change<K, V>>>,
    /// Slots that may have become useless.
    pub idle: RefCell<Vec<u32>>,
    pub live: Cell<usize>,
    pub recomputed: Cell<u64>,
    pub changed: Cell<u64>,
}

impl<K: Key, V: Row> TableData<K, V> {
    pub fn new(name: &'static str, stage: u16, node: u16) -> Self {
        Self {
            name,
            stage,
            node,
            rows: RefCell::default(),
            maker: Maker::default(),
            indexes: Vec::new(),
            children: Vec::new(),
            is_sink: false,
            is_unsorted: false,
            touched: RefCell::default(),
            changes: RefCell::default(),
            idle: RefCell::default(),
            live: Cell::new(0),
            recomputed: Cell::new(0),
            changed: Cell::new(0),
        }
    }

    pub fn intern(&self, key: &K) -> u32 {
        self.rows.borrow_mut().intern(key)
    }

    pub fn key(&self, slot: u32) -> Option<K> {
        self.rows.borrow().get(slot).map(|(k, _)| k.clone())
    }

    pub fn row(&self, slot: u32) -> Option<(K, Arc<V>)> {
        let rows = self.rows.borrow();
        let (key, entry) = rows.get(slot)?;
        Some((key.clone(), entry.value.clone()?))
    }

    /// Returns the key of a slot, and its row if there is one.
    pub fn slot(&self, slot: u32) -> Option<(K, Option<Arc<V>>)> {
        let rows = self.rows.borrow();
        let (key, entry) = rows.get(slot)?;
        Some((key.clone(), entry.value.clone()))
    }

    pub fn find(&self, key: &K) -> Option<u32> {
        self.rows.borrow().find(key)
    }

    pub fn value(&self, slot: u32) -> Option<Arc<V>> {
        self.rows.borrow().get(slot)?.1.value.clone()
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let rows = self.rows.borrow();
        rows.get(rows.find(key)?)?.1.value.clone()
    }

    /// Sets the value of a slot. If it differs from the former one, everything that depends on it
    /// is marked; if not, nothing happens.
    pub fn set(&self, core: &Core, slot: u32, new: Option<Arc<V>>) {
        let mut rows = self.rows.borrow_mut();
        let Some((key, entry)) = rows.get_mut(slot) else { return };
        if new.is_none() && entry.readers.is_empty() {
            self.idle.borrow_mut().push(slot);
            core.touched.insert(self.stage);
        }
        let equal = match (&entry.value, &new) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            _ => false,
        };
        if equal {
            return;
        }
        self.changed.set(self.changed.get() + 1);
        self.live.set(self.live.get() + usize::from(new.is_some()) - usize::from(entry.value.is_some()));
        core.touched.insert(self.stage);
        let old = std::mem::replace(&mut entry.value, new);
        entry.readers.for_each(|reader| core.mark_reader(reader));
        for index in &self.indexes {
            index.update(core, slot, key, old.as_deref(), entry.value.as_deref());
        }
        for child in &self.children {
            if child.is_concerned(key, old.as_deref(), entry.value.as_deref()) {
                core.mark_source(child.stage, slot);
            }
        }
        if self.is_sink {
            self.touched.borrow_mut().push((slot, old));
        }
    }

    pub fn edit_reader(&self, slot: u32, reader: Dep, add: bool) {
        let mut rows = self.rows.borrow_mut();
        let Some((_, entry)) = rows.get_mut(slot) else { return };
        if add {
            entry.readers.insert(reader);
        } else {
            entry.readers.remove(&reader);
            if entry.readers.is_empty() && entry.value.is_none() {
                self.idle.borrow_mut().push(slot);
            }
        }
    }

    /// Ends a commit: makes the changes ready to be taken and frees slots that have neither value
    /// nor reader. A slot that itself still reads something is kept by `reads`: a change of what it
    /// read may give it a value.
    pub fn finish(&self, core: &Core, reads: impl Fn(u32) -> bool) {
        if self.is_sink {
            self.collect_changes(core);
        }
        for index in &self.indexes {
            index.sweep();
        }
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        let mut rows = self.rows.borrow_mut();
        for slot in idle {
            let useless =
                rows.get(slot).is_some_and(|(_, entry)| entry.value.is_none() && entry.readers.is_empty())
                    && !reads(slot);
            if useless {
                rows.remove(slot);
            }
        }
        rows.trim();
    }

    pub fn forget_changes(&self) {
        self.changes.take();
    }

    fn collect_changes(&self, core: &Core) {
        let mut touched = self.touched.take();
        let sets = touched.len();
        // An input may be put twice in one commit: the first former value counts.
        touched.sort_by_key(|(slot, _)| *slot);
        touched.dedup_by_key(|(slot, _)| *slot);
        // A row that was set once is another one than before.
        let may_be_equal = touched.len() < sets;
        let rows = self.rows.borrow();
        let mut changes: Vec<Change<K, V>> = touched
            .into_iter()
            .filter_map(|(slot, old)| {
                let (key, entry) = rows.get(slot)?;
                Some(Change { key: key.clone(), old, new: entry.value.clone() })
            })
            .filter(|c| !may_be_equal || c.old != c.new)
            .collect();
        if !self.is_unsorted {
            changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        if !changes.is_empty() {
            core.changed.insert(self.stage);
            *self.changes.borrow_mut() = changes;
        }
    }

    pub fn dep(&self, slot: u32) -> Dep {
        Dep::new(self.node, slot)
    }

    pub fn edit_node_reader(&self, index: Option<u16>, slot: u32, reader: Dep, add: bool) {
        match index {
            None => self.edit_reader(slot, reader, add),
            Some(i) => self.indexes[i as usize].edit_reader(slot, reader, add),
        }
    }

    /// Describes a row or posting; `deps_of` gives what a row was made from.
    pub fn trace_node(
        &self,
        index: Option<u16>,
        slot: u32,
        deps_of: impl FnOnce(u32) -> Vec<Dep>,
    ) -> (Trace, Vec<Dep>) {
        let node = |table, key, present| Trace { table, key, present, reads: Vec::new(), truncated: false };
        match index {
            Some(i) => {
                let (name, key, mut rows) = self.indexes[i as usize].describe(slot);
                rows.sort_by_cached_key(|r| self.key(*r));
                (node(name, key, !rows.is_empty()), rows.into_iter().map(|r| self.dep(r)).collect())
            }
            None => {
                let (key, present) = match self.rows.borrow().get(slot) {
                    Some((key, entry)) => (format!("{key:?}"), entry.value.is_some()),
                    None => (String::new(), false),
                };
                (node(self.name, key, present), deps_of(slot))
            }
        }
    }

    pub fn table_stats(&self) -> StageStats {
        StageStats {
            name: self.name,
            rows: self.live.get(),
            recomputed: self.recomputed.get(),
            changed: self.changed.get(),
        }
    }
}
