//! Standard output and standard error, of which the reader may go away at any time.

use anyhow::anyhow;
use std::io::{self, ErrorKind, Write};

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
