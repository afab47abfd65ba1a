//! The domain graph: facts in; encoded resources, conditions and diagnostics out.
//!
//! ```text
//! Event ──▶ facts ──▶ settings, namespaces, waypoints, networks
//!  (store)    │            │
//!             ├──▶ services ──────────┬──▶ selection (memo per namespace and labels)
//!             ├──▶ policies, peers ───┘            │
//!             └──▶ workloads ◀─────────────────────┘
//!                      │ ╰─ of other networks ──▶ summaries behind gateways
//!                      ▼
//!                 Delta: resources by name, as bytes
//! ```
//!
//! [`Mesh::apply`] is synchronous and pure: the daemon, the command line, tests, benchmarks and
//! fuzzers call the same function. Equal facts give equal bytes, whatever the order of events.
//!
//! Invariants:
//! * Work is proportional to what changed: a pod's change touches that pod, a policy's rules touch
//!   that policy's resource.
//! * A policy that a workload names is always among the resources.
//! * What cannot be understood never takes away what was good, and never allows more.

mod allocation;
mod condition;
mod delta;
mod diagnostics;
mod dialect;
mod encode;
mod event;
mod graph;
mod guard;
mod key;
mod namespace;
mod network;
mod options;
mod peer;
mod policy;
mod policy_row;
mod scope;
mod selection;
mod service;
mod service_entry;
mod settings;
mod split_horizon;
mod store;
mod waypoint;
mod workload;

pub use allocation::{AddressRequest, AddressTrouble, Allocator, Assignment, Ipv4Pool, Ipv6Pool, Pools};
pub use condition::{Condition, Conditions};
pub use delta::{ConditionsChange, Delta, ResourceChange, ResourceKind};
pub use dialect::understood_by;
pub use event::Event;
pub use options::{Options, TrafficDistribution};
pub use settings::config_map;

pub use engine::{StageStats, Trace};

use engine::Graph;
use model::Kind;
use std::sync::Arc;

use crate::graph::Sinks;
use crate::store::{Facts, Listings};

/// The mesh as this control plane sees it. It has one writer.
pub struct Mesh {
    graph: Graph,
    facts: Facts,
    sinks: Sinks,
    listings: Listings,
    cluster: String,
    revision: String,
    /// The ConfigMap with the mesh settings.
    settings_map: model::Name,
}

impl Mesh {
    /// Makes an empty mesh.
    pub fn new(options: &Options) -> Self {
        let (graph, facts, sinks) = graph::declare(options);
        let settings_map = settings::map_name(options);
        let (cluster, revision) = (options.cluster_id.clone(), options.revision.clone());
        Self { graph, facts, sinks, listings: Listings::default(), cluster, revision, settings_map }
    }

    /// Applies events as one commit and returns what changed for clients.
    ///
    /// Until [`Mesh::is_synced`] nothing is computed: part of a mesh serves nobody, and pods that
    /// are listed before their services would be computed twice.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Delta {
        for event in events {
            self.listings.feed(&self.facts, &mut self.graph, event);
        }
        if !self.is_synced() {
            return Delta::default();
        }
        self.graph.commit();
        Delta::collect(&mut self.graph, &self.facts, &self.sinks, &self.cluster)
    }

    /// Tells whether every kind has been listed once.
    pub fn is_synced(&self) -> bool {
        self.listings.are_complete()
    }

    /// Returns the kinds that have not been listed yet.
    pub fn missing(&self) -> Vec<Kind> {
        self.listings.missing()
    }

    /// Returns every resource, in a fixed order: services, workloads, authorizations, of each first
    /// those of one source, then those of the next, ascending by key. This walks the mesh: it is meant for people and tests.
    pub fn resources(&self) -> Vec<ResourceChange> {
        delta::all(&self.graph, &self.sinks, &self.cluster)
    }

    /// Returns the conditions of every object that has a status of ours, ascending by kind and name.
    /// This walks the mesh, as a newly elected writer does.
    pub fn conditions(&self) -> Vec<ConditionsChange> {
        delta::all_conditions(&self.graph, &self.sinks)
    }

    /// Returns the conditions of one object; `None` when it has no status of ours.
    pub fn conditions_of(&self, object: &model::ObjectRef) -> Option<Arc<Conditions>> {
        delta::conditions_of(&self.graph, &self.sinks, object)
    }

    /// Returns what the resource of this name was made from, `depth` levels down.
    ///
    /// Names of pods, services, network gateways, endpoints and policies are known.
    pub fn why(&self, resource: &str, depth: usize) -> Option<Trace> {
        delta::why(&self.graph, &self.sinks, &self.cluster, resource, depth)
    }

    /// Returns the counters of every table, in order of declaration.
    pub fn stats(&self) -> Vec<StageStats> {
        self.graph.stats()
    }
}
