//! A policy as sent, and what its author is told.

use engine::{Builder, Key, Table};
use model::{Diagnostic, Str};
use output::{Encoded, Outputs, Rank, Resource};
use proto::ResourceType;
use proto::security::{Action, Authorization};

use super::authorization::{Condition, Lowered};
use super::waypoint::{AtWaypoints, WaypointPolicy};
use crate::capabilities::DRY_RUN;

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

impl SentPolicy {
    /// Declares that a table of them is sent.
    pub fn declare_output<K: Key>(b: &mut Builder, out: &mut Outputs, table: Table<K, Self>, rank: Rank) {
        out.resources(b, table, ResourceType::Authorization, rank, |_, row| {
            Some(Resource::new(row.resource.as_str(), &row.encoded))
        });
    }
}

/// What an `AuthorizationPolicy` became.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PolicyRow {
    /// The authorization; `None` when it is not for ztunnels.
    pub encoded: Option<Encoded>,
    /// What a client must understand to be sent it.
    pub needs: u8,
    /// Whether it allows, and so refuses what no other policy allows.
    pub allows: bool,
    /// The condition `ZtunnelAccepted`; `None` when it does not concern ztunnels.
    pub condition: Option<Condition>,
    /// What is not enforced as written.
    pub diagnostics: Vec<Diagnostic>,
    /// What waypoints enforce.
    pub at_waypoints: Option<WaypointPolicy>,
    /// What of it waypoints do not enforce as written; `None` if they enforce all.
    pub fault: Option<Condition>,
    /// The provider that waypoints are to ask, for CUSTOM.
    pub provider: Option<Str>,
}

impl PolicyRow {
    /// Adds what waypoints make of the policy.
    pub fn and_at(mut self, waypoints: Option<AtWaypoints>) -> Self {
        if let Some(of) = waypoints {
            self.at_waypoints = of.policy;
            self.fault = of.fault;
            self.diagnostics.extend(of.diagnostics);
            self.provider = of.provider;
        }
        self
    }
}

impl From<Lowered> for PolicyRow {
    fn from(lowered: Lowered) -> Self {
        Self {
            encoded: lowered.authorization.as_ref().map(Encoded::message),
            needs: lowered.authorization.as_ref().map_or(0, |a| if a.dry_run { DRY_RUN } else { 0 }),
            allows: lowered
                .authorization
                .as_ref()
                .is_some_and(|sent| sent.action() == Action::Allow && !sent.dry_run),
            condition: lowered.condition,
            diagnostics: lowered.diagnostics,
            at_waypoints: None,
            fault: None,
            provider: None,
        }
    }
}
