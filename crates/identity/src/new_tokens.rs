//! How many tokens are judged that were not seen before: judging one costs a signature, or a question to
//! the API server.
//!
//! Two floods must not reach those who are right: the one of an address, whose tokens fail and soon are
//! judged slowly; and the one of many addresses, who share what all strangers may take and leave what is
//! there for addresses that have shown a good token lately.

use limits::{Limiter, Limits, Peer, Rate, Refill};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How many addresses are told apart.
const ADDRESSES: usize = 64 * 1024;

/// How many tokens one address may show.
const OF_ADDRESS: Rate = Rate { burst: 4000, per_second: 1000 };

/// How many all addresses together may: strangers, and as many again those that are not.
const OF_ALL: Rate = Rate { burst: 10_000, per_second: 5000 };

/// How many tokens of one address may fail; while more did, none of its tokens are judged.
const FAILURES: Rate = Rate { burst: 200, per_second: 10 };

/// How long an address is no stranger after it showed a good token: longer than a token lives as a rule.
const ACQUAINTED: Duration = Duration::from_secs(2 * 3600);

/// Limits on new tokens.
pub(super) struct NewTokens(Mutex<State>);

struct State {
    strangers: Limiter<Option<Peer>>,
    others: Limiter<Option<Peer>>,
    failures: Limiter<Option<Peer>>,
    /// When each address showed a good token last.
    good: HashMap<Peer, Duration>,
    swept_at: Duration,
}

impl NewTokens {
    /// Begins with strangers only.
    pub fn new() -> Self {
        let unlimited = Rate { burst: u32::MAX, per_second: u32::MAX };
        let limiter = |per_client, total| {
            Limiter::new(Limits { per_client, total, max_clients: ADDRESSES }, Duration::ZERO)
        };
        Self(Mutex::new(State {
            strangers: limiter(OF_ADDRESS, OF_ALL),
            others: limiter(OF_ADDRESS, OF_ALL),
            failures: limiter(FAILURES, unlimited),
            good: HashMap::new(),
            swept_at: Duration::ZERO,
        }))
    }

    /// Lets an address show a token, or not.
    ///
    /// # Errors
    /// [`Refill`] with the time until it may.
    pub fn admit(&self, from: Option<IpAddr>, now: Duration) -> Result<(), Refill> {
        let peer = from.map(Peer::of);
        let state = &mut *self.0.lock();
        state.failures.check(&peer, now)?;
        let is_stranger = peer.and_then(|peer| state.good.get(&peer)).is_none_or(|at| is_over(*at, now));
        let limiter = if is_stranger { &mut state.strangers } else { &mut state.others };
        limiter.take(peer, now)
    }

    /// Takes note of what became of it.
    pub fn judged(&self, from: Option<IpAddr>, is_good: bool, now: Duration) {
        let peer = from.map(Peer::of);
        let state = &mut *self.0.lock();
        if !is_good {
            // More than it may is what is to be noticed.
            let _ = state.failures.take(peer, now);
            return;
        }
        let Some(peer) = peer else { return };
        if state.good.len() >= ADDRESSES && now.saturating_sub(state.swept_at) >= Duration::from_secs(1) {
            state.good.retain(|_, at| !is_over(*at, now));
            state.swept_at = now;
        }
        if state.good.len() < ADDRESSES || state.good.contains_key(&peer) {
            state.good.insert(peer, now);
        }
    }
}

fn is_over(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) > ACQUAINTED
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NOW: Duration = Duration::ZERO;

    fn address(n: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    /// Shows bad tokens until they are not judged any more; returns how many were.
    fn flood(tokens: &NewTokens, from: Option<IpAddr>, now: Duration) -> u32 {
        let mut judged = 0;
        while tokens.admit(from, now).is_ok() {
            tokens.judged(from, false, now);
            judged += 1;
        }
        judged
    }

    #[test]
    fn forged_tokens_of_few_addresses_leave_others_theirs() {
        let tokens = NewTokens::new();
        for from in 1..=5 {
            assert_eq!(flood(&tokens, address(from), NOW), FAILURES.burst);
            assert!(tokens.admit(address(from), NOW).is_err(), "it is as if it showed none");
        }
        for from in 100..2100 {
            tokens.admit(address(from), NOW).unwrap();
            tokens.judged(address(from), true, NOW);
        }
        let later = Duration::from_secs(1);
        assert_eq!(flood(&tokens, address(1), later), FAILURES.per_second);
    }

    #[test]
    fn whoever_was_good_lately_takes_nothing_from_strangers_nor_they_from_it() {
        let tokens = NewTokens::new();
        tokens.admit(address(1), NOW).unwrap();
        tokens.judged(address(1), true, NOW);
        // Thousands of addresses, more than all strangers may take together.
        let passed = (1000..20_000).filter(|from| tokens.admit(address(*from), NOW).is_ok()).count();
        assert_eq!(passed, OF_ALL.burst as usize - 1);
        assert!(tokens.admit(address(2), NOW).is_err());
        assert!(tokens.admit(address(1), NOW).is_ok());
    }

    #[test]
    fn a_good_address_that_was_long_away_is_a_stranger() {
        let tokens = NewTokens::new();
        tokens.judged(address(1), true, NOW);
        let later = ACQUAINTED + Duration::from_secs(1);
        for from in 1000..20_000 {
            let _ = tokens.admit(address(from), later);
        }
        assert!(tokens.admit(address(1), later).is_err());
    }
}
