use engine::{Graph, Table};
use model::{Kind, Name, ObjectRef};
use std::sync::Arc;

/// One condition of an object's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// `type`.
    pub kind: &'static str,
    /// `status`: `True` or `False`.
    pub status: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

/// The conditions that this control plane gives an object: none of its own types is there besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// `observedGeneration`; 0 where istiod writes none.
    pub generation: i64,
    /// The conditions, in a fixed order.
    pub conditions: Vec<Condition>,
}

/// A table of the conditions of objects of one kind.
#[derive(Clone, Copy)]
pub(crate) struct ConditionTable {
    pub kind: Kind,
    pub table: Table<Name, Conditions>,
}

impl ConditionTable {
    fn object(&self, name: Name) -> ObjectRef {
        ObjectRef { kind: self.kind, name }
    }

    pub fn changed(&self, graph: &mut Graph) -> impl Iterator<Item = ObjectRef> + use<> {
        let (changes, of) = (graph.changes(self.table), *self);
        changes.into_iter().map(move |change| of.object(change.key))
    }

    pub fn all(&self, graph: &Graph) -> impl Iterator<Item = (ObjectRef, Arc<Conditions>)> + use<> {
        let (rows, of) = (graph.rows(self.table), *self);
        rows.into_iter().map(move |(name, conditions)| (of.object(name), conditions))
    }
}
