//! Policy for ztunnels: `AuthorizationPolicy` and `PeerAuthentication` lowered to wire
//! authorizations, as pure functions of facts.
//!
//! ```text
//! AuthorizationPolicy ─┬─ scope_of ──▶ PolicyScope      what workloads read: who lists it
//!                      └─ lower ─────▶ Lowered          authorization, condition, diagnostics
//! PeerAuthentication ──┬─ workload_policies ─▶ names    listed by a workload ─┐ one decision
//!                      └─ port_policy ───────▶ authorization ─────────────────┘ behind both
//! any PeerAuthentication ── static_strict ──▶ authorization
//! Waypoint ──────────────── implicit_waypoint_allow ──▶ authorization
//! Guard ─────────────────── guard ──▶ authorization
//! ```
//!
//! How a ztunnel evaluates an authorization decides how one is written here:
//!
//! * groups are alternatives; an authorization without groups matches nothing;
//! * the `Rules` of a group must all match; a group without `Rules` matches everything;
//! * the matches of a `Rules` are alternatives; a `Rules` without matches matches everything;
//! * the fields of a `Match` must all hold; a `Match` without fields matches **nothing**.
//!
//! Invariants:
//!
//! * A valid policy has the same bytes as with the reference.
//! * What is not understood never allows more: an entry of an ALLOW policy then never matches, a
//!   field of a DENY policy is then widened (see `docs/adr/0003-fail-closed.md`).
//! * A policy that a workload lists is always sent: ztunnels skip a listed policy that is missing.

mod authorization;
mod guard;
mod http;
mod implicit;
mod peer_authentication;
mod rule;
mod value;

#[cfg(test)]
mod evaluator;
#[cfg(test)]
mod properties;

pub(crate) use authorization::{Condition, Lowered, Options, PolicyScope, lower, scope_of};
pub(crate) use guard::{Door, guard};
pub(crate) use implicit::{implicit_waypoint_allow, implicit_waypoint_name};
pub(crate) use peer_authentication::{
    EffectivePeerAuthentication, Level, age, level, port_policy, static_strict, static_strict_name,
    workload_policies,
};

/// Codes of the diagnostics that arise here.
pub(crate) mod code {
    /// A value in a rule was not understood.
    pub(crate) const UNCLEAR_VALUE: &str = "AP101";
    /// An entry of a rule says nothing.
    pub(crate) const EMPTY_ENTRY: &str = "AP102";
    /// The key of a condition is not known.
    pub(crate) const UNKNOWN_KEY: &str = "AP103";
    /// Attributes of HTTP cannot be enforced by a ztunnel.
    pub(crate) const HTTP_ATTRIBUTE: &str = "AP104";
    /// The action cannot be enforced by a ztunnel.
    pub(crate) const UNSUPPORTED_ACTION: &str = "AP105";
    /// Dry run is not enabled.
    pub(crate) const DRY_RUN_DISABLED: &str = "AP106";
    /// An empty selector attaches the policy to no workload.
    pub(crate) const EMPTY_SELECTOR: &str = "AP107";
    /// Further findings about the policy were left out.
    pub(crate) const MORE_FINDINGS: &str = "AP108";
}
