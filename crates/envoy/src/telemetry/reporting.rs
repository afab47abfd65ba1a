//! What a gateway logs, counts and traces, with the clusters that it sends that by.

use mesh::telemetry::{MetricRules, SinkAt, Traced};
use model::{Name, Str, TrustDomain};
use std::sync::Arc;

/// What is logged, counted and traced.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Reporting {
    /// In order.
    pub logs: Vec<Log>,
    /// What of metrics is otherwise than by default; `None` where nothing is counted.
    pub metrics: Option<MetricRules>,
    /// By how many combinations of labels is counted, in all that an Envoy counts.
    pub label_sets: u32,
    /// Where spans go, if there are any.
    pub tracer: Option<Tracer>,
}

impl Reporting {
    /// Tells whether none of it is sent to a service, to which the way may differ from gateway to gateway.
    pub fn has_no_service(&self) -> bool {
        self.tracer.is_none() && self.logs.iter().all(|log| log.cluster.is_none())
    }
}

/// A log that is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Log {
    /// Where to.
    pub at: Arc<SinkAt>,
    /// The cluster of its service, if it is one.
    pub cluster: Option<String>,
    /// Of what: an expression in CEL; `None` for everything.
    pub filter: Option<Str>,
}

/// Where spans go, and which there are.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tracer {
    /// Where to.
    pub at: Arc<SinkAt>,
    /// The cluster of its service.
    pub cluster: String,
    /// Which there are.
    pub of: Traced,
    /// Who makes them.
    pub gateway: Name,
    /// The trust domain of the mesh, by which spans say which one it is.
    pub mesh_id: TrustDomain,
}
