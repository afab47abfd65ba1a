use super::reads::Reads;
use crate::core::{Core, Dep, Stage, downcast};
use crate::index::IndexRows;
use crate::table::TableData;
use crate::{Cx, Index, Key, Row, Trace};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

type GroupFn<IK, K, V, W> = Box<dyn Fn(&Cx<'_>, &IK, &[(K, Arc<V>)]) -> Option<W> + Send>;

/// One row, or none, for each key of an index that has rows.
pub(crate) struct GroupStage<IK, K, V, W> {
    pub data: TableData<IK, W>,
    index: Index<IK, K, V>,
    compute: GroupFn<IK, K, V, W>,
    reads: RefCell<Reads>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<IK: Key, K: Key, V: Row, W: Row> GroupStage<IK, K, V, W> {
    pub fn new(data: TableData<IK, W>, index: Index<IK, K, V>, compute: GroupFn<IK, K, V, W>) -> Self {
        Self { data, index, compute, reads: RefCell::default(), types: PhantomData }
    }

    fn postings<'c>(&self, core: &'c Core) -> Option<&'c IndexRows<IK>> {
        let source: &TableData<K, V> = downcast(core.stages[self.index.stage as usize].table())?;
        downcast(source.indexes[self.index.position as usize].as_any())
    }
}

impl<IK: Key, K: Key, V: Row, W: Row> Stage for GroupStage<IK, K, V, W> {
    fn run(&self, core: &Core) {
        let mut dirty = core.take_dirty(self.data.stage);
        let Some(index) = self.postings(core) else { return };
        for posting in dirty.sources {
            if let Some((key, _)) = index.postings.borrow().get(posting) {
                dirty.rows.push(self.data.intern(key));
            }
        }
        dirty.rows.sort_unstable();
        dirty.rows.dedup();
        for slot in dirty.rows {
            let Some(key) = self.data.key(slot) else { continue };
            let cx = Cx::new(core);
            // The lookup is a read like any other, so that `why` shows the members.
            let members = cx.lookup(self.index, &key);
            let value = if members.is_empty() {
                None
            } else {
                self.data.recomputed.set(self.data.recomputed.get() + 1);
                (self.compute)(&cx, &key, &members)
            };
            let reads = if members.is_empty() { Vec::new() } else { cx.into_reads() };
            let mut deps = self.reads.borrow_mut().take(slot);
            core.replace_deps(self.data.dep(slot), &mut deps, reads);
            self.reads.borrow_mut().put(slot, deps);
            self.data.set(core, slot, value.map(|value| self.data.maker.make(value)));
        }
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |slot| self.reads.borrow().any(slot));
        self.reads.borrow_mut().trim();
    }

    delegate_to_table!(data);

    fn trace(&self, _: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |slot| self.reads.borrow().of(slot))
    }
}
