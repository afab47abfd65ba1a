use engine::{Graph, Table};
use model::{Kind, Name, ObjectRef};
use serde_json::Value;
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

/// The conditions that this control plane gives an object: none of its own types is there besides. Where
/// its status has more than conditions, that is here, too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// `observedGeneration`; 0 where istiod writes none.
    pub generation: i64,
    /// The conditions, in a fixed order.
    pub conditions: Vec<Condition>,
    /// Lists whose entries have conditions of their own, such as `listeners` and `parents`.
    pub lists: Vec<EntryList>,
    /// Further fields of the status, each as a whole.
    pub fields: Vec<(&'static str, Value)>,
    /// Whether something that they depend on was not read yet: until it is, what is written stays.
    pub is_pending: bool,
    /// Whether the object was read with something else in one of `fields`, so that it is to be compared although
    /// nothing else changed.
    pub is_drifted: bool,
}

/// A list in a status whose entries have conditions of their own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EntryList {
    /// The field of the status.
    pub field: &'static str,
    /// Which entries are ours: those that have one of these values in one of these fields, such as
    /// `controllerName`. Without any, all are.
    pub owners: &'static [(&'static str, &'static str)],
    /// How many entries, of whomever, the API has room for; 0 for no bound. Ours give way to those of others.
    pub room: usize,
    /// Our entries, in order.
    pub entries: Vec<Entry>,
}

/// An entry of such a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The fields that tell it from others.
    pub key: Vec<(&'static str, Value)>,
    /// Its other fields, each as a whole.
    pub fields: Vec<(&'static str, Value)>,
    /// Its conditions, in a fixed order.
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
