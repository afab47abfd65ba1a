//! Standard output and standard error, of which the reader may go away at any time.
//!
//! This is where text becomes output, and where it is made printable: whoever prints need not think of it.

use crate::table::Room;
use anyhow::anyhow;
use model::{Lines, printable, printable_json};
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Prints text for people.
///
/// # Errors
/// When it cannot be written.
pub fn print(lines: &Lines) -> anyhow::Result<()> {
    write(lines.as_str())
}

/// Prints JSON for programs, of the same value.
///
/// # Errors
/// When it cannot be written.
pub fn print_json(json: &str) -> anyhow::Result<()> {
    write(&printable_json(json))
}

/// Prints a text of several lines that holds nothing from outside, or nothing but strings that are printable
/// already.
///
/// # Errors
/// When it cannot be written.
pub fn print_document(text: &str) -> anyhow::Result<()> {
    write(text)
}

/// Writes to standard output. A reader that has gone, as in `… | head`, has what it wanted.
///
/// # Errors
/// When the text cannot be written for another reason, such as a full disk.
fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes one line to standard error, if anyone reads it.
pub fn complain(line: &str) {
    // There is no other place to tell of a failure.
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// Returns the room that standard output has for a table: `COLUMNS` where that is set, else the width
/// of the terminal; anything else than a terminal is as wide as it needs to be.
pub fn room() -> Room {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let out = io::stdout();
    let terminal = || terminal_size::terminal_size_of(&out).filter(|_| out.is_terminal());
    let columns = set.or_else(|| terminal().map(|(width, _)| usize::from(width.0)));
    columns.filter(|columns| *columns > 0).map_or(Room::Shortened, Room::Columns)
}
