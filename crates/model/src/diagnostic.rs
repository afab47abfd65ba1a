//! What was wrong with an input, where, and how to fix it.

use crate::ObjectRef;
use std::fmt;

/// How much a finding matters; ordered with the worst first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The file, the object, or a part of it, is refused.
    Error,
    /// The object is taken, but something written has no effect, or not the expected one.
    Warning,
    /// Worth knowing; nothing is lost.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The path as the user gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1; 0 when only the line is known.
    pub column: usize,
}

/// One finding about one input.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Diagnostic {
    /// A stable code such as `AP001`, listed in `docs/reference/diagnostics.md`.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The object concerned, if the input got far enough to name one.
    pub object: Option<ObjectRef>,
    /// The field, as in `spec.rules[1].to[0].operation.ports[0]`; empty for the whole object.
    pub field: String,
    /// What is wrong: one line, lowercase, no final period.
    pub message: String,
    /// How to fix it; empty when the message says it all.
    pub help: String,
    /// Where the object was written, for inputs from files.
    pub place: Option<Place>,
}

impl Diagnostic {
    /// Returns what makes two findings one, whoever tells it: everything but the place.
    pub fn identity(&self) -> (&'static str, Severity, &Option<ObjectRef>, [&str; 3]) {
        (self.code, self.severity, &self.object, [&self.field, &self.message, &self.help])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(p) = &self.place {
            write!(f, "{}:{}:{}: ", p.file, p.line, p.column)?;
        }
        if let Some(o) = &self.object {
            write!(f, "{o}")?;
            if !self.field.is_empty() {
                write!(f, ", {}", self.field)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, " (help: {})", self.help)?;
        }
        Ok(())
    }
}
