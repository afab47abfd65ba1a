//! What is known of published keys, and when they are fetched next. Whoever has a clock and a lot calls this.

use model::facts::{FetchedKeys, KeySet};
use std::time::Duration;

/// How long after a failure it is tried again; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long that becomes at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// By which part of itself a pause may be shorter or longer, so that many are not due at once.
const SPREAD: f64 = 0.1;

/// Keys that are published somewhere.
#[derive(Debug)]
pub(super) struct Published {
    /// How long a fetch may take.
    pub timeout: Duration,
    /// When it is due; since whenever the caller counts from.
    pub due: Duration,
    /// Whether it is being fetched.
    pub is_running: bool,
    failures: u32,
    known: Option<FetchedKeys>,
}

impl Published {
    /// Nothing is known; it is due now.
    pub fn new(timeout: Duration, now: Duration) -> Self {
        Self { timeout, due: now, is_running: false, failures: 0, known: None }
    }

    /// Takes what became of a fetch; returns what is known now, if that is news. A failure keeps the last keys. `lot` is
    /// between 0 and 1.
    pub fn fetched(
        &mut self,
        outcome: Result<KeySet, String>,
        now: Duration,
        refresh: Duration,
        lot: f64,
    ) -> Option<FetchedKeys> {
        self.is_running = false;
        let (state, pause) = match outcome {
            Ok(keys) => {
                self.failures = 0;
                (FetchedKeys { keys: Some(keys), problem: "".into() }, refresh)
            }
            Err(problem) => {
                let last = self.known.as_ref().and_then(|known| known.keys.clone());
                let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
                self.failures = self.failures.saturating_add(1);
                (FetchedKeys { keys: last, problem: problem.into() }, pause.min(refresh))
            }
        };
        self.due = now + pause.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * lot.clamp(0.0, 1.0));
        let is_news = self.known.as_ref() != Some(&state);
        self.known = Some(state.clone());
        is_news.then_some(state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use model::facts::KeySetSource;

    const REFRESH: Duration = Duration::from_secs(1200);

    fn keys(kid: &str) -> KeySet {
        let document = format!(r#"{{"keys":[{{"kty":"RSA","kid":"{kid}","n":"sXch","e":"AQAB"}}]}}"#);
        KeySet::read(document.as_bytes(), KeySetSource::Published).unwrap()
    }

    #[test]
    fn a_failure_keeps_the_last_keys_and_is_told_once() {
        let mut of = Published::new(Duration::from_secs(5), Duration::ZERO);
        let failed = |text: &str| Err(text.to_owned());
        let first = of.fetched(failed("refused"), Duration::ZERO, REFRESH, 0.5).unwrap();
        assert_eq!((first.keys, first.problem.as_str()), (None, "refused"));
        let good = of.fetched(Ok(keys("a")), Duration::ZERO, REFRESH, 0.5).unwrap();
        assert_eq!((good.keys, good.problem.as_str()), (Some(keys("a")), ""));
        assert_eq!(of.fetched(Ok(keys("a")), Duration::ZERO, REFRESH, 0.5), None, "no news");
        for n in 0..3 {
            let told = of.fetched(failed("refused"), Duration::ZERO, REFRESH, 0.5);
            assert_eq!(told.is_some(), n == 0);
            assert!(told.is_none_or(|told| told.keys == Some(keys("a"))));
        }
        let other = of.fetched(Ok(keys("b")), Duration::ZERO, REFRESH, 0.5).unwrap();
        assert_eq!((other.keys, other.problem.as_str()), (Some(keys("b")), ""));
    }

    #[test]
    fn pauses_grow_with_failures_and_are_spread() {
        let mut of = Published::new(Duration::from_secs(5), Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            of.fetched(Err(String::new()), Duration::ZERO, REFRESH, 0.5);
            pauses.push(of.due.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let now = Duration::from_secs(1000);
        let mut due = |lot: f64| {
            of.fetched(Ok(keys("a")), now, REFRESH, lot);
            of.due.as_secs()
        };
        assert_eq!([due(0.0), due(0.5), due(1.0)], [2080, 2200, 2320]);
    }
}
