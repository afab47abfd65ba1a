//! What is read of the controllers.

use super::samples::Samples;
use crate::controllers::StatusStats;
use cluster::WriterStats;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn encode(out: &mut Samples<'_>, stats: &StatusStats) -> fmt::Result {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let of_each = |of: &dyn Fn(&WriterStats) -> u64| {
        [
            ("addresses", of(&stats.addresses)),
            ("conditions", of(&stats.conditions)),
            ("deployments", of(&stats.deployments)),
            ("gateways", of(&stats.gateways)),
            ("unread", of(&stats.unread)),
        ]
    };
    let labelled = |of: &dyn Fn(&WriterStats) -> u64| of_each(of).map(|(what, n)| ([("what", what)], n));
    out.gauges(
        "pilothouse_status_leader",
        "Whether this replica writes them.",
        labelled(&|s| u64::from(s.is_leader.load(Ordering::Relaxed))),
    )?;
    out.counters(
        "pilothouse_status_writes_total",
        "what",
        "Statuses and deployed objects written.",
        of_each(&|s| read(&s.written)),
    )?;
    out.counters(
        "pilothouse_status_unchanged_total",
        "what",
        "Statuses and deployed objects looked at that were right already.",
        of_each(&|s| read(&s.unchanged)),
    )?;
    out.counters(
        "pilothouse_status_failures_total",
        "what",
        "Requests for statuses and deployed objects that failed; most are tried again.",
        of_each(&|s| read(&s.failed)),
    )?;
    out.gauges(
        "pilothouse_status_waiting",
        "Statuses and deployed objects that wait to be looked at.",
        labelled(&|s| read(&s.waiting)),
    )?;
    out.counter(
        "pilothouse_address_conflicts_total",
        "Automatic addresses with two claims.",
        read(&stats.address_conflicts),
    )?;
    out.gauge(
        "pilothouse_address_short",
        "ServiceEntries with a host for which no address is left.",
        read(&stats.without_address),
    )
}
