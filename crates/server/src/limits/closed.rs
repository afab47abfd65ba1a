//! Connections that the server closed, and why.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why the server closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was there for as long as connections are: its client connects again, perhaps to another replica.
    Aged,
    /// Its place was given to another connection: a newer one of the same client, or one of a client with fewer.
    Evicted,
    /// It broke rules of HTTP/2, or did what floods do.
    Http2,
    /// It had no call for too long.
    Idle,
    /// No caller on it was authenticated in time.
    NoCall,
    /// Too many of its calls were refused: of callers that are not known, or for what is not served.
    Refused,
    /// Its client did not read.
    Unread,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Aged, Self::Evicted, Self::Http2, Self::Idle, Self::NoCall, Self::Refused, Self::Unread];

    /// Returns its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aged => "aged",
            Self::Evicted => "evicted",
            Self::Http2 => "http2",
            Self::Idle => "idle",
            Self::NoCall => "no_call",
            Self::Refused => "refused",
            Self::Unread => "unread",
        }
    }
}

/// How many connections the server closed since the start, by reason.
#[derive(Debug, Default)]
pub struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    pub(crate) fn add(&self, reason: CloseReason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many were closed for this reason.
    pub fn count(&self, reason: CloseReason) -> u64 {
        self.0.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the counts, by the name of the reason.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        CloseReason::ALL.into_iter().map(|reason| (reason.name(), self.count(reason))).collect()
    }
}
