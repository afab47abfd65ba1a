//! The operators, one file each.

/// Writes the part of [`Stage`] that every operator with rows in a [`TableData`] has alike.
macro_rules! delegate_to_table {
    ($data:tt) => {
        fn table(&self) -> &dyn std::any::Any {
            &self.$data
        }

        fn table_mut(&mut self) -> &mut dyn std::any::Any {
            &mut self.$data
        }

        fn edit_reader(&self, index: Option<u16>, slot: u32, reader: crate::core::Dep, add: bool) {
            self.$data.edit_node_reader(index, slot, reader, add);
        }

        fn stats(&self) -> crate::StageStats {
            self.$data.table_stats()
        }
    };
}

mod derive;
mod expand;
mod group;
mod in_use;
mod input;
mod memo;

pub(crate) use derive::{DeriveStage, SingleStage};
pub(crate) use expand::ExpandStage;
pub(crate) use group::GroupStage;
pub(crate) use in_use::InUseStage;
pub(crate) use input::InputStage;
pub use memo::Memo;
pub(crate) use memo::MemoStage;

use crate::core::{Core, Dep};
use crate::slab::trim;
use crate::table::TableData;
use crate::{Key, Row, StageStats, Trace};
use std::any::Any;

/// One declared operator with its rows.
pub(crate) trait Stage: Send {
    /// Recomputes what is dirty.
    fn run(&self, core: &Core);
    /// Ends a commit; called in reverse order, so that what nobody reads any more goes at once.
    fn finish(&self, core: &Core);
    /// The table (or memo) behind the operator, for typed access.
    fn table(&self) -> &dyn Any;
    fn table_mut(&mut self) -> &mut dyn Any;
    fn edit_reader(&self, index: Option<u16>, slot: u32, reader: Dep, add: bool);
    fn trace(&self, core: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>);
    fn stats(&self) -> StageStats;
}

/// Returns the value behind `any` if it is a `T`. Handles are typed, so it always is unless a handle
/// of another graph is used; then there is nothing to read.
pub(crate) fn downcast<T: 'static>(any: &dyn Any) -> Option<&T> {
    any.downcast_ref()
}

impl<K: Key, V: Row> TableData<K, V> {
    pub(crate) fn edit_node_reader(&self, index: Option<u16>, slot: u32, reader: Dep, add: bool) {
        match index {
            None => self.edit_reader(slot, reader, add),
            Some(i) => self.indexes[i as usize].edit_reader(slot, reader, add),
        }
    }

    /// Describes a row or posting; `deps_of` gives what a row was made from.
    pub(crate) fn trace_node(
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

    pub(crate) fn table_stats(&self) -> StageStats {
        StageStats {
            name: self.name,
            rows: self.live.get(),
            recomputed: self.recomputed.get(),
            changed: self.changed.get(),
        }
    }
}

/// What each row of a derived table read, by slot.
#[derive(Default)]
pub(crate) struct Reads {
    by_slot: Vec<Box<[Dep]>>,
    /// Slots added since the last trim.
    grown: usize,
}

impl Reads {
    pub(crate) fn take(&mut self, slot: u32) -> Box<[Dep]> {
        self.by_slot.get_mut(slot as usize).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, slot: u32, deps: Box<[Dep]>) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            if deps.is_empty() {
                return;
            }
            self.grown += at + 1 - self.by_slot.len();
            self.by_slot.resize_with(at + 1, Box::default);
        }
        self.by_slot[at] = deps;
    }

    /// As [`Slab::trim`](crate::slab::Slab::trim).
    pub(crate) fn trim(&mut self) {
        trim(&mut self.by_slot, std::mem::take(&mut self.grown));
    }

    pub(crate) fn any(&self, slot: u32) -> bool {
        self.by_slot.get(slot as usize).is_some_and(|d| !d.is_empty())
    }

    pub(crate) fn of(&self, slot: u32) -> Vec<Dep> {
        self.by_slot.get(slot as usize).map(|d| d.to_vec()).unwrap_or_default()
    }
}
