//! Standard output and standard error, of which the reader may go away at any time.

use crate::table::Room;
use anyhow::anyhow;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes to standard output. A reader that has gone, as in `… | head`, has what it wanted.
///
/// # Errors
/// When the text cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, if anyone reads it.
pub fn complain(line: &str) {
    // There is no other place to tell of a failure.
    let _ = writeln!(io::stderr().lock(), "{line}");
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
