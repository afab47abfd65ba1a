//! What is decided about a write.

/// What is said of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It may be.
    Allowed {
        /// What its author should know.
        warnings: Vec<String>,
    },
    /// It may not be.
    Denied {
        /// Why, in a word.
        reason: Reason,
        /// What is wrong, where, and how to fix it.
        message: String,
        /// What its author should know besides.
        warnings: Vec<String>,
    },
}

/// Why an object is denied, as the metric of denials has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The object is not there, or is no JSON object.
    Unreadable,
    /// The kind is not known.
    UnknownKind,
    /// It is not valid.
    Invalid,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Unreadable, Self::UnknownKind, Self::Invalid];

    /// Returns the value of the label `reason` that dashboards of istiod know.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "yaml_decode_error",
            Self::UnknownKind => "unknown_type",
            Self::Invalid => "invalid_resource",
        }
    }
}

impl Decision {
    /// Tells whether the write may be.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// Returns what the author should know.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Allowed { warnings } | Self::Denied { warnings, .. } => warnings,
        }
    }

    pub(crate) fn allowed() -> Self {
        Self::Allowed { warnings: Vec::new() }
    }

    pub(crate) fn denied(reason: Reason, message: impl Into<String>) -> Self {
        Self::Denied { reason, message: message.into(), warnings: Vec::new() }
    }
}
