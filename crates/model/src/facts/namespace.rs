use super::Facts;
use crate::{Labels, Ns};

/// Facts of a core `Namespace`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespace {
    /// Its cluster and `metadata.name`.
    pub name: Ns,
    /// All labels.
    pub labels: Labels,
    /// The annotations that are read.
    pub annotations: Labels,
}

impl Facts for Namespace {
    type Key = Ns;

    fn key(&self) -> Ns {
        self.name.clone()
    }
}
