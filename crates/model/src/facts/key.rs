use crate::{Diagnostic, Name, Ns};
use std::fmt::Debug;
use std::hash::Hash;

/// The facts of one object of one kind, and how a table of such objects is keyed.
pub trait Facts: PartialEq + Send + Sync + 'static {
    /// The key.
    type Key: ObjectKey;
    /// Whether anything is told of objects of the kind by themselves.
    const IS_TOLD: bool = false;

    /// Returns the key of this object.
    fn key(&self) -> Self::Key;

    /// Returns what is told of the object for the fields that it sets and that are known and not supported, and for
    /// labels and annotations that have no effect, as [`crate::field`] has them.
    fn unsupported(&self) -> &[Diagnostic] {
        &[]
    }

    /// Returns the same, to be set; `None` where nothing is told.
    fn unsupported_mut(&mut self) -> Option<&mut Vec<Diagnostic>> {
        None
    }
}

/// A name of an object, as a key.
pub trait ObjectKey: Clone + Eq + Hash + Ord + Debug + Send + Sync + 'static {
    /// Returns the key of the object of this name.
    fn of(name: &Name) -> Self;

    /// Returns the name of the object.
    fn name(&self) -> Name;
}

impl ObjectKey for Name {
    fn of(name: &Name) -> Self {
        name.clone()
    }

    fn name(&self) -> Name {
        self.clone()
    }
}

/// The key of objects of kind Namespace.
impl ObjectKey for Ns {
    fn of(name: &Name) -> Self {
        name.ns.beside(&name.name)
    }

    fn name(&self) -> Name {
        self.object()
    }
}
