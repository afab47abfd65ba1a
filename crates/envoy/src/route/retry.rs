//! Retries.

use model::facts::Retry;
use proto::envoy::any;
use proto::envoy::config::route::v3::RetryPolicy;
use proto::envoy::config::route::v3::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use crate::message::duration;

/// What is tried again unless authors name it, as istiod does.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const BY_CODE: &str = "retriable-status-codes";

/// Returns what holds where a rule says nothing.
pub(super) fn by_default() -> RetryPolicy {
    of(&default())
}

/// Tells whether these are the retries that there are without a word.
pub(super) fn is_default(retry: &Retry) -> bool {
    *retry == default()
}

fn default() -> Retry {
    Retry { attempts: 2, ..Retry::default() }
}

/// Returns the retries that a rule wants. Without any it is empty, which is in place of what holds otherwise.
pub(super) fn of(retry: &Retry) -> RetryPolicy {
    if retry.attempts == 0 {
        return RetryPolicy::default();
    }
    let previous = || RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    let priority = || RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(any(&PreviousPrioritiesConfig {
            update_frequency: 2,
        }))),
    };
    RetryPolicy {
        retry_on: conditions(retry),
        num_retries: Some(retry.attempts),
        retry_priority: retry.in_other_localities.then(priority),
        retry_host_predicate: (!retry.at_previous_hosts).then(previous).into_iter().collect(),
        host_selection_retry_max_attempts: if retry.at_previous_hosts { 0 } else { 5 },
        retriable_status_codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: retry.backoff.map(|backoff| RetryBackOff { base_interval: Some(duration(backoff)) }),
        ..RetryPolicy::default()
    }
}

fn conditions(retry: &Retry) -> String {
    let own = &retry.conditions;
    if own.is_empty() {
        return RETRY_ON.to_owned();
    }
    let by_code = (!retry.codes.is_empty() && !own.iter().any(|of| of == BY_CODE)).then_some(BY_CODE);
    own.iter().map(|of| of.as_str()).chain(by_code).collect::<Vec<_>>().join(",")
}
