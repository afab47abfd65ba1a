use crate::{Diagnostic, Labels, Str};

/// An entry of `spec.targetRefs` (or the legacy `spec.targetRef`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PolicyTargetRef {
    /// `group`; empty for the core group.
    pub group: Str,
    /// `kind`.
    pub kind: Str,
    /// `name`.
    pub name: Str,
    /// `namespace`; empty means the policy's own.
    pub namespace: Str,
}

/// Why the `spec` of a policy could not be understood, and what it would have selected.
///
/// A policy that cannot be understood stays active as one that denies what it selects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// `spec.selector.matchLabels` if that much could be read; `None` selects the whole scope.
    pub selector: Option<Labels>,
    /// `spec.targetRefs` (and `spec.targetRef`) if that much could be read: a policy that has any, and no
    /// selector, is not for ztunnels, so it denies nothing there.
    pub target_refs: Vec<PolicyTargetRef>,
    /// What was wrong.
    pub diagnostic: Diagnostic,
}
