//! Conditions of Istio's kinds. Istio has none of its own for what these say; the types have a prefix of ours.

use output::Condition;

pub(super) const ACCEPTED: &str = "pilothouse.io/Accepted";
pub(super) const PARTIALLY_INVALID: &str = "pilothouse.io/PartiallyInvalid";

/// The reason of those of whose hosts none is there.
pub(super) const NO_MATCHING_HOST: &str = "NoMatchingHost";
/// The reason of those that are for no namespace where they would count.
pub(super) const NOT_EXPORTED: &str = "NotExported";

/// How many things a message names.
const NAMED: usize = 3;

/// A condition that is True.
pub(super) fn right(kind: &'static str, reason: &'static str, message: String) -> Condition {
    Condition { kind, status: true, reason, message }
}

/// Returns the first of a list, and how many more there are.
pub(super) fn some_of(all: &[String]) -> String {
    let first = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
