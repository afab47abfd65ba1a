use super::Facts;
use crate::{Name, Str};

/// Facts of a core `Node`: where it is. Heartbeats change none of this.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its cluster and `metadata.name`.
    pub name: Name,
    /// Label `topology.kubernetes.io/region`; empty when absent.
    pub region: Str,
    /// Label `topology.kubernetes.io/zone`; empty when absent.
    pub zone: Str,
    /// Label `topology.istio.io/subzone`; empty when absent.
    pub subzone: Str,
}

impl Facts for Node {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}
