//! Why the server ended connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Another newcomer came, and its peer had most of their places.
    Displaced,
    /// It broke rules of HTTP/2, or did what floods do.
    Http2,
    /// It had no call for long.
    Idle,
    /// Nobody on it was known in time.
    NoCall,
    /// Too many of its calls were refused.
    Refused,
    /// Its client did not read.
    Unread,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Displaced, Self::Http2, Self::Idle, Self::NoCall, Self::Refused, Self::Unread];

    /// Returns its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Http2 => "http2",
            Self::Idle => "idle",
            Self::NoCall => "no_call",
            Self::Refused => "refused",
            Self::Unread => "unread",
        }
    }
}

/// Connections that the server ended, since the start.
#[derive(Debug, Default)]
pub struct Ends([AtomicU64; End::ALL.len()]);

impl Ends {
    pub(crate) fn add(&self, end: End) {
        if let Some(count) = self.0.get(end as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many ended for this.
    pub fn count(&self, end: End) -> u64 {
        self.0.get(end as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the counts, by name.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        End::ALL.into_iter().map(|end| (end.name(), self.count(end))).collect()
    }
}
