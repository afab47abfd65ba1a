//! Errors of the client in one line.

use ::kube::Error;
use std::fmt;

/// Returns what an API server answered, or why there was no answer, in one line.
pub fn error_message(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => status.message.trim_end_matches('.').to_owned(),
        other => root_cause(other),
    }
}

/// Returns the innermost cause of an error, which is the specific one.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // Some causes draw the place that they mean on further lines; the first one says it.
    let text = innermost.to_string();
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Returns the name of a resource in RBAC and on the command line: `gateways.gateway.networking.k8s.io`.
pub(crate) fn resource_name(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// A right that is missing; as text, a sentence that says how to grant it.
pub(crate) struct MissingRight<'a> {
    /// What could not be done.
    pub(crate) verb: &'a str,
    /// The verbs that it takes.
    pub(crate) verbs: &'a str,
    /// The API group of the resource.
    pub(crate) group: &'a str,
    /// Its plural name.
    pub(crate) plural: &'a str,
    /// Its subresource with a slash before it, or nothing.
    pub(crate) part: &'a str,
}

impl fmt::Display for MissingRight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, verbs, part, .. } = self;
        let what = format!("{}{part}", resource_name(self.group, self.plural));
        write!(
            f,
            "not allowed to {verb} {what}; grant {verbs} on {what} to this user, as the chart's ClusterRole does; the \
             mesh is served all the same"
        )
    }
}
