//! Why a row is what it is.

use std::fmt;

/// A row, or an index key, and what it was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The name of the table or index.
    pub table: &'static str,
    /// The key, as its `Debug` form.
    pub key: String,
    /// Whether there was a row; an absent row is a reason too.
    pub present: bool,
    /// What was read to make it, each once.
    pub reads: Vec<Trace>,
    /// Whether reads exist below that were not followed.
    pub truncated: bool,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn line(t: &Trace, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mark = if t.present { "" } else { " (absent)" };
            writeln!(f, "{:indent$}{} {}{mark}", "", t.table, t.key, indent = depth * 2)?;
            t.reads.iter().try_for_each(|r| line(r, depth + 1, f))
        }
        line(self, 0, f)
    }
}
