//! What all stages share: who reads whom, and what must be recomputed.

use crate::set::StageSet;
use crate::{StageStats, Trace};
use std::any::Any;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

/// One slot of one node. As a dependency: what was read. As a reader: the row that read it.
///
/// There are several for every row, each in two places: so they are kept in six bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dep {
    node: u16,
    slot: [u16; 2],
}

impl Dep {
    pub fn new(node: u16, slot: u32) -> Self {
        Self { node, slot: [(slot >> 16) as u16, slot as u16] }
    }

    pub fn slot(self) -> u32 {
        u32::from(self.slot[0]) << 16 | u32::from(self.slot[1])
    }

    fn bits(self) -> u64 {
        u64::from(self.node) << 32 | u64::from(self.slot())
    }
}

impl PartialEq for Dep {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Dep {}

impl PartialOrd for Dep {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dep {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits().cmp(&other.bits())
    }
}

impl Hash for Dep {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bits());
    }
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
    /// Drops the changes of the last commit that nobody took.
    fn forget_changes(&self);
    /// The table (or memo) behind the operator, for typed access.
    fn table(&self) -> &dyn Any;
    fn table_mut(&mut self) -> &mut dyn Any;
    fn edit_reader(&self, core: &Core, index: Option<u16>, slot: u32, reader: Dep, add: bool);
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
    /// The stages that have something to recompute.
    pub waiting: StageSet,
    /// The stages that have something to put in order when the commit ends.
    pub touched: StageSet,
    /// The sinks that the last commit changed.
    pub changed: StageSet,
    /// Room for the reads of the next row.
    pub spare: RefCell<Vec<Dep>>,
}

impl Core {
    pub fn add(&mut self, stage: Box<dyn Stage>) {
        let number = self.stages.len() as u16;
        self.stages.push(stage);
        self.dirty.push(RefCell::default());
        for set in [&mut self.waiting, &mut self.touched, &mut self.changed] {
            set.grow(number);
        }
    }

    /// Brings every table up to date, in order of declaration. A stage of which nothing changed is not
    /// looked at: a commit costs what it changes, and not the number of tables.
    pub fn commit(&self) {
        let mut next = 0;
        while let Some(stage) = self.changed.take_first(next) {
            self.stages[stage as usize].forget_changes();
            next = stage + 1;
        }
        next = 0;
        while let Some(stage) = self.waiting.take_first(next) {
            self.touched.insert(stage);
            self.stages[stage as usize].run(self);
            next = stage + 1;
        }
        let mut end = self.stages.len() as u16;
        while let Some(stage) = self.touched.take_last(end) {
            self.stages[stage as usize].finish(self);
            end = stage;
        }
    }

    pub fn mark_reader(&self, reader: Dep) {
        let stage = self.nodes[reader.node as usize].stage;
        self.dirty[stage as usize].borrow_mut().rows.push(reader.slot());
        self.waiting.insert(stage);
    }

    pub fn mark_source(&self, stage: u16, slot: u32) {
        self.dirty[stage as usize].borrow_mut().sources.push(slot);
        self.waiting.insert(stage);
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
        if **old != *new {
            self.tell_readers(reader, old, &new);
            *old = new.as_slice().into();
        }
        new.clear();
        self.spare.replace(new);
    }

    fn tell_readers(&self, reader: Dep, old: &[Dep], new: &[Dep]) {
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
    }

    fn edit_reader(&self, dep: Dep, reader: Dep, add: bool) {
        let node = self.nodes[dep.node as usize];
        self.touched.insert(node.stage);
        self.stages[node.stage as usize].edit_reader(self, node.index, dep.slot(), reader, add);
    }

    /// Describes what was put from outside, or came of nothing, of what a slot was made from, nearest first. No more
    /// than so many slots are looked at, each once.
    pub fn origins(&self, dep: Dep, limit: usize) -> Vec<Trace> {
        let (mut seen, mut waiting, mut found) = (BTreeSet::from([dep]), VecDeque::from([dep]), Vec::new());
        while let Some(dep) = waiting.pop_front() {
            let node = self.nodes[dep.node as usize];
            let (trace, reads) = self.stages[node.stage as usize].trace(self, node.index, dep.slot());
            if reads.is_empty() && trace.present {
                found.push(trace);
            }
            for read in reads {
                if seen.len() < limit && seen.insert(read) {
                    waiting.push_back(read);
                }
            }
        }
        found
    }

    /// Describes a slot and, down to `depth`, what it was made from.
    pub fn trace(&self, dep: Dep, depth: usize) -> Trace {
        let node = self.nodes[dep.node as usize];
        let stage = &self.stages[node.stage as usize];
        let (mut trace, reads) = stage.trace(self, node.index, dep.slot());
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
