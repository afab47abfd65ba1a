//! What is wrong with the folder, where, and how to fix it.

use std::fmt;
use std::sync::Arc;

use model::Severity;

use crate::key::Key;

/// One problem: the place, the sentence and the way out. Ordered by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path of the file, as the caller gave it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// How much it matters.
    pub severity: Severity,
    /// The stable code, one of [`crate::code`].
    pub code: &'static str,
    /// The object that it is about, where one could be found.
    pub object: Option<Key>,
    /// The field of the object, such as `spec.ports[0].port`; empty for the whole of it.
    pub field: String,
    /// What is wrong: lowercase, no final period.
    pub message: String,
    /// How to fix it; empty when the message says it all.
    pub help: String,
}

impl fmt::Display for Problem {
    /// Writes `file:line:column: severity[code]: object, field: message (help)` on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}[{}]: ", self.file, self.line, self.column, self.severity, self.code)?;
        if let Some(object) = &self.object {
            write!(f, "{object}")?;
            if !self.field.is_empty() {
                write!(f, ", {}", self.field)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " (help: {})", self.help) }
    }
}
