use crate::core::{Core, Dep, Stage, downcast};
use crate::set::SmallSet;
use crate::slab::Slab;
use crate::table::Maker;
use crate::{Cx, Key, Row, StageStats, Trace};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A handle to a declared memo.
pub struct Memo<K, V> {
    pub(crate) stage: u16,
    pub(crate) types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Memo<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Memo<K, V> {}
impl<K, V> fmt::Debug for Memo<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memo({})", self.stage)
    }
}

type MemoFn<K, V> = Box<dyn Fn(&Cx<'_>, &K) -> Option<V> + Send>;

/// Rows that exist because somebody reads them: what many rows would compute alike, computed once.
pub(crate) struct MemoStage<K, V> {
    pub name: &'static str,
    pub stage: u16,
    pub node: u16,
    compute: MemoFn<K, V>,
    rows: RefCell<Slab<K, MemoRow<V>>>,
    maker: Maker<V>,
    idle: RefCell<Vec<u32>>,
    /// The table of the rows in use, if there is one.
    pub follower: Option<u16>,
    /// For that table: slots whose value or whose readers changed.
    touched: RefCell<Vec<u32>>,
    live: Cell<usize>,
    recomputed: Cell<u64>,
    changed: Cell<u64>,
}

struct MemoRow<V> {
    computed: bool,
    value: Option<Arc<V>>,
    readers: SmallSet<Dep>,
    reads: Box<[Dep]>,
}

impl<V> Default for MemoRow<V> {
    fn default() -> Self {
        Self { computed: false, value: None, readers: SmallSet::Empty, reads: Box::default() }
    }
}

impl<K: Key, V: Row> MemoStage<K, V> {
    pub fn new(name: &'static str, stage: u16, node: u16, compute: MemoFn<K, V>) -> Self {
        Self {
            name,
            stage,
            node,
            compute,
            rows: RefCell::default(),
            maker: Maker::default(),
            idle: RefCell::default(),
            follower: None,
            touched: RefCell::default(),
            live: Cell::new(0),
            recomputed: Cell::new(0),
            changed: Cell::new(0),
        }
    }

    /// Returns the row under `key`, computed now if it was not there, and how to depend on it.
    pub fn read(&self, core: &Core, key: &K) -> (Dep, Option<Arc<V>>) {
        let slot = {
            let mut rows = self.rows.borrow_mut();
            let slot = rows.intern(key);
            if let Some((_, row)) = rows.get(slot)
                && row.computed
            {
                return (Dep::new(self.node, slot), row.value.clone());
            }
            slot
        };
        self.live.set(self.live.get() + 1);
        // Until a reader is recorded the row may be dropped at the end of the commit.
        self.idle.borrow_mut().push(slot);
        core.touched.insert(self.stage);
        self.recompute(core, slot);
        let value = self.rows.borrow().get(slot).and_then(|(_, row)| row.value.clone());
        (Dep::new(self.node, slot), value)
    }

    fn recompute(&self, core: &Core, slot: u32) {
        let Some(key) = self.rows.borrow().get(slot).map(|(k, _)| k.clone()) else { return };
        let cx = Cx::of_memo(core, self.name);
        let value = (self.compute)(&cx, &key).map(|value| self.maker.make(value));
        self.recomputed.set(self.recomputed.get() + 1);
        let reads = cx.into_reads();
        let mut rows = self.rows.borrow_mut();
        let Some((_, row)) = rows.get_mut(slot) else { return };
        core.replace_deps(Dep::new(self.node, slot), &mut row.reads, reads);
        if !row.computed || row.value != value {
            row.value = value;
            self.changed.set(self.changed.get() + 1);
            self.touch(core, slot);
            row.readers.for_each(|reader| core.mark_reader(reader));
        }
        row.computed = true;
    }

    fn touch(&self, core: &Core, slot: u32) {
        if let Some(follower) = self.follower {
            self.touched.borrow_mut().push(slot);
            core.waiting.insert(follower);
        }
    }

    /// Takes the slots that may have come into use, gone out of it or changed, each once.
    pub fn take_touched(&self) -> Vec<u32> {
        let mut touched = std::mem::take(&mut *self.touched.borrow_mut());
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Returns the key of a slot, and its value if somebody reads it.
    pub fn in_use(&self, slot: u32) -> Option<(K, Option<Arc<V>>)> {
        let rows = self.rows.borrow();
        let (key, row) = rows.get(slot)?;
        Some((key.clone(), row.value.clone().filter(|_| !row.readers.is_empty())))
    }

    /// Returns how to depend on the row under `key`, if there is one.
    pub fn dep(&self, key: &K) -> Option<Dep> {
        self.rows.borrow().find(key).map(|slot| Dep::new(self.node, slot))
    }
}

impl Cx<'_> {
    /// Returns the memo under `key`, computing it if nobody has read it yet.
    ///
    /// # Panics
    /// In debug builds, when a memo reads one whose rows in use are a table: see [`crate::Builder::in_use`].
    pub fn memo<K: Key, V: Row>(&self, memo: Memo<K, V>, key: &K) -> Option<Arc<V>> {
        let stage: &MemoStage<K, V> = downcast(self.core.stages[memo.stage as usize].table())?;
        debug_assert!(
            self.memo.is_none() || stage.follower.is_none(),
            "memo {} reads {}, whose rows in use are a table",
            self.memo.unwrap_or_default(),
            stage.name
        );
        let (dep, value) = stage.read(self.core, key);
        self.note(dep);
        value
    }
}

impl<K: Key, V: Row> Stage for MemoStage<K, V> {
    fn run(&self, core: &Core) {
        for slot in core.take_dirty(self.stage).rows {
            let wanted = self.rows.borrow().get(slot).is_some_and(|(_, row)| row.computed);
            if wanted {
                self.recompute(core, slot);
            }
        }
    }

    fn finish(&self, core: &Core) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        let mut rows = self.rows.borrow_mut();
        for slot in idle {
            let Some((_, row)) = rows.get_mut(slot) else { continue };
            if row.readers.is_empty() {
                core.replace_deps(Dep::new(self.node, slot), &mut row.reads, Vec::new());
                rows.remove(slot);
                self.live.set(self.live.get() - 1);
            }
        }
        rows.trim();
    }

    /// A memo is no sink.
    fn forget_changes(&self) {}

    fn table(&self) -> &dyn Any {
        self
    }

    fn table_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn edit_reader(&self, core: &Core, _: Option<u16>, slot: u32, reader: Dep, add: bool) {
        let mut rows = self.rows.borrow_mut();
        let Some((_, row)) = rows.get_mut(slot) else { return };
        let was_used = !row.readers.is_empty();
        if add {
            row.readers.insert(reader);
        } else {
            row.readers.remove(&reader);
            if row.readers.is_empty() {
                self.idle.borrow_mut().push(slot);
            }
        }
        if was_used == row.readers.is_empty() {
            self.touch(core, slot);
        }
    }

    fn trace(&self, _: &Core, _: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        let rows = self.rows.borrow();
        let (key, present, reads) = match rows.get(slot) {
            Some((key, row)) => (format!("{key:?}"), row.value.is_some(), row.reads.to_vec()),
            None => (String::new(), false, Vec::new()),
        };
        (Trace { table: self.name, key, present, reads: Vec::new(), truncated: false }, reads)
    }

    fn stats(&self) -> StageStats {
        StageStats {
            name: self.name,
            rows: self.live.get(),
            recomputed: self.recomputed.get(),
            changed: self.changed.get(),
        }
    }
}
