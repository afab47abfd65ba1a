use super::Meta;
use crate::Str;

/// An entry of `spec.from`: who may refer into the namespace of the grant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GrantFrom {
    /// `group`; empty for the core group.
    pub group: Str,
    /// `kind`.
    pub kind: Str,
    /// `namespace`, where the referring objects are.
    pub namespace: Str,
}

/// An entry of `spec.to`: what may be referred to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GrantTo {
    /// `group`; empty for the core group.
    pub group: Str,
    /// `kind`.
    pub kind: Str,
    /// `name`; empty for every object of the kind.
    pub name: Str,
}

/// Facts of a Gateway API `ReferenceGrant`: every pair of one of `from` and one of `to` is permitted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReferenceGrant {
    /// Metadata.
    pub meta: Meta,
    /// `spec.from`, in order.
    pub from: Vec<GrantFrom>,
    /// `spec.to`, in order.
    pub to: Vec<GrantTo>,
}
