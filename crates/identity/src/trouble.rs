//! What can be wrong with key material, and the news of it.

use std::fmt;

/// Of which kind a trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// What has to be there is not there.
    Missing,
    /// What is there cannot be used, or does not follow from what is in force.
    Refused,
    /// What is there cannot be known.
    Unreadable,
    /// What has to be stored cannot be.
    Unwritable,
}

impl TroubleKind {
    /// Returns a name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Unwritable => "unwritable",
        }
    }

    /// Returns the reason that an event gives.
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "KeyMaterialMissing",
            Self::Refused => "KeyMaterialRefused",
            Self::Unreadable => "KeyMaterialUnreadable",
            Self::Unwritable => "KeyMaterialUnwritable",
        }
    }
}

/// Something that is wrong with key material. Its text names files and subjects, never a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Of which kind it is.
    pub kind: TroubleKind,
    /// The Secret that it is about; nothing where it is about files.
    pub secret: Option<&'static str>,
    /// What is wrong, and how to mend it.
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The news that something is wrong with key material, or is so no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is over.
    pub is_over: bool,
    /// The reason that an event gives.
    pub reason: &'static str,
    /// The Secret that it is about; nothing where it is about files.
    pub secret: Option<&'static str>,
    /// What there is to say.
    pub text: String,
}

impl Notice {
    /// Tells that something is wrong.
    pub(super) fn of(trouble: &Trouble) -> Self {
        let Trouble { kind, secret, text } = trouble;
        Self { is_over: false, reason: kind.reason(), secret: *secret, text: text.clone() }
    }

    /// Tells that it is so no more, and where what is in force is from.
    pub(super) fn end(trouble: &Trouble, source: &str) -> Self {
        let text = format!("key material of {source} is in force, and nothing is wrong with it any more");
        Self { is_over: true, reason: "KeyMaterialInForce", secret: trouble.secret, text }
    }
}
