//! What all stages share: who reads whom, and what must be recomputed.

use crate::{StageStats, Trace};
use std::any::Any;
use std::cell::RefCell;

/// One slot of one node. As a dependency: what was read. As a reader: the row that read it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Dep {
    pub node: u16,
    pub slot: u32,
}

/// A node is a stage's table or one of that table's indexes.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub stage: u16,
    pub index: Option<u16>,
}

/// What a stage must look at again in this commit.
#[derive(Default)]
pub(crate) struct Dirty {
    /// Slots of the stage's source that changed (rows for `derive` and `expand`, postings for `group`).
    pub sources: Vec<u32>,
    /// Slots of the stage's own that read something which changed.
    pub rows: Vec<u32>,
}

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

#[derive(Default)]
pub(crate) struct Core {
    pub stages: Vec<Box<dyn Stage>>,
    pub nodes: Vec<Node>,
    pub dirty: Vec<RefCell<Dirty>>,
}

impl Core {
    pub fn mark_reader(&self, reader: Dep) {
        let stage = self.nodes[reader.node as usize].stage;
        self.dirty[stage as usize].borrow_mut().rows.push(reader.slot);
    }

    pub fn mark_source(&self, stage: u16, slot: u32) {
        self.dirty[stage as usize].borrow_mut().sources.push(slot);
    }

    /// Takes what `stage` must look at, each slot once.
    pub fn take_dirty(&self, stage: u16) -> Dirty {
        let mut dirty = std::mem::take(&mut *self.dirty[stage as usize].borrow_mut());
        for list in [&mut dirty.sources, &mut dirty.rows] {
            list.sort_unstable();
            list.dedup();
        }
        dirty
    }

    /// Replaces the recorded reads of `reader` by `new`, telling only those that differ.
    pub fn replace_deps(&self, reader: Dep, old: &mut Box<[Dep]>, mut new: Vec<Dep>) {
        new.sort_unstable();
        new.dedup();
        if **old == *new {
            return;
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            match (old.get(i), new.get(j)) {
                (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
                (Some(a), b) if b.is_none_or(|b| a < b) => {
                    self.edit_reader(*a, reader, false);
                    i += 1;
                }
                (_, Some(b)) => {
                    self.edit_reader(*b, reader, true);
                    j += 1;
                }
                // The guard above takes every case with an `a` and no `b`.
                (_, None) => break,
            }
        }
        *old = new.into_boxed_slice();
    }

    fn edit_reader(&self, dep: Dep, reader: Dep, add: bool) {
        let node = self.nodes[dep.node as usize];
        self.stages[node.stage as usize].edit_reader(node.index, dep.slot, reader, add);
    }

    /// Describes a slot and, down to `depth`, what it was made from.
    pub fn trace(&self, dep: Dep, depth: usize) -> Trace {
        let node = self.nodes[dep.node as usize];
        let stage = &self.stages[node.stage as usize];
        let (mut trace, reads) = stage.trace(self, node.index, dep.slot);
        if depth > 0 {
            trace.reads = reads.into_iter().map(|d| self.trace(d, depth - 1)).collect();
            // Slots tell only who came first; names tell the same on every replica.
            trace.reads.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        } else {
            trace.truncated = !reads.is_empty();
        }
        trace
    }
}
