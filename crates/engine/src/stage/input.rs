use crate::core::{Core, Dep, Stage};
use crate::table::TableData;
use crate::{Key, Row, Trace};

/// Rows put from outside.
pub(crate) struct InputStage<K, V>(pub TableData<K, V>);

impl<K: Key, V: Row> Stage for InputStage<K, V> {
    fn run(&self, _: &Core) {}

    fn finish(&self, core: &Core) {
        self.0.finish(core, |_| false);
    }

    delegate_to_table!(0);

    fn trace(&self, _: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.0.trace_node(index, slot, |_| Vec::new())
    }
}
