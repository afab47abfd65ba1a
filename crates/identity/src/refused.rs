//! Why a call is refused: what the client is told, and what the log tells.

use ca::{Code, Refusal};
use limits::Refill;

/// A refusal on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status code of the answer.
    pub code: Code,
    /// A short name of a fixed set, for metrics.
    pub reason: &'static str,
    /// The whole truth, for the log.
    pub detail: String,
}

impl Refused {
    /// Something that the answer depends on is away; the client may come again.
    pub(super) fn unavailable(reason: &'static str, detail: String) -> Self {
        Self { code: Code::Unavailable, reason, detail }
    }

    /// More than a rate lets through.
    pub(super) fn rate_limited(refill: Refill) -> Self {
        Self { code: Code::ResourceExhausted, reason: "rate_limited", detail: refill.to_string() }
    }

    /// Who asks is not known.
    pub(super) fn unauthenticated(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { code: Code::Unauthenticated, reason, detail: detail.into() }
    }

    /// Returns what the client is told: whom we do not know learns nothing.
    pub fn message(&self) -> String {
        match self.code {
            Code::Unauthenticated => "request is not authenticated".to_owned(),
            _ => self.detail.clone(),
        }
    }
}

impl<R: Refusal> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Self { code: refusal.code(), reason: refusal.reason(), detail: refusal.to_string() }
    }
}
