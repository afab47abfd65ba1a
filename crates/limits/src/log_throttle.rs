//! How many log lines a repeated event makes.
//!
//! A line names the client and the reason. Further events of the same client for the same reason are
//! counted and logged together after a while: a flood makes few lines, and a single event still has one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The least time between two lines of the log about the same event.
const INTERVAL: Duration = Duration::from_secs(10);

/// How many clients and reasons have an entry of their own; all others share one.
const MAX_ENTRIES: usize = 1024;

/// Longest text of somebody else in a line of the log, in bytes.
const MAX_TEXT: usize = 256;

/// Returns the beginning of a text that a client wrote, for the log: up to 256 bytes, whole characters.
pub fn truncated(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

/// How often one event occurred, and how much of that was logged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Occurrences {
    /// How often it occurred.
    pub count: u64,
    /// When it was logged last, and the count then.
    logged: Option<(Instant, u64)>,
}

impl Occurrences {
    /// Counts one; returns how many there were since the last line, if a line is due now.
    pub fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let (last, logged) = match self.logged {
            Some((last, logged)) => (Some(last), logged),
            None => (None, 0),
        };
        if last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            return None;
        }
        self.logged = Some((now, self.count));
        Some(self.count - logged)
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.logged.is_none_or(|(at, _)| now.saturating_duration_since(at) >= INTERVAL)
    }
}

/// Events by client and reason, in bounded memory.
#[derive(Debug, Default)]
pub struct LogThrottle {
    entries: HashMap<(String, &'static str), Occurrences>,
    others: Occurrences,
    swept: Option<Instant>,
}

impl LogThrottle {
    /// Counts an event; returns how many there were since the last line, if a line is due now.
    pub fn add(&mut self, client: &str, reason: &'static str, now: Instant) -> Option<u64> {
        let key = (client.to_owned(), reason);
        let swept_lately = |swept: Instant| now.saturating_duration_since(swept) < Duration::from_secs(1);
        if self.entries.len() >= MAX_ENTRIES && !self.swept.is_some_and(swept_lately) {
            self.entries.retain(|_, entry| !entry.is_expired(now));
            self.swept = Some(now);
        }
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            return self.others.add(now);
        }
        self.entries.entry(key).or_default().add(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_per_interval_with_its_count() {
        let (mut event, start) = (Occurrences::default(), Instant::now());
        assert_eq!(event.add(start), Some(1));
        for i in 0..1000 {
            assert_eq!(event.add(start + INTERVAL * i / 1001), None);
        }
        assert_eq!(event.add(start + INTERVAL), Some(1001));
        assert_eq!((event.count, event.add(start + INTERVAL)), (1002, None));
    }

    #[test]
    fn each_client_and_reason_is_logged() {
        let (mut throttle, now) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.add("a", "no_credential", now), Some(1));
        assert_eq!(throttle.add("a", "no_credential", now), None);
        assert_eq!(throttle.add("a", "token_expired", now), Some(1));
        assert_eq!(throttle.add("b", "no_credential", now), Some(1));
    }

    #[test]
    fn a_flood_of_clients_makes_no_more_lines_than_there_are_entries() {
        let (mut throttle, now) = (LogThrottle::default(), Instant::now());
        let lines = (0..100_000).filter(|n| throttle.add(&n.to_string(), "x", now).is_some()).count();
        assert_eq!(lines, MAX_ENTRIES + 1);
        assert_eq!(throttle.add("new", "x", now + INTERVAL), Some(1), "expired entries make room");
        assert_eq!(throttle.entries.len(), 1);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(truncated("short"), "short");
        assert_eq!(truncated(&"x".repeat(300)).len(), MAX_TEXT);
        assert_eq!(truncated(&format!("x{}", "ü".repeat(300))).len(), MAX_TEXT - 1);
    }
}
