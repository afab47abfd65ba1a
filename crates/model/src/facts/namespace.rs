use crate::{Labels, Str};

/// Facts of a core `Namespace`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Str,
    /// All labels.
    pub labels: Labels,
    /// The annotations that are read.
    pub annotations: Labels,
}
