//! What Envoys count and write of what they pass on.
//!
//! ```text
//! CONNECT: baggage, certificate ──▶ pilothouse.caller ─┐
//! cluster: istio.service ──────────────────────────────┼──▶ istio.requests_total{from,to,service,…}
//! endpoint: istio.workload ────────────────────────────┘                  │ labels.lua, where metrics are read
//!                                                                         ▼
//!                                      istio_requests_total{source_workload,…,destination_service,…}
//! ```
//!
//! Upstream's Envoy has no extension that counts as Istio's does, but one that counts by any text of an access log.
//! Each tag is a text that Envoy makes for every request, and keeps for each combination. So what belongs together is
//! one tag, and becomes the labels that dashboards know when somebody reads them.

mod access_log;
mod caller;
mod metrics;
mod reporting;
mod tracing;

pub(crate) use access_log::{of_connects, of_requests, of_streams};
pub(crate) use caller::{CALLER, baggage, caller};
pub(crate) use metrics::{SERVICE, WORKLOAD, metadata};
pub(crate) use reporting::{Log, Reporting, Tracer};
pub(crate) use tracing::{Spans, traced};

/// Gives metrics the names and labels that Istio's have. Runs where metrics are read.
pub(crate) const LABELS: &str = include_str!("labels.lua");
