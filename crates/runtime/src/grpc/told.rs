//! Which refusals the log has told of lately.
//!
//! A line names who was refused and why. The next ones of the same client for the same reason are counted
//! and told together, after a while: a flood makes few lines, and a riddle is still solved by one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The least time between two lines of the log about the same.
pub(super) const TELL: Duration = Duration::from_secs(10);

/// How many clients and reasons are told apart; all others are told of together.
const TOLD_APART: usize = 1024;

/// What happened again and again, and when it was told of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    /// How often it happened.
    pub count: u64,
    /// When it was told of last, and the count then.
    told: Option<(Instant, u64)>,
}

impl Met {
    /// Counts one; returns how many there were since the log told of it, if it is to do so now.
    pub fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let (last, told) = match self.told {
            Some((last, told)) => (Some(last), told),
            None => (None, 0),
        };
        if last.is_some_and(|last| now.saturating_duration_since(last) < TELL) {
            return None;
        }
        self.told = Some((now, self.count));
        Some(self.count - told)
    }

    fn is_past(&self, now: Instant) -> bool {
        self.told.is_none_or(|(at, _)| now.saturating_duration_since(at) >= TELL)
    }
}

/// What was told, by client and reason.
#[derive(Debug, Default)]
pub(super) struct Told {
    of: HashMap<(String, &'static str), Met>,
    others: Met,
    swept: Option<Instant>,
}

impl Told {
    /// Counts a refusal; returns how many there were since the log told of it, if it is to do so now.
    pub fn add(&mut self, client: &str, reason: &'static str, now: Instant) -> Option<u64> {
        let key = (client.to_owned(), reason);
        let swept_lately = |swept: Instant| now.saturating_duration_since(swept) < Duration::from_secs(1);
        if self.of.len() >= TOLD_APART && !self.swept.is_some_and(swept_lately) {
            self.of.retain(|_, met| !met.is_past(now));
            self.swept = Some(now);
        }
        if self.of.len() >= TOLD_APART && !self.of.contains_key(&key) {
            return self.others.add(now);
        }
        self.of.entry(key).or_default().add(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_once_in_a_while_and_whole() {
        let (mut met, start) = (Met::default(), Instant::now());
        assert_eq!(met.add(start), Some(1));
        for i in 0..1000 {
            assert_eq!(met.add(start + TELL * i / 1001), None);
        }
        assert_eq!(met.add(start + TELL), Some(1001));
        assert_eq!((met.count, met.add(start + TELL)), (1002, None));
    }

    #[test]
    fn each_client_and_reason_is_told_of() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.add("a", "no_credential", now), Some(1));
        assert_eq!(told.add("a", "no_credential", now), None);
        assert_eq!(told.add("a", "token_expired", now), Some(1));
        assert_eq!(told.add("b", "no_credential", now), Some(1));
    }

    #[test]
    fn a_flood_of_clients_makes_no_more_lines_than_are_told_apart() {
        let (mut told, now) = (Told::default(), Instant::now());
        let lines = (0..100_000).filter(|n| told.add(&n.to_string(), "x", now).is_some()).count();
        assert_eq!(lines, TOLD_APART + 1);
        assert_eq!(told.add("new", "x", now + TELL), Some(1), "those that are past make room");
        assert_eq!(told.of.len(), 1);
    }
}
