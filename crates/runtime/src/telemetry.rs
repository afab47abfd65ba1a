//! Logs.

mod fields;
mod json;
mod libraries;
#[cfg(test)]
mod tests;

use fields::PrintableFields;
use libraries::LibraryWarnings;
use std::io::{self, IsTerminal};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends log lines to standard error, as text or as JSON objects. Calling it again changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(filter: &str, json: bool) -> Result<(), ParseError> {
    // A process that has logging already keeps it: tests start several servers.
    let _ = lines(filter, json, io::stderr().is_terminal(), io::stderr)?.try_init();
    Ok(())
}

/// Returns what writes events as lines, one for each: whatever a message or a field holds is made
/// printable here, so that nobody who logs has to think of it.
///
/// # Errors
/// When the filter cannot be read.
fn lines<W>(filter: &str, json: bool, colours: bool, writer: W) -> Result<Dispatch, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let wanted = EnvFilter::try_new(filter)?;
    // The library that watches folders warns of each that is removed, twice; the folder source logs what
    // matters of it.
    let filter = match "notify=error".parse() {
        Ok(directive) if !filter.contains("notify") => wanted.add_directive(directive),
        _ => wanted,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(writer)
        .fmt_fields(PrintableFields)
        // Colours are for people; a file or a collector would keep them as escapes.
        .with_ansi(colours && !json);
    let warnings = LibraryWarnings::default();
    Ok(if json {
        lines.event_format(json::JsonLines).finish().with(warnings).into()
    } else {
        lines.finish().with(warnings).into()
    })
}
