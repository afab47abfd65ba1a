use crate::{Diagnostic, Labels, Name};

/// The metadata that facts of most kinds carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.creationTimestamp`, in seconds since 1970; 0 when unset. Breaks ties: oldest wins.
    pub created: i64,
    /// `metadata.generation`, for status; 0 when unset.
    pub generation: i64,
    /// All labels.
    pub labels: Labels,
    /// The annotations that are read of the kind; all others are dropped.
    pub annotations: Labels,
    /// What is told of the object for the fields that it sets and that are known and not supported, and for labels and
    /// annotations that have no effect.
    pub unsupported: Vec<Diagnostic>,
}
