//! How many lines are written one by one.

use std::time::Instant;

/// Lines that may be written at once, and one more each second.
#[derive(Debug)]
pub(super) struct Budget {
    burst: u32,
    left: u32,
    /// When the last line was added.
    filled: Option<Instant>,
}

impl Budget {
    pub(super) fn new(burst: u32) -> Self {
        Self { burst, left: burst, filled: None }
    }

    /// Takes a line, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let filled = *self.filled.get_or_insert(now);
        let seconds = now.saturating_duration_since(filled).as_secs();
        if seconds > 0 {
            self.left = self.burst.min(self.left.saturating_add(u32::try_from(seconds).unwrap_or(u32::MAX)));
            self.filled = Some(now);
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}
