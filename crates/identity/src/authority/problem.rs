//! Problems with key material, and the notices about them.

use std::fmt;

/// The kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Required key material does not exist.
    Missing,
    /// The key material is invalid, or its roots do not follow from the active ones.
    Refused,
    /// The key material cannot be read.
    Unreadable,
    /// The key material cannot be stored.
    Unwritable,
}

impl ProblemKind {
    /// Returns the name used as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Unwritable => "unwritable",
        }
    }

    /// Returns the reason of a Kubernetes Event.
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "KeyMaterialMissing",
            Self::Refused => "KeyMaterialRefused",
            Self::Unreadable => "KeyMaterialUnreadable",
            Self::Unwritable => "KeyMaterialUnwritable",
        }
    }
}

/// A problem with key material. The text names files and subjects, never a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The Secret that is affected; `None` for files.
    pub secret: Option<&'static str>,
    /// What is wrong, and how to fix it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A notice that a problem with key material has appeared or is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether the problem is resolved.
    pub is_resolved: bool,
    /// The reason of the Kubernetes Event.
    pub reason: &'static str,
    /// The Secret that is affected; `None` for files.
    pub secret: Option<&'static str>,
    /// The message.
    pub text: String,
}

impl Notice {
    /// Announces a problem.
    pub fn of(problem: &Problem) -> Self {
        let Problem { kind, secret, text } = problem;
        Self { is_resolved: false, reason: kind.reason(), secret: *secret, text: text.clone() }
    }

    /// Announces that a problem is resolved; `source` is where the active key material comes from.
    pub fn resolved(problem: &Problem, source: &str) -> Self {
        let text = format!("key material of {source} is active, and has no problems any more");
        Self { is_resolved: true, reason: "KeyMaterialActive", secret: problem.secret, text }
    }
}
