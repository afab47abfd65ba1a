//! What changed between two answers.

use std::sync::Arc;

use crate::{Key, Object, Objects};

/// One change of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is new or has another value.
    Put(Arc<Object>),
    /// The object is gone.
    Remove(Key),
}

/// Compares two answers: removals first, then new and changed objects, each in order of their keys.
///
/// Only values count, and whether they are refused: an object that moved to another line or file has not
/// changed.
pub fn changes(before: &Objects, after: &Objects) -> Vec<Change> {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).cloned().map(Change::Remove);
    let put = after.iter().filter_map(|(key, object)| {
        let is_same = |old: &Arc<Object>| {
            Arc::ptr_eq(old, object)
                || (old.value == object.value && old.refused.is_some() == object.refused.is_some())
        };
        let same = before.get(key).is_some_and(is_same);
        (!same).then(|| Change::Put(Arc::clone(object)))
    });
    gone.chain(put).collect()
}
