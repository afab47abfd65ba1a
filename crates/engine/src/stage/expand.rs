use crate::core::{Core, Dep, Stage, downcast};
use crate::slab::Slab;
use crate::table::TableData;
use crate::{Cx, Key, Row, Table, Trace};
use std::cell::RefCell;
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
    owners: RefCell<Slab<K, Owner<L, W>>>,
    /// Who claims a row, by the row's slot; most rows have one claim.
    claims: RefCell<Vec<Vec<u32>>>,
}

struct Owner<L, W> {
    rows: Vec<(L, Arc<W>)>,
    reads: Box<[Dep]>,
}

impl<L, W> Default for Owner<L, W> {
    fn default() -> Self {
        Self { rows: Vec::new(), reads: Box::default() }
    }
}

impl<K: Key, V: Row, L: Key, W: Row> ExpandStage<K, V, L, W> {
    pub fn new(data: TableData<L, W>, source: Table<K, V>, compute: RowsFn<K, V, L, W>) -> Self {
        Self { data, source, compute, owners: RefCell::default(), claims: RefCell::default() }
    }

    /// Recomputes one owner and returns the slots of the rows that it touched.
    fn run_owner(&self, core: &Core, source: &TableData<K, V>, owner: u32, touched: &mut Vec<u32>) {
        let Some(key) = self.owners.borrow().get(owner).map(|(k, _)| k.clone()) else { return };
        let cx = Cx::new(core);
        let row = source.get(&key);
        let gone = row.is_none();
        let mut rows: Vec<(L, Arc<W>)> = Vec::new();
        if let Some(row) = row {
            self.data.recomputed.set(self.data.recomputed.get() + 1);
            rows = (self.compute)(&cx, &key, &row).into_iter().map(|(l, w)| (l, Arc::new(w))).collect();
            // Of rows under one key the first holds.
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            rows.dedup_by(|later, first| later.0 == first.0);
        }
        let mut owners = self.owners.borrow_mut();
        let Some((_, entry)) = owners.get_mut(owner) else { return };
        core.replace_deps(Dep::new(self.data.node, owner), &mut entry.reads, cx.into_reads());
        let old = std::mem::replace(&mut entry.rows, rows);
        let mut claims = self.claims.borrow_mut();
        for (l, _) in &old {
            if entry.rows.binary_search_by(|(k, _)| k.cmp(l)).is_err() {
                let slot = self.data.intern(l);
                if let Some(list) = claims.get_mut(slot as usize) {
                    list.retain(|o| *o != owner);
                }
                touched.push(slot);
            }
        }
        for (l, _) in &entry.rows {
            let slot = self.data.intern(l);
            if claims.len() <= slot as usize {
                claims.resize_with(slot as usize + 1, Vec::new);
            }
            let list = &mut claims[slot as usize];
            if !list.contains(&owner) {
                list.push(owner);
            }
            touched.push(slot);
        }
        if gone {
            owners.remove(owner);
        }
    }

    fn winner(&self, slot: u32) -> Option<u32> {
        let claims = self.claims.borrow();
        let owners = self.owners.borrow();
        claims.get(slot as usize)?.iter().copied().min_by(|a, b| {
            let key = |o: &u32| owners.get(*o).map(|(k, _)| k);
            key(a).cmp(&key(b))
        })
    }
}

impl<K: Key, V: Row, L: Key, W: Row> Stage for ExpandStage<K, V, L, W> {
    fn run(&self, core: &Core) {
        let mut dirty = core.take_dirty(self.data.stage);
        let Some(source) = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table())
        else {
            return;
        };
        for slot in dirty.sources {
            if let Some(key) = source.key(slot) {
                dirty.rows.push(self.owners.borrow_mut().intern(&key));
            }
        }
        dirty.rows.sort_unstable();
        dirty.rows.dedup();
        let mut touched = Vec::new();
        for owner in dirty.rows {
            self.run_owner(core, source, owner, &mut touched);
        }
        touched.sort_unstable();
        touched.dedup();
        for slot in touched {
            let value = self.winner(slot).and_then(|owner| {
                let key = self.data.key(slot)?;
                let owners = self.owners.borrow();
                let rows = &owners.get(owner)?.1.rows;
                let at = rows.binary_search_by(|(k, _)| k.cmp(&key)).ok()?;
                Some(rows[at].1.clone())
            });
            self.data.set(core, slot, value);
        }
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |_| false);
    }

    delegate_to_table!(data);

    fn trace(&self, core: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |slot| {
            let Some(winner) = self.winner(slot) else { return Vec::new() };
            let owners = self.owners.borrow();
            let Some((key, owner)) = owners.get(winner) else { return Vec::new() };
            let source = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table());
            let own = source.and_then(|s| s.rows.borrow().find(key).map(|at| s.dep(at)));
            own.into_iter().chain(owner.reads.iter().copied()).collect()
        })
    }
}
