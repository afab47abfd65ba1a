//! What is reported of each policy's distribution, and when: pure, for `now` is given.
//!
//! Sparingly: nodes that come and go, and policies that all nodes acknowledge at once, cost no write
//! but the one that reports it.

use super::acks::{AckSummary, Distribution, Outcome, Reported, SentPolicy};
use model::Name;
use plane::Conditions;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use xds::{Capabilities, ResourceType, Snapshot, is_withheld};

const POLICIES: ResourceType = ResourceType::Authorization;

/// How often acknowledgements are evaluated, and how often anything is reported of a policy.
#[derive(Debug, Clone, Copy)]
pub struct ReportIntervals {
    /// Between two evaluations while an outcome is awaited that was not reported yet.
    pub awaiting: Duration,
    /// Between two evaluations otherwise.
    pub idle: Duration,
    /// For how long acknowledgements of a policy are awaited before it is reported as pending, and the
    /// least time between two reports of a policy that differ in more than their message.
    pub settle: Duration,
    /// The least time between two reports that differ in their message only.
    pub refresh: Duration,
}

impl Default for ReportIntervals {
    fn default() -> Self {
        Self {
            awaiting: Duration::from_millis(500),
            idle: Duration::from_secs(10),
            settle: Duration::from_secs(10),
            refresh: Duration::from_secs(60),
        }
    }
}

/// The policies, and what was reported of them.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    intervals: ReportIntervals,
    snapshot: Option<Arc<Snapshot>>,
    /// The step of each policy's last change and what it needs of a client, by the name of the
    /// resource; also of those that stand for no object of their own.
    steps: BTreeMap<String, (u64, Capabilities)>,
    policies: BTreeMap<Name, Policy>,
    /// An outcome is awaited that was not reported yet.
    is_awaiting: bool,
}

#[derive(Debug)]
struct Policy {
    resource: String,
    /// Its other conditions, which are written with this one.
    conditions: Arc<Conditions>,
    reported: Option<Reported>,
    /// When it was first found not to be acknowledged by all.
    pending_since: Option<Instant>,
}

impl Tracker {
    pub fn new(intervals: ReportIntervals) -> Self {
        Self { intervals, ..Self::default() }
    }

    /// Takes a newer snapshot.
    pub fn set_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let seen = self.snapshot.as_ref().map_or(0, |before| before.step());
        let seen = match snapshot.mesh().removed_after(POLICIES, seen) {
            Some(gone) => {
                for name in gone {
                    self.steps.remove(name);
                }
                seen
            }
            // The log no longer has all removals.
            None => {
                self.steps.clear();
                0
            }
        };
        let changed = snapshot.mesh().changed_after(POLICIES, seen);
        self.steps.extend(changed.map(|(step, needs, resource)| (resource.name.to_owned(), (step, needs))));
        self.snapshot = Some(snapshot);
    }

    /// Tells whether a policy is sent under this name.
    pub fn is_sent(&self, resource: &str) -> bool {
        self.steps.contains_key(resource)
    }

    /// Sets the other conditions of a policy as of the snapshot taken last; without any it is gone.
    pub fn set_conditions(&mut self, name: &Name, conditions: Option<Arc<Conditions>>) {
        let Some(conditions) = conditions else {
            self.policies.remove(name);
            return;
        };
        self.is_awaiting = true;
        match self.policies.get_mut(name) {
            Some(policy) => policy.conditions = conditions,
            None => {
                let policy =
                    Policy { resource: name.to_string(), conditions, reported: None, pending_since: None };
                self.policies.insert(name.clone(), policy);
            }
        }
    }

    /// Removes all policies for which this does not hold.
    pub fn retain(&mut self, exists: impl Fn(&Name) -> bool) {
        self.policies.retain(|name, _| exists(name));
    }

    /// Takes over what another replica reported, unless this one has reported something since.
    pub fn adopt(&mut self, name: &Name, stored: Option<Reported>) {
        if let Some(policy) = self.policies.get_mut(name).filter(|policy| policy.reported.is_none()) {
            policy.reported = stored;
        }
    }

    /// Returns what is to become of the condition of a policy.
    pub fn distribution(&self, name: &Name) -> Distribution {
        match self.policies.get(name) {
            Some(policy) if !self.steps.contains_key(&policy.resource) => Distribution::Remove,
            Some(Policy { reported: Some(reported), .. }) => Distribution::Set(reported.clone()),
            _ => Distribution::Keep,
        }
    }

    /// Returns the other conditions of a policy.
    pub fn conditions(&self, name: &Name) -> Option<Arc<Conditions>> {
        self.policies.get(name).map(|policy| policy.conditions.clone())
    }

    /// Evaluates all policies; returns those of which something new is to be reported.
    pub fn evaluate(&mut self, summary: &AckSummary, now: Instant) -> Vec<Name> {
        let Self { intervals, steps, policies, .. } = self;
        let mut is_awaiting = false;
        let mut changed = Vec::new();
        for (name, policy) in policies {
            let Some(&(step, needs)) = steps.get(&policy.resource) else {
                policy.pending_since = None;
                if policy.reported.take().is_some() {
                    changed.push(name.clone());
                }
                continue;
            };
            // Few policies are withheld from some clients.
            let narrow =
                (needs != 0).then(|| summary.of_nodes_with(|capabilities| !is_withheld(needs, capabilities)));
            let summary = narrow.as_ref().unwrap_or(summary);
            match policy.evaluate(step, summary, intervals, now) {
                Decision::Keep => {}
                Decision::Wait => is_awaiting = true,
                Decision::Report => {
                    is_awaiting = true;
                    changed.push(name.clone());
                }
            }
        }
        self.is_awaiting = is_awaiting;
        changed
    }

    /// Returns how long after an evaluation the next one is due.
    pub fn interval(&self) -> Duration {
        if self.is_awaiting { self.intervals.awaiting } else { self.intervals.idle }
    }
}

/// What an evaluation of one policy leads to.
enum Decision {
    /// What was reported stays, until nodes or the policy change.
    Keep,
    /// What was reported stays for now, but another evaluation is due soon.
    Wait,
    /// Something new was recorded as reported.
    Report,
}

impl Policy {
    fn evaluate(
        &mut self,
        step: u64,
        summary: &AckSummary,
        intervals: &ReportIntervals,
        now: Instant,
    ) -> Decision {
        let sent = SentPolicy { name: &self.resource, step };
        // No node is connected: what was reported stays.
        let Some(outcome) = summary.outcome(sent) else { return Decision::Keep };
        if outcome == Outcome::Pending {
            let since = *self.pending_since.get_or_insert(now);
            if now < since + intervals.settle {
                return Decision::Wait;
            }
        } else {
            self.pending_since = None;
        }
        let generation = self.conditions.generation;
        if let Some(reported) = &self.reported {
            let is_same = reported.condition.reason == outcome.reason() && reported.generation == generation;
            if !is_same && reported.is_younger(intervals.settle, now) {
                return Decision::Wait;
            }
            // The number of nodes in the message is that of when all had acknowledged it. A node that has been
            // pending for so long that it was reported may never answer: its message is refreshed rarely.
            let is_current = is_same
                && (outcome == Outcome::Acknowledged
                    || reported.is_younger(intervals.refresh, now)
                    || reported.condition.message == summary.condition(sent, outcome).message);
            if is_current {
                return Decision::Keep;
            }
        }
        let condition = summary.condition(sent, outcome);
        self.reported = Some(Reported { condition, generation, at: Some(now) });
        Decision::Report
    }
}

#[cfg(test)]
mod tests;
