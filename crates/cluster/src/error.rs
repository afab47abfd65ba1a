//! Errors of the client in one line.

use ::kube::Error;

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
