use model::facts::{KeySource, Referent};
use model::{Name, ObjectRef, Str};
use output::{Findings, ResourceChange};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::identity::IdentityDelta;

/// What one commit changed. Of statuses it has names only: whoever writes them asks for their content.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// Changed resources, in the order in which clients are sent them: services, then workloads, then
    /// authorizations.
    pub resources: Vec<ResourceChange>,
    /// The nodes of the workloads that are new or another now.
    pub nodes: BTreeSet<Str>,
    /// The objects whose conditions changed, ascending.
    pub conditions: Vec<ObjectRef>,
    /// The gateways for which something else is deployed than before, or nothing any more, ascending.
    pub deployments: Vec<Name>,
    /// ServiceEntries that came, went, or ask for other automatic addresses than before.
    pub address_requests: Vec<Name>,
    /// What changed for identity, of [`Plane::identity`](crate::Plane::identity).
    pub identity: IdentityDelta,
    /// The diagnostics that began and ended.
    pub findings: Findings,
    /// What a source is to read, or is to read no more.
    pub referents: ReferentChanges,
    /// Where keys for tokens are published that are to be fetched from now on, and how long to wait for them; `None` of
    /// those that are not wanted any more. Ascending.
    pub keys: Vec<(KeySource, Option<Duration>)>,
}

/// What changed of [`Plane::wanted`](crate::Plane::wanted).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReferentChanges {
    /// What is wanted now, ascending.
    pub wanted: Vec<Referent>,
    /// What is not wanted any more, ascending.
    pub unwanted: Vec<Referent>,
}

impl ReferentChanges {
    /// Tells whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }
}

impl Delta {
    /// Tells whether no resource changed.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}
