//! Policy: `AuthorizationPolicy` and `PeerAuthentication` lowered to authorizations of ztunnels, and the former to
//! rules of waypoints, as pure functions of facts.
//!
//! ```text
//! AuthorizationPolicy ─┬─ scope_of ──────▶ PolicyScope  what workloads read: who lists it
//!                      ├─ lower ─────────▶ Lowered      authorization, condition, diagnostics
//!                      └─ at_waypoints ──▶ AtWaypoints  rules of waypoints, condition, diagnostics
//! PeerAuthentication ──┬─ workload_policies ─▶ names    listed by a workload ─┐ one decision
//!                      └─ port_policy ───────▶ authorization ─────────────────┘ behind both
//! any PeerAuthentication ── static_strict ──▶ authorization
//! Waypoint ──────────────── implicit_waypoint_allow ──▶ authorization
//! WaypointEnforcement ───── waypoint_enforcement ──▶ authorization
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
//! * A policy whose values some identity, port or address can have has the same bytes as with istiod.
//! * What is not understood never allows more: an entry of an ALLOW policy then never matches, a
//!   field of a DENY policy is then widened (see `docs/adr/0003-fail-closed.md`).
//! * A policy that a workload lists is always sent: ztunnels skip a listed policy that is missing.

mod asked;
mod authorization;
mod code;
mod enforcement;
mod http;
mod implicit;
mod likely;
mod peer;
mod peer_authentication;
mod peer_match;
mod reader;
mod request;
mod row;
mod rule;
mod selection;
mod source;
mod token;
mod value;
mod waypoint;
mod wire;

#[cfg(test)]
mod evaluator;
#[cfg(test)]
mod properties;

pub use asked::Asked;
pub(crate) use asked::{Resolved, check as check_authorizer};
pub(crate) use authorization::{Condition as Fault, Options, lower, scope_of};
pub(crate) use enforcement::{PortRule, waypoint_enforcement};
pub(crate) use implicit::{implicit_waypoint_allow, implicit_waypoint_name};
pub(crate) use peer::declare as declare_peers;
pub(crate) use peer_match::can_match_peer;
pub(crate) use row::{PolicyRow, SentPolicy};
pub use rule::{Account, Entry, Lists, Network, PathPattern, Pattern, Rule, RuleAction, Segment, Test};
pub(crate) use selection::{Policies, declare_policies, index_scopes};
pub(crate) use token::{Inputs as TokenInputs, TokenRow, Tokens, refs as token_targets};
pub use token::{TokenRule, WaypointTokens, by_issuer};
pub use waypoint::{PolicyTarget, WaypointAction, WaypointPolicy, rules_at_waypoints};
pub(crate) use waypoint::{at_waypoints, targets, unanswered};
