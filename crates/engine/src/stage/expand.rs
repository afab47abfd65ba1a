use super::by_slot::BySlot;
use crate::core::{Core, Dep, Stage, downcast};
use crate::set::SmallSet;
use crate::table::TableData;
use crate::{Cx, Key, Row, Table, Trace};
use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;

type RowsFn<K, V, L, W> = Box<dyn Fn(&Cx<'_>, &K, &V) -> Vec<(L, W)> + Send>;

/// Any number of rows for each row of a source table, under keys of their own.
///
/// If two source rows claim one key, the one with the smaller source key has it, whichever came
/// first; when that one lets go, the other follows.
pub(crate) struct ExpandStage<K, V, L, W> {
    pub data: TableData<L, W>,
    source: Table<K, V>,
    compute: RowsFn<K, V, L, W>,
    /// What source rows have, by their slots.
    owners: RefCell<BySlot<Owner>>,
    /// Who has a row, by the row's slot.
    holders: RefCell<BySlot<Option<Holder>>>,
    /// Further claims of a row with what would be in it, by the row's slot. There are hardly any.
    claims: RefCell<HashMap<u32, Vec<Claim<W>>>>,
}

/// An owner, and what it has for a row.
type Claim<W> = (u32, Arc<W>);

#[derive(Default)]
struct Owner {
    /// The slots of the rows that it claims.
    rows: SmallSet<u32>,
    reads: Box<[Dep]>,
}

/// The slot of a source row, in four bytes even if there is none.
#[derive(Clone, Copy)]
struct Holder(NonZero<u32>);

impl Holder {
    fn new(owner: u32) -> Self {
        Self(NonZero::<u32>::MIN.saturating_add(owner))
    }

    fn owner(self) -> u32 {
        self.0.get() - 1
    }
}

/// What an owner makes of a row: a claim with what is in it, or none any more.
struct Edit<W> {
    slot: u32,
    owner: u32,
    value: Option<Arc<W>>,
}

impl<K: Key, V: Row, L: Key, W: Row> ExpandStage<K, V, L, W> {
    pub fn new(data: TableData<L, W>, source: Table<K, V>, compute: RowsFn<K, V, L, W>) -> Self {
        Self {
            data,
            source,
            compute,
            owners: RefCell::default(),
            holders: RefCell::default(),
            claims: RefCell::default(),
        }
    }

    /// Returns who has a row.
    fn holder(&self, slot: u32) -> Option<u32> {
        self.holders.borrow().get(slot).copied().flatten().map(Holder::owner)
    }

    /// Recomputes one owner and appends what it makes of rows.
    fn run_owner(&self, core: &Core, source: &TableData<K, V>, owner: u32, edits: &mut Vec<Edit<W>>) {
        let cx = Cx::new(core);
        let rows = source.row(owner).map(|(key, row)| {
            self.data.recomputed.set(self.data.recomputed.get() + 1);
            (self.compute)(&cx, &key, &row)
        });
        let mut owners = self.owners.borrow_mut();
        let mut entry = owners.take(owner);
        core.replace_deps(Dep::new(self.data.node, owner), &mut entry.reads, cx.into_reads());
        let before = std::mem::take(&mut entry.rows);
        for (key, value) in rows.into_iter().flatten() {
            let slot = self.data.intern(&key);
            // Of rows under one key the first holds.
            if !entry.rows.contains(slot) {
                entry.rows.insert(slot);
                edits.push(Edit { slot, owner, value: Some(self.data.maker.make(value)) });
            }
        }
        before.for_each(|slot| {
            if !entry.rows.contains(slot) {
                edits.push(Edit { slot, owner, value: None });
            }
        });
        let is_nothing = entry.rows.is_empty() && entry.reads.is_empty();
        owners.put(owner, entry, is_nothing);
    }

    /// Gives a row to the first of those that claim it after some edits of it.
    fn settle(&self, core: &Core, source: &TableData<K, V>, slot: u32, edits: &mut [Edit<W>]) {
        let mut claims = self.claims.borrow_mut().remove(&slot).unwrap_or_default();
        claims.extend(self.holder(slot).and_then(|owner| Some((owner, self.data.value(slot)?))));
        for edit in edits {
            claims.retain(|(owner, _)| *owner != edit.owner);
            claims.extend(edit.value.take().map(|value| (edit.owner, value)));
        }
        let first = match claims.len() {
            0 | 1 => claims.pop(),
            _ => {
                let least = (0..claims.len()).min_by_key(|at| source.key(claims[*at].0));
                least.map(|at| claims.swap_remove(at))
            }
        };
        if !claims.is_empty() {
            self.claims.borrow_mut().insert(slot, claims);
        }
        *self.holders.borrow_mut().at(slot) = first.as_ref().map(|(owner, _)| Holder::new(*owner));
        self.data.set(core, slot, first.map(|(_, value)| value));
    }
}

impl<K: Key, V: Row, L: Key, W: Row> Stage for ExpandStage<K, V, L, W> {
    fn run(&self, core: &Core) {
        let mut dirty = core.take_dirty(self.data.stage);
        let Some(source) = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table())
        else {
            return;
        };
        // An owner has the number of its source row, which is not given to another before its rows are gone.
        dirty.rows.append(&mut dirty.sources);
        dirty.rows.sort_unstable();
        dirty.rows.dedup();
        let mut edits = Vec::new();
        for owner in dirty.rows {
            self.run_owner(core, source, owner, &mut edits);
        }
        // A row is set once, however many let go of it and take it.
        edits.sort_by_key(|edit| edit.slot);
        for of_row in edits.chunk_by_mut(|a, b| a.slot == b.slot) {
            self.settle(core, source, of_row[0].slot, of_row);
        }
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |_| false);
        self.owners.borrow_mut().trim();
        self.holders.borrow_mut().trim();
    }

    delegate_to_table!(data);

    fn trace(&self, core: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |slot| {
            let Some(holder) = self.holder(slot) else { return Vec::new() };
            let source = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table());
            let own = source.map(|source| source.dep(holder));
            let owners = self.owners.borrow();
            let reads = owners.get(holder).map(|owner| owner.reads.to_vec()).unwrap_or_default();
            own.into_iter().chain(reads).collect()
        })
    }
}
