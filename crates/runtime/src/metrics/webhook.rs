//! What is read of the webhook, under the names that istiod has.

use super::samples::Samples;
use crate::webhook::WebhookStats;
use std::fmt;

pub(super) fn encode(out: &mut Samples<'_>, stats: &WebhookStats) -> fmt::Result {
    let passed = stats.passed().into_iter().map(|([group, version, resource], count)| {
        ([("group", group), ("version", version), ("resource", resource)], count)
    });
    out.counters_by("galley_validation_passed", "Objects that the webhook let pass.", passed)?;
    let failed = stats.failed().into_iter().map(|([group, version, resource], reason, count)| {
        ([("group", group), ("version", version), ("resource", resource), ("reason", reason.label())], count)
    });
    out.counters_by(
        "galley_validation_failed",
        "Objects that the webhook denied, without dry runs.",
        failed,
    )?;
    let statuses =
        stats.statuses().into_iter().map(|(status, count)| ([("status", status.to_string())], count));
    out.counters_by(
        "galley_validation_http_error",
        "Requests to the webhook without a decision, by status.",
        statuses,
    )?;
    let [updates, failures] = stats.writes();
    out.counter("galley_validation_config_updates", "Configurations of the webhook written.", updates)?;
    out.counter(
        "galley_validation_config_update_error",
        "Configurations of the webhook that could not be written.",
        failures,
    )
}
