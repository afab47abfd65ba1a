//! What a row's function may do: read, and be seen reading.

use crate::core::{Core, Dep, downcast};
use crate::index::IndexRows;
use crate::set::SmallSet;
use crate::table::TableData;
use crate::{Index, Key, Row, Table};
use std::cell::RefCell;
use std::sync::Arc;

/// The reads of one row while it is computed.
pub struct Cx<'a> {
    pub(crate) core: &'a Core,
    reads: RefCell<Vec<Dep>>,
    /// The name of the memo that is computed, if it is one.
    pub(crate) memo: Option<&'static str>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core, reads: RefCell::new(core.spare.take()), memo: None }
    }

    pub(crate) fn of_memo(core: &'a Core, name: &'static str) -> Self {
        Self { memo: Some(name), ..Self::new(core) }
    }

    pub(crate) fn into_reads(self) -> Vec<Dep> {
        self.reads.into_inner()
    }

    pub(crate) fn note(&self, dep: Dep) {
        self.reads.borrow_mut().push(dep);
    }

    /// Returns the row under `key`. That there is none is remembered as well.
    pub fn get<K: Key, V: Row>(&self, table: Table<K, V>, key: &K) -> Option<Arc<V>> {
        let data: &TableData<K, V> = downcast(self.core.stages[table.stage as usize].table())?;
        let slot = data.intern(key);
        self.note(data.dep(slot));
        data.value(slot)
    }

    /// Returns the row of a table that has only one.
    pub fn single<V: Row>(&self, table: Table<(), V>) -> Option<Arc<V>> {
        self.get(table, &())
    }

    /// Returns the rows under an index key, ascending by their own keys.
    pub fn lookup<IK: Key, K: Key, V: Row>(&self, index: Index<IK, K, V>, key: &IK) -> Vec<(K, Arc<V>)> {
        let Some((data, rows)) = self.index(index) else { return Vec::new() };
        let (slot, members) = rows.read(key, |members| members.to_vec());
        self.note(Dep::new(rows.node, slot));
        let mut found: Vec<(K, Arc<V>)> = members.into_iter().filter_map(|s| data.row(s)).collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Tells whether there are rows under an index key; costs the same however many there are.
    pub fn any<IK: Key, K: Key, V: Row>(&self, index: Index<IK, K, V>, key: &IK) -> bool {
        let Some((_, rows)) = self.index(index) else { return false };
        let (slot, any) = rows.read(key, |members| !members.is_empty());
        self.note(Dep::new(rows.node, slot));
        any
    }

    /// Returns how many rows there are under an index key; costs the same however many there are.
    pub fn count<IK: Key, K: Key, V: Row>(&self, index: Index<IK, K, V>, key: &IK) -> usize {
        let Some((_, rows)) = self.index(index) else { return 0 };
        let (slot, count) = rows.read(key, SmallSet::len);
        self.note(Dep::new(rows.node, slot));
        count
    }

    fn index<IK: Key, K: Key, V: Row>(
        &self,
        index: Index<IK, K, V>,
    ) -> Option<(&'a TableData<K, V>, &'a IndexRows<IK>)> {
        let core: &'a Core = self.core;
        let data: &TableData<K, V> = downcast(core.stages[index.stage as usize].table())?;
        Some((data, downcast(data.indexes[index.position as usize].as_any())?))
    }
}
