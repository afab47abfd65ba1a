use super::memo::MemoStage;
use crate::core::{Core, Dep, Stage, downcast};
use crate::table::TableData;
use crate::{Key, Memo, Row, Trace};

/// The rows of a memo that somebody reads.
pub(crate) struct InUseStage<K, V> {
    pub data: TableData<K, V>,
    memo: Memo<K, V>,
}

impl<K: Key, V: Row> InUseStage<K, V> {
    pub fn new(data: TableData<K, V>, memo: Memo<K, V>) -> Self {
        Self { data, memo }
    }

    fn memo<'c>(&self, core: &'c Core) -> Option<&'c MemoStage<K, V>> {
        downcast(core.stages[self.memo.stage as usize].table())
    }
}

impl<K: Key, V: Row> Stage for InUseStage<K, V> {
    fn run(&self, core: &Core) {
        let Some(memo) = self.memo(core) else { return };
        for slot in memo.take_touched() {
            let Some((key, value)) = memo.in_use(slot) else { continue };
            let own = self.data.intern(&key);
            self.data.recomputed.set(self.data.recomputed.get() + 1);
            self.data.set(core, own, value);
        }
    }

    fn finish(&self, core: &Core) {
        self.data.finish(core, |_| false);
    }

    delegate_to_table!(data);

    fn trace(&self, core: &Core, index: Option<u16>, slot: u32) -> (Trace, Vec<Dep>) {
        self.data.trace_node(index, slot, |slot| {
            let key = self.data.key(slot);
            let source = key.and_then(|key| self.memo(core)?.dep(&key));
            source.into_iter().collect()
        })
    }
}
