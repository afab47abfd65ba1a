//! A policy as sent, and what its author is told.

use model::Diagnostic;

use crate::encode::Encoded;
use crate::policy::{Condition, Lowered};

/// What an `AuthorizationPolicy` became.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PolicyRow {
    /// The authorization; `None` when it is not for ztunnels.
    pub encoded: Option<Encoded>,
    /// The condition `ZtunnelAccepted`; `None` when it does not concern ztunnels.
    pub condition: Option<Condition>,
    /// What is not enforced as written.
    pub diagnostics: Vec<Diagnostic>,
}

impl From<Lowered> for PolicyRow {
    fn from(lowered: Lowered) -> Self {
        Self {
            encoded: lowered.authorization.as_ref().map(|a| Encoded::message(a)),
            condition: lowered.condition,
            diagnostics: lowered.diagnostics,
        }
    }
}
