//! `Telemetry`: what gateways log, count and trace, for whom it holds, and by which providers of the mesh settings.
//!
//! ```text
//! Telemetry ── attach ──▶ TelemetryRules, by target ─┐
//! defaultProviders, accessLogFile, tracing ──────────┴─ effective ──▶ Effective: providers by name
//! extensionProviders, services ── resolve ──▶ ResolvedSink, by name
//! ```
//!
//! What is more specific goes on top of what is less so: the root namespace, the namespace of the gateway, its class, the
//! gateway, the namespace of a service, the service. Of several at one place the oldest holds.

mod code;
mod effective;
mod finding;
mod sink;

pub use effective::{Effective, LogTo, MetricRules, Traced, effective};
pub(crate) use finding::{Findings, declare_findings};
pub(crate) use sink::declare as declare_sinks;
pub use sink::{ResolvedSink, SinkAt};

use engine::{Builder, Cx, Table};
use model::facts::{AccessLogging, Meta, Metrics, Telemetry, Tracing};
use model::{Name, Ns};

use crate::policy::{PolicyTarget, targets};

/// What a `Telemetry` says, and of what.
#[derive(Clone, PartialEq, Debug)]
pub struct TelemetryRules {
    /// What it is for; one of them is enough.
    pub targets: Vec<PolicyTarget>,
    /// When it was created, in seconds since 1970: of several for one target the oldest holds.
    pub created: i64,
    /// What is logged, in order.
    pub access_logging: Vec<AccessLogging>,
    /// What is counted, in order.
    pub metrics: Vec<Metrics>,
    /// What is traced, in order.
    pub tracing: Vec<Tracing>,
}

/// Declares what each says that is for gateways.
pub(crate) fn declare(
    b: &mut Builder,
    telemetries: Table<Name, Telemetry>,
    root_namespace: Table<(), Ns>,
    in_scope: impl Fn(&Cx<'_>, &Meta) -> bool + Send + 'static,
) -> Table<Name, TelemetryRules> {
    b.derive("telemetry_rules", telemetries, move |cx, name, of| {
        if !in_scope(cx, &of.meta) {
            return None;
        }
        let root = cx.single(root_namespace)?;
        let targets = match (of.target_refs.as_slice(), of.has_selector) {
            ([], true) => Vec::new(),
            ([], false) => vec![PolicyTarget::Namespace(name.ns.clone())],
            (refs, _) => targets(&name.ns, refs, &root),
        };
        Some(TelemetryRules {
            targets,
            created: of.meta.created,
            access_logging: of.access_logging.clone(),
            metrics: of.metrics.clone(),
            tracing: of.tracing.clone(),
        })
    })
}
