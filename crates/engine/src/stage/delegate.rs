//! What operators with a table of rows have alike.

/// Writes the part of [`Stage`](crate::core::Stage) that every operator with rows in a
/// [`TableData`](crate::table::TableData) has alike.
macro_rules! delegate_to_table {
    ($data:tt) => {
        fn table(&self) -> &dyn std::any::Any {
            &self.$data
        }

        fn table_mut(&mut self) -> &mut dyn std::any::Any {
            &mut self.$data
        }

        fn edit_reader(
            &self,
            _: &crate::core::Core,
            index: Option<u16>,
            slot: u32,
            reader: crate::core::Dep,
            add: bool,
        ) {
            self.$data.edit_node_reader(index, slot, reader, add);
        }

        fn forget_changes(&self) {
            self.$data.forget_changes();
        }

        fn stats(&self) -> crate::StageStats {
            self.$data.table_stats()
        }
    };
}
