use crate::Str;

/// Facts of a core `Node`: where it is. Heartbeats change none of this.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// `metadata.name`.
    pub name: Str,
    /// Label `topology.kubernetes.io/region`; empty when absent.
    pub region: Str,
    /// Label `topology.kubernetes.io/zone`; empty when absent.
    pub zone: Str,
    /// Label `topology.istio.io/subzone`; empty when absent.
    pub subzone: Str,
}
