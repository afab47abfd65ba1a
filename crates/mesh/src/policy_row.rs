//! A policy as sent, and what its author is told.

use model::{Diagnostic, Str};
use proto::security::Authorization;

use crate::dialect::DRY_RUN;
use crate::encode::Encoded;
use crate::policy::{Condition, Lowered};

/// An authorization that stands for no object, or not for one of its own name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SentPolicy {
    /// The resource's name.
    pub resource: Str,
    pub encoded: Encoded,
}

impl From<&Authorization> for SentPolicy {
    fn from(sent: &Authorization) -> Self {
        Self {
            resource: Str::from(format!("{}/{}", sent.namespace, sent.name)),
            encoded: Encoded::message(sent),
        }
    }
}

/// What an `AuthorizationPolicy` became.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PolicyRow {
    /// The authorization; `None` when it is not for ztunnels.
    pub encoded: Option<Encoded>,
    /// What a client must understand to be sent it.
    pub needs: u8,
    /// The condition `ZtunnelAccepted`; `None` when it does not concern ztunnels.
    pub condition: Option<Condition>,
    /// What is not enforced as written.
    pub diagnostics: Vec<Diagnostic>,
}

impl From<Lowered> for PolicyRow {
    fn from(lowered: Lowered) -> Self {
        Self {
            encoded: lowered.authorization.as_ref().map(Encoded::message),
            needs: lowered.authorization.as_ref().map_or(0, |a| if a.dry_run { DRY_RUN } else { 0 }),
            condition: lowered.condition,
            diagnostics: lowered.diagnostics,
        }
    }
}
