//! Logs, and what is logged: by a filter that can be changed while the process runs.

mod fields;
mod json;
mod libraries;
#[cfg(test)]
mod tests;

use fields::PrintableFields;
use libraries::LibraryWarnings;
use parking_lot::Mutex;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends log lines to standard error, as text or as JSON objects. Calling it again changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(filter: &str, json: bool) -> Result<(), ParseError> {
    let (lines, reload) = lines(filter, json, io::stderr().is_terminal(), io::stderr)?;
    // A process that has logging already keeps it: tests start several servers.
    if lines.try_init().is_ok() {
        let _ = FILTER.set(Filter { text: Mutex::new(filter.to_owned()), reload });
    }
    Ok(())
}

/// The filter of this process, once it logs.
static FILTER: OnceLock<Filter> = OnceLock::new();

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct Filter {
    text: Mutex<String>,
    reload: Reload,
}

/// Returns what is logged, as a filter; nothing where this process does not log by itself.
pub fn filter() -> Option<String> {
    FILTER.get().map(|filter| filter.text.lock().clone())
}

/// Logs by another filter from now on.
///
/// # Errors
/// In words, when it cannot be read, or this process does not log by itself.
pub fn set_filter(text: &str) -> Result<(), String> {
    let Some(filter) = FILTER.get() else { return Err("this process has no log of its own".to_owned()) };
    let wanted = wanted(text).map_err(|error| error.to_string())?;
    let mut current = filter.text.lock();
    (filter.reload)(wanted).map_err(|error| error.to_string())?;
    text.clone_into(&mut current);
    Ok(())
}

/// Reads a filter.
fn wanted(text: &str) -> Result<EnvFilter, ParseError> {
    let wanted = EnvFilter::try_new(text)?;
    // The library that watches folders warns of each that is removed, twice; the folder source logs what
    // matters of it.
    Ok(match "notify=error".parse() {
        Ok(directive) if !text.contains("notify") => wanted.add_directive(directive),
        _ => wanted,
    })
}

/// Returns what writes events as lines, one for each: whatever a message or a field holds is made
/// printable here, so that nobody who logs has to think of it. And what changes their filter.
///
/// # Errors
/// When the filter cannot be read.
fn lines<W>(filter: &str, json: bool, colours: bool, writer: W) -> Result<(Dispatch, Reload), ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(wanted(filter)?)
        .with_target(false)
        .with_writer(writer)
        .fmt_fields(PrintableFields)
        // Colours are for people; a file or a collector would keep them as escapes.
        .with_ansi(colours && !json);
    let warnings = LibraryWarnings::default();
    let (lines, reload): (Dispatch, Reload) = if json {
        let lines = lines.event_format(json::JsonLines).with_filter_reloading();
        let handle = lines.reload_handle();
        (lines.finish().with(warnings).into(), Box::new(move |filter| handle.reload(filter)))
    } else {
        let lines = lines.with_filter_reloading();
        let handle = lines.reload_handle();
        (lines.finish().with(warnings).into(), Box::new(move |filter| handle.reload(filter)))
    };
    Ok((lines, reload))
}
