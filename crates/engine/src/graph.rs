//! Declaring a graph, feeding it, and taking what changed.

use crate::core::{Core, Dep, Node, Stage, downcast};
use crate::index::IndexData;
use crate::stage::{
    DeriveStage, ExpandStage, GroupStage, InUseStage, InputStage, Memo, MemoStage, SingleStage,
};
use crate::table::{Child, TableData};
use crate::{Change, Cx, Index, Key, Row, StageStats, Table, Trace, Walked};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

/// Declares tables. A handle exists only once its table is declared, so a function can read nothing
/// that is computed after it.
#[derive(Default)]
pub struct Builder {
    core: Core,
}

impl Builder {
    fn node(&mut self, node: Node) -> u16 {
        self.core.nodes.push(node);
        (self.core.nodes.len() - 1) as u16
    }

    fn data<K: Key, V: Row>(&mut self, name: &'static str) -> TableData<K, V> {
        let stage = self.core.stages.len() as u16;
        let node = self.node(Node { stage, index: None });
        TableData::new(name, stage, node)
    }

    fn add<K, V>(&mut self, stage: Box<dyn Stage>, id: u16) -> Table<K, V> {
        self.core.add(stage);
        Table { stage: id, types: PhantomData }
    }

    fn edit<K: Key, V: Row>(&mut self, table: Table<K, V>, edit: impl FnOnce(&mut TableData<K, V>)) {
        if let Some(data) = self.core.stages[table.stage as usize].table_mut().downcast_mut() {
            edit(data);
        }
    }

    /// Declares a table whose rows are put from outside.
    pub fn input<K: Key, V: Row>(&mut self, name: &'static str) -> Table<K, V> {
        let data = self.data(name);
        let id = data.stage;
        self.add(Box::new(InputStage::<K, V>(data)), id)
    }

