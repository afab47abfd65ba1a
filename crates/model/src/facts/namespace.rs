use super::Facts;
use crate::{Diagnostic, Labels, Ns};

/// Facts of a core `Namespace`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespace {
    /// Its cluster and `metadata.name`.
    pub name: Ns,
    /// All labels.
    pub labels: Labels,
    /// The annotations that are read.
    pub annotations: Labels,
    /// What is told of labels and annotations that have no effect.
    pub unsupported: Vec<Diagnostic>,
}

impl Facts for Namespace {
    type Key = Ns;
    const IS_TOLD: bool = true;

    fn key(&self) -> Ns {
        self.name.clone()
    }

    fn unsupported(&self) -> &[Diagnostic] {
        &self.unsupported
    }

    fn unsupported_mut(&mut self) -> Option<&mut Vec<Diagnostic>> {
        Some(&mut self.unsupported)
    }
}
