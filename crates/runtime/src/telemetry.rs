//! Logs.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error, as text or as JSON objects. Calling it again changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(filter: &str, json: bool) -> Result<(), tracing_subscriber::filter::ParseError> {
    let wanted = EnvFilter::try_new(filter)?;
    // The library that watches folders warns of each that is removed, twice; the folder source logs what
    // matters of it.
    let filter = match "notify=error".parse() {
        Ok(directive) if !filter.contains("notify") => wanted.add_directive(directive),
        _ => wanted,
    };
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    // Colours are for people; a file or a collector would keep them as escapes.
    let lines = if std::io::stderr().is_terminal() { lines } else { lines.with_ansi(false) };
    // A process that has logging already keeps it: tests start several servers.
    let _ = if json { lines.json().try_init() } else { lines.try_init() };
    Ok(())
}
