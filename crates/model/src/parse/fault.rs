//! What is not valid of a rule of a route: the rest of it, and other rules, are read all the same.

use crate::facts::RouteFault;

/// What of a rule is not valid, as it is found.
#[derive(Default)]
pub(super) struct Faults(Vec<RouteFault>);

/// A part of a manifest that was lowered, or the field below it that is not valid and why.
pub(super) type Lowered<T> = Result<T, (String, String)>;

impl Faults {
    /// Returns all, in the order in which they were found.
    pub(super) fn into_list(self) -> Vec<RouteFault> {
        self.0
    }

    /// Returns what is valid; remembers what is not, below the field `at`.
    pub(super) fn take<T>(&mut self, at: &str, lowered: Lowered<T>) -> Option<T> {
        lowered.map_err(|(field, message)| self.0.push(RouteFault { field: join(at, &field), message })).ok()
    }
}

/// Returns the path of a field below another.
pub(super) fn join(at: &str, field: &str) -> String {
    if field.is_empty() { at.to_owned() } else { format!("{at}.{field}") }
}
