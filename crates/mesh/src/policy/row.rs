//! A policy as sent, and what its author is told.

use engine::{Builder, Key, Table};
use model::facts::AuthorizationPolicy;
use model::{Diagnostic, Labels, Str};
use output::{Encoded, Outputs, Rank, Resource};
use proto::ResourceType;
use proto::security::{Action, Authorization};

use super::authorization::{Condition, Lowered, PolicyScope};
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
    /// Which workloads list it; `None` when none does.
    pub scope: Option<PolicyScope>,
    /// Which workloads it refuses what no policy allows; `None` when it does not allow.
    pub allows: Option<AllowScope>,
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

/// Which workloads a policy selects that allows. Changes of its rules leave it equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AllowScope {
    selector: Option<Labels>,
}

impl AllowScope {
    /// Tells whether it selects workloads with these labels, of a namespace that it is for.
    pub fn selects(&self, labels: &Labels) -> bool {
        let selector = self.selector.as_ref();
        selector.is_none_or(|selector| !selector.is_empty() && selector.is_subset_of(labels))
    }
}

impl PolicyRow {
    /// Returns what ztunnels make of a policy, given which workloads list it.
    pub fn new(policy: &AuthorizationPolicy, lowered: Lowered, scope: Option<PolicyScope>) -> Self {
        let sent = lowered.authorization.as_ref();
        let allows = sent.is_some_and(|sent| sent.action() == Action::Allow && !sent.dry_run);
        Self {
            encoded: sent.map(Encoded::message),
            needs: sent.map_or(0, |sent| if sent.dry_run { DRY_RUN } else { 0 }),
            scope,
            allows: allows.then(|| AllowScope { selector: policy.selector().cloned() }),
            condition: lowered.condition,
            diagnostics: lowered.diagnostics,
            at_waypoints: None,
            fault: None,
            provider: None,
        }
    }

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
