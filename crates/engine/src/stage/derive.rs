use super::reads::Reads;
use crate::core::{Core, Dep, Dirty, Stage, downcast};
use crate::table::TableData;
use crate::{Cx, Key, Row, Table, Trace};
use std::cell::RefCell;
use std::sync::Arc;

type RowFn<K, V, W> = Box<dyn Fn(&Cx<'_>, &K, &V) -> Option<W> + Send>;

/// One row, or none, for each row of a source table, under the same key.
pub(crate) struct DeriveStage<K, V, W> {
    pub data: TableData<K, W>,
    source: Table<K, V>,
    compute: RowFn<K, V, W>,
    reads: RefCell<Reads>,
}

impl<K: Key, V: Row, W: Row> DeriveStage<K, V, W> {
    pub fn new(data: TableData<K, W>, source: Table<K, V>, compute: RowFn<K, V, W>) -> Self {
        Self { data, source, compute, reads: RefCell::default() }
    }

    /// Computes the row of a source row, which is gone if it is `None`. What is no row and has read nothing
    /// gets no slot: a table with few rows costs those, however many its source has.
    fn run_row(&self, core: &Core, key: &K, row: Option<Arc<V>>, own: Option<u32>) {
        let cx = Cx::new(core);
        let value = row.and_then(|row| {
            self.data.recomputed.set(self.data.recomputed.get() + 1);
            (self.compute)(&cx, key, &row)
        });
        let reads = cx.into_reads();
        if own.is_none() && value.is_none() && reads.is_empty() {
            return;
        }
        let slot = own.unwrap_or_else(|| self.data.intern(key));
        let mut deps = self.reads.borrow_mut().take(slot);
        core.replace_deps(self.data.dep(slot), &mut deps, reads);
        self.reads.borrow_mut().put(slot, deps);
        self.data.set(core, slot, value.map(|value| self.data.maker.make(value)));
    }
}

impl<K: Key, V: Row, W: Row> Stage for DeriveStage<K, V, W> {
    fn run(&self, core: &Core) {
        let Dirty { sources, mut rows } = core.take_dirty(self.data.stage);
        let Some(source) = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table())
        else {
            return;
        };
        let mut done = Vec::new();
        for slot in sources {
            let Some((key, row)) = source.slot(slot) else { continue };
            let own = self.data.find(&key);
            if !rows.is_empty() {
                done.extend(own);
            }
            self.run_row(core, &key, row, own);
        }
        if !done.is_empty() {
            done.sort_unstable();
            rows.retain(|slot| done.binary_search(slot).is_err());
        }
        for slot in rows {
            let Some(key) = self.data.key(slot) else { continue };
            self.run_row(core, &key, source.get(&key), Some(slot));
        }
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |slot| self.reads.borrow().any(slot));
        self.reads.borrow_mut().trim();
    }

    delegate_to_table!(data);

    fn trace(&self, core: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |slot| {
            let source = downcast::<TableData<K, V>>(core.stages[self.source.stage as usize].table());
            let own = self.data.key(slot).and_then(|key| {
                let source = source?;
                let at = source.rows.borrow().find(&key)?;
                Some(source.dep(at))
            });
            own.into_iter().chain(self.reads.borrow().of(slot)).collect()
        })
    }
}

/// One row for the whole graph.
pub(crate) struct SingleStage<W> {
    pub data: TableData<(), W>,
    compute: Box<dyn Fn(&Cx<'_>) -> W + Send>,
    reads: RefCell<Box<[Dep]>>,
}

impl<W: Row> SingleStage<W> {
    pub fn new(data: TableData<(), W>, compute: Box<dyn Fn(&Cx<'_>) -> W + Send>) -> Self {
        Self { data, compute, reads: RefCell::default() }
    }
}

impl<W: Row> Stage for SingleStage<W> {
    fn run(&self, core: &Core) {
        core.take_dirty(self.data.stage);
        let slot = self.data.intern(&());
        let cx = Cx::new(core);
        let value = (self.compute)(&cx);
        self.data.recomputed.set(self.data.recomputed.get() + 1);
        core.replace_deps(self.data.dep(slot), &mut self.reads.borrow_mut(), cx.into_reads());
        self.data.set(core, slot, Some(Arc::new(value)));
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |_| true);
    }

    delegate_to_table!(data);

    fn trace(&self, _: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |_| self.reads.borrow().to_vec())
    }
}
