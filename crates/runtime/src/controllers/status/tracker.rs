//! What is said of each policy's distribution, and when: pure, for `now` is given.
//!
//! Sparingly: nodes that come and go, and policies that all nodes acknowledge at once, cost no write
//! but the one that says so.

use super::distribution::{Distribution, Said, Sent, Survey, Verdict};
use model::Name;
use plane::Conditions;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use xds::{Capabilities, ResourceType, Snapshot, is_withheld};

const POLICIES: ResourceType = ResourceType::Authorization;

/// How often nodes are looked at, and how often anything is said of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks while something is awaited that was not said yet.
    pub look: Duration,
    /// Between two looks otherwise.
    pub review: Duration,
    /// For how long a policy is awaited before it is said to be pending, and the least time between
    /// two statements of a policy that differ in more than their message.
    pub settle: Duration,
    /// The least time between two statements that differ in their message.
    pub refresh: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(500),
            review: Duration::from_secs(10),
            settle: Duration::from_secs(10),
            refresh: Duration::from_secs(60),
        }
    }
}

/// The policies, and what was said of them.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    pace: Pace,
    snapshot: Option<Arc<Snapshot>>,
    /// The step of each policy's last change and what it needs of a client, by the name of the
    /// resource; also of those that stand for no object of their own.
    steps: BTreeMap<String, (u64, Capabilities)>,
    policies: BTreeMap<Name, Policy>,
    /// Something is awaited that was not said yet.
    is_open: bool,
}

#[derive(Debug)]
struct Policy {
    resource: String,
    /// Its other conditions, which are written with this one.
    row: Arc<Conditions>,
    said: Option<Said>,
    /// When it was first found not to be acknowledged by all.
    pending_since: Option<Instant>,
}

impl Tracker {
    pub fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Takes a newer snapshot.
    pub fn advance(&mut self, snapshot: Arc<Snapshot>) {
        let seen = self.snapshot.as_ref().map_or(0, |before| before.step());
        let seen = match snapshot.mesh().removed_after(POLICIES, seen) {
            Some(gone) => {
                for name in gone {
                    self.steps.remove(name);
                }
                seen
            }
            // Some of what is gone is forgotten.
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

    /// Takes the other conditions of a policy as of the snapshot taken last; without any it is gone.
    pub fn put(&mut self, name: &Name, row: Option<Arc<Conditions>>) {
        let Some(row) = row else {
            self.policies.remove(name);
            return;
        };
        self.is_open = true;
        match self.policies.get_mut(name) {
            Some(policy) => policy.row = row,
            None => {
                let policy = Policy { resource: name.to_string(), row, said: None, pending_since: None };
                self.policies.insert(name.clone(), policy);
            }
        }
    }

    /// Forgets all policies that are not among these.
    pub fn retain(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.policies.retain(|name, _| is_there(name));
    }

    /// Takes over what another replica said, unless this one has spoken since.
    pub fn adopt(&mut self, name: &Name, found: Option<Said>) {
        if let Some(policy) = self.policies.get_mut(name).filter(|policy| policy.said.is_none()) {
            policy.said = found;
        }
    }

    /// Returns what a policy's status should say of its distribution.
    pub fn distribution(&self, name: &Name) -> Distribution {
        match self.policies.get(name) {
            Some(policy) if !self.steps.contains_key(&policy.resource) => Distribution::Gone,
            Some(Policy { said: Some(said), .. }) => Distribution::Is(said.clone()),
            _ => Distribution::Untouched,
        }
    }

    /// Returns the other conditions of a policy.
    pub fn row(&self, name: &Name) -> Option<Arc<Conditions>> {
        self.policies.get(name).map(|policy| policy.row.clone())
    }

    /// Judges all policies; returns those of which something else is to be said than before.
    pub fn look(&mut self, survey: &Survey, now: Instant) -> Vec<Name> {
        let Self { pace, steps, policies, .. } = self;
        let mut is_open = false;
        let mut news = Vec::new();
        for (name, policy) in policies {
            let Some(&(step, needs)) = steps.get(&policy.resource) else {
                policy.pending_since = None;
                if policy.said.take().is_some() {
                    news.push(name.clone());
                }
                continue;
            };
            // Few policies are not for every client.
            let narrow =
                (needs != 0).then(|| survey.of_those(|capabilities| !is_withheld(needs, capabilities)));
            let survey = narrow.as_ref().unwrap_or(survey);
            match policy.look(step, survey, pace, now) {
                Outcome::Nothing => {}
                Outcome::Later => is_open = true,
                Outcome::Say => {
                    is_open = true;
                    news.push(name.clone());
                }
            }
        }
        self.is_open = is_open;
        news
    }

    /// How long it takes until the next look.
    pub fn pause(&self) -> Duration {
        if self.is_open { self.pace.look } else { self.pace.review }
    }
}

enum Outcome {
    /// As before, until somebody comes or changes.
    Nothing,
    /// As before, but soon another look is due.
    Later,
    Say,
}

impl Policy {
    fn look(&mut self, step: u64, survey: &Survey, pace: &Pace, now: Instant) -> Outcome {
        let sent = Sent { name: &self.resource, step };
        // Nobody is there to tell: what was said stays.
        let Some(verdict) = survey.verdict(sent) else { return Outcome::Nothing };
        if verdict == Verdict::Pending {
            let since = *self.pending_since.get_or_insert(now);
            if now < since + pace.settle {
                return Outcome::Later;
            }
        } else {
            self.pending_since = None;
        }
        let generation = self.row.generation;
        if let Some(said) = &self.said {
            let is_same = said.condition.reason == verdict.reason() && said.generation == generation;
            if !is_same && said.is_younger(pace.settle, now) {
                return Outcome::Later;
            }
            // The number of nodes is that of when all had it. Who has been awaited for so long that it was
            // said may never come: that one is looked for now and then.
            let is_right = is_same
                && (verdict == Verdict::Acknowledged
                    || said.is_younger(pace.refresh, now)
                    || said.condition.message == survey.condition(sent, verdict).message);
            if is_right {
                return Outcome::Nothing;
            }
        }
        let condition = survey.condition(sent, verdict);
        self.said = Some(Said { condition, generation, at: Some(now) });
        Outcome::Say
    }
}

#[cfg(test)]
mod tests;