    /// Declares an index over a table: `keys_of` gives the keys under which a row is found.
    pub fn index<IK: Key, K: Key, V: Row, I: IntoIterator<Item = IK> + 'static>(
        &mut self,
        table: Table<K, V>,
        name: &'static str,
        keys_of: impl Fn(&K, &V) -> I + Send + 'static,
    ) -> Index<IK, K, V> {
        let mut position = 0;
        self.edit(table, |data| position = data.indexes.len() as u16);
        let node = self.node(Node { stage: table.stage, index: Some(position) });
        self.edit(table, |data| data.indexes.push(Box::new(IndexData::new(name, node, keys_of))));
        Index { stage: table.stage, position, types: PhantomData }
    }

    /// Declares a table with one row, or none, for each row of `source`, under the same key.
    pub fn derive<K: Key, V: Row, W: Row>(
        &mut self,
        name: &'static str,
        source: Table<K, V>,
        compute: impl Fn(&Cx<'_>, &K, &V) -> Option<W> + Send + 'static,
    ) -> Table<K, W> {
        let data = self.data(name);
        let id = data.stage;
        self.edit(source, |s| s.children.push(Child { stage: id, wants: None }));
        self.add(Box::new(DeriveStage::new(data, source, Box::new(compute))), id)
    }

    /// Declares a table as [`derive`](Self::derive) does, of the rows that it `wants`: what it does not want costs that
    /// question.
    pub fn derive_where<K: Key, V: Row, W: Row>(
        &mut self,
        name: &'static str,
        source: Table<K, V>,
        wants: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        compute: impl Fn(&Cx<'_>, &K, &V) -> Option<W> + Send + 'static,
    ) -> Table<K, W> {
        let data = self.data(name);
        let id = data.stage;
        let wants = Arc::new(wants);
        let is_wanted = Arc::clone(&wants);
        let compute = move |cx: &Cx<'_>, key: &K, row: &V| {
            if wants(key, row) { compute(cx, key, row) } else { None }
        };
        let wants = move |key: &K, row: &V| is_wanted(key, row);
        self.edit(source, |s| s.children.push(Child { stage: id, wants: Some(Box::new(wants)) }));
        self.add(Box::new(DeriveStage::new(data, source, Box::new(compute))), id)
    }

    /// Declares a table with any number of rows for each row of `source`, under keys of their own.
    /// If two source rows claim one key, the one with the smaller source key has it.
    pub fn expand<K: Key, V: Row, L: Key, W: Row>(
        &mut self,
        name: &'static str,
        source: Table<K, V>,
        compute: impl Fn(&Cx<'_>, &K, &V) -> Vec<(L, W)> + Send + 'static,
    ) -> Table<L, W> {
        let data = self.data(name);
        let id = data.stage;
        self.edit(source, |s| s.children.push(Child { stage: id, wants: None }));
        self.add(Box::new(ExpandStage::new(data, source, Box::new(compute))), id)
    }

    /// Declares a table with one row, or none, for each key of `index` that has rows. The function
    /// gets those rows, ascending by their keys.
    pub fn group<IK: Key, K: Key, V: Row, W: Row>(
        &mut self,
        name: &'static str,
        index: Index<IK, K, V>,
        compute: impl Fn(&Cx<'_>, &IK, &[(K, Arc<V>)]) -> Option<W> + Send + 'static,
    ) -> Table<IK, W> {
        let data = self.data(name);
        let id = data.stage;
        let source: Table<K, V> = Table { stage: index.stage, types: PhantomData };
        self.edit(source, |s| s.indexes[index.position as usize].add_group(id));
        self.add(Box::new(GroupStage::new(data, index, Box::new(compute))), id)
    }

    /// Declares a table with one row.
    pub fn single<W: Row>(
        &mut self,
        name: &'static str,
        compute: impl Fn(&Cx<'_>) -> W + Send + 'static,
    ) -> Table<(), W> {
        let data = self.data(name);
        let id = data.stage;
        let table = self.add(Box::new(SingleStage::new(data, Box::new(compute))), id);
        // Nothing that it reads need ever be there.
        self.core.waiting.insert(id);
        table
    }

    /// Declares rows that are computed when first read and dropped with their last reader: for what
    /// many rows would otherwise compute alike.
    pub fn memo<K: Key, V: Row>(
        &mut self,
        name: &'static str,
        compute: impl Fn(&Cx<'_>, &K) -> Option<V> + Send + 'static,
    ) -> Memo<K, V> {
        let stage = self.core.stages.len() as u16;
        let node = self.node(Node { stage, index: None });
        self.add::<K, V>(Box::new(MemoStage::new(name, stage, node, Box::new(compute))), stage);
        Memo { stage, types: PhantomData }
    }

    /// Declares the rows of a memo that somebody reads as a table, under their keys.
    ///
    /// It must be declared after every table that reads the memo, and no other memo may read it:
    /// those give up what they read only when a commit ends, which this table would see one commit
    /// late.
    pub fn in_use<K: Key, V: Row>(&mut self, name: &'static str, memo: Memo<K, V>) -> Table<K, V> {
        let data = self.data(name);
        let id = data.stage;
        let source = self.core.stages[memo.stage as usize].table_mut();
        if let Some(source) = source.downcast_mut::<MemoStage<K, V>>() {
            source.follower = Some(id);
        }
        self.add(Box::new(InUseStage::new(data, memo)), id)
    }

    /// Makes a table a sink: its changes can be taken after each commit.
    pub fn sink<K: Key, V: Row>(&mut self, table: Table<K, V>) {
        self.edit(table, |data| data.is_sink = true);
    }

    /// Makes a table a sink whose changes come in no order of their keys: for whom the order is nothing,
    /// and a listing of everything long.
    pub fn sink_unsorted<K: Key, V: Row>(&mut self, table: Table<K, V>) {
        self.edit(table, |data| (data.is_sink, data.is_unsorted) = (true, true));
    }

    /// Ends the declaration.
    pub fn build(self) -> Graph {
        Graph { core: self.core, walked: RefCell::default() }
    }
}

/// A declared graph and its rows. It has one writer.
pub struct Graph {
    core: Core,
    /// The tables that the walk at work has read.
    walked: RefCell<BTreeSet<u16>>,
}

impl Graph {
    fn data<K: Key, V: Row>(&self, table: Table<K, V>) -> Option<&TableData<K, V>> {
        downcast(self.core.stages[table.stage as usize].table())
    }

    /// Puts a row into an input; it counts from the next commit on.
    pub fn put<K: Key, V: Row>(&mut self, table: Table<K, V>, key: K, value: impl Into<Arc<V>>) {
        if let Some(data) = self.data(table) {
            let slot = data.intern(&key);
            data.set(&self.core, slot, Some(value.into()));
        }
    }

    /// Removes a row from an input, if it is there; it counts from the next commit on.
    pub fn remove<K: Key, V: Row>(&mut self, table: Table<K, V>, key: &K) {
        if let Some(data) = self.data(table)
            && let Some(slot) = data.find(key)
        {
            data.set(&self.core, slot, None);
        }
    }

    /// Brings every table up to date, in order of declaration.
    pub fn commit(&mut self) {
        self.core.commit();
    }

    /// Takes the changes of a sink in the last commit, ascending by key unless it is an unsorted one.
    pub fn changes<K: Key, V: Row>(&mut self, table: Table<K, V>) -> Vec<Change<K, V>> {
        if !self.core.changed.contains(table.stage) {
            return Vec::new();
        }
        self.data(table).map(|d| std::mem::take(&mut *d.changes.borrow_mut())).unwrap_or_default()
    }

    /// Returns one row.
    pub fn get<K: Key, V: Row>(&self, table: Table<K, V>, key: &K) -> Option<Arc<V>> {
        self.read(table)?.get(key)
    }

    fn read<K: Key, V: Row>(&self, table: Table<K, V>) -> Option<&TableData<K, V>> {
        self.walked.borrow_mut().insert(table.stage);
        self.data(table)
    }

    /// Runs a function that reads tables, and returns with its answer which tables it has read, so that
    /// [`Graph::is_current`] tells whether it would give another one.
    pub fn walk<T>(&self, walk: impl FnOnce(&Self) -> T) -> (T, Walked) {
        self.walked.borrow_mut().clear();
        let answer = walk(self);
        let read = std::mem::take(&mut *self.walked.borrow_mut());
        (answer, Walked(read.into_iter().map(|stage| (stage, self.changed(stage))).collect()))
    }

    /// Tells whether nothing has changed since then of what a walk has read.
    pub fn is_current(&self, walked: &Walked) -> bool {
        walked.0.iter().all(|(stage, changed)| self.changed(*stage) == *changed)
    }

    fn changed(&self, stage: u16) -> u64 {
        self.core.stages[stage as usize].stats().changed
    }

    /// Returns all rows, ascending by key. This walks the table: it is meant for people and tests.
    pub fn rows<K: Key, V: Row>(&self, table: Table<K, V>) -> Vec<(K, Arc<V>)> {
        let Some(data) = self.read(table) else { return Vec::new() };
        let mut rows: Vec<(K, Arc<V>)> = data
            .rows
            .borrow()
            .iter()
            .filter_map(|(_, k, entry)| Some((k.clone(), entry.value.clone()?)))
            .collect();
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    /// Returns the keys of the rows that `is_wanted`, ascending. This walks the table: it is meant for
    /// people and tests.
    pub fn keys_of<K: Key, V: Row>(&self, table: Table<K, V>, is_wanted: impl Fn(&K, &V) -> bool) -> Vec<K> {
        let Some(data) = self.read(table) else { return Vec::new() };
        let rows = data.rows.borrow();
        let found =
            rows.iter().filter(|(_, key, entry)| entry.value.as_ref().is_some_and(|v| is_wanted(key, v)));
        let mut keys: Vec<K> = found.map(|(_, key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// Returns what a row was made from, `depth` levels down, or `None` if the key is not known.
    pub fn why<K: Key, V: Row>(&self, table: Table<K, V>, key: &K, depth: usize) -> Option<Trace> {
        let data = self.data(table)?;
        let slot = data.find(key)?;
        Some(self.core.trace(Dep::new(data.node, slot), depth))
    }

    /// Returns the rows of inputs that a row was made from, in however many steps, nearest first; nothing if there is no
    /// such row. It looks at no more than `limit` rows, each once.
    pub fn origins<K: Key, V: Row>(&self, table: Table<K, V>, key: &K, limit: usize) -> Vec<Trace> {
        let Some(data) = self.data(table) else { return Vec::new() };
        let slot = data.find(key).filter(|slot| data.value(*slot).is_some());
        slot.map(|slot| self.core.origins(Dep::new(data.node, slot), limit)).unwrap_or_default()
    }

    /// Returns the counters of every table, in order of declaration.
    pub fn stats(&self) -> Vec<StageStats> {
        self.core.stages.iter().map(|s| s.stats()).collect()
    }
}
