use super::Stage;
use crate::core::{Core, Dep};
use crate::table::TableData;
use crate::{Key, Row, StageStats, Trace};
use std::any::Any;

/// Rows put from outside.
pub(crate) struct InputStage<K, V>(pub TableData<K, V>);

impl<K: Key, V: Row> Stage for InputStage<K, V> {
    fn run(&self, _: &Core) {}

    fn finish(&self, _: &Core) {
        self.0.finish(|_| false);
    }

    fn table(&self) -> &dyn Any {
        &self.0
    }

    fn table_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn edit_reader(&self, index: Option<u16>, slot: u32, reader: Dep, add: bool) {
        self.0.edit_node_reader(index, slot, reader, add);
    }

    fn trace(&self, _: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.0.trace_node(index, slot, |_| Vec::new())
    }

    fn stats(&self) -> StageStats {
        self.0.table_stats()
    }
}
