//! Why a call is refused: the status that the client receives, and the details for the log.

use ca::{Code, Refusal};
use limits::{NoSlot, Refill};

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The gRPC status code.
    pub code: Code,
    /// A short reason from a fixed set, used as a metric label.
    pub reason: &'static str,
    /// The full reason, for the log.
    pub detail: String,
}

impl Refused {
    /// A dependency is unavailable; the client may retry.
    pub(crate) fn unavailable(reason: &'static str, detail: String) -> Self {
        Self { code: Code::Unavailable, reason, detail }
    }

    /// The client exceeded a rate limit.
    pub(crate) fn rate_limited(refill: Refill) -> Self {
        Self { code: Code::ResourceExhausted, reason: "rate_limited", detail: refill.to_string() }
    }

    /// The client's connection is about to end, for what else was called on it.
    pub fn ending_connection() -> Self {
        Self::unauthenticated("connection_ends", "too many calls on this connection were refused")
    }

    /// There is no place for one more connection of a client.
    pub fn no_place(error: NoSlot) -> Self {
        let detail = format!("{error} by ztunnels; run more replicas");
        Self { code: Code::ResourceExhausted, reason: "too_many_connections", detail }
    }

    /// The client could not be authenticated.
    pub(crate) fn unauthenticated(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { code: Code::Unauthenticated, reason, detail: detail.into() }
    }

    /// Returns the message for the client. An unauthenticated client is given no details.
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
