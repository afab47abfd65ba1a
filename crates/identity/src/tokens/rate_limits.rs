//! Rate limits of tokens that are not cached: verifying one costs a signature check or a TokenReview.
//!
//! Two kinds of floods must not affect valid clients. A flood from one address is limited by the number of
//! its invalid tokens. A flood from many addresses exhausts only the limit that unauthenticated peers share;
//! addresses that have shown a valid token recently have a separate one.

use limits::{Limiter, Limits, Peer, Rate, Refill};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Maximum number of addresses that are tracked.
const ADDRESSES: usize = 64 * 1024;

/// Tokens of one address.
const PER_ADDRESS: Rate = Rate { burst: 4000, per_second: 1000 };

/// Tokens of all unauthenticated peers together, and again of all recently authenticated ones.
const TOTAL: Rate = Rate { burst: 10_000, per_second: 5000 };

/// Invalid tokens of one address; while it exceeds this, none of its tokens is verified.
const FAILURES: Rate = Rate { burst: 200, per_second: 10 };

/// How long an address counts as authenticated after it showed a valid token: longer than most tokens live.
const AUTHENTICATED_FOR: Duration = Duration::from_secs(2 * 3600);

/// Rate limits of tokens that are not cached.
pub(crate) struct TokenRateLimits(Mutex<State>);

struct State {
    unauthenticated: Limiter<Option<Peer>>,
    authenticated: Limiter<Option<Peer>>,
    failures: Limiter<Option<Peer>>,
    /// When each address showed a valid token last.
    valid: HashMap<Peer, Duration>,
    swept_at: Duration,
}

impl TokenRateLimits {
    /// Creates the limits; all peers are unauthenticated.
    pub fn new(now: Duration) -> Self {
        let unlimited = Rate { burst: u32::MAX, per_second: u32::MAX };
        let limiter =
            |per_client, total| Limiter::new(Limits { per_client, total, max_clients: ADDRESSES }, now);
        Self(Mutex::new(State {
            unauthenticated: limiter(PER_ADDRESS, TOTAL),
            authenticated: limiter(PER_ADDRESS, TOTAL),
            failures: limiter(FAILURES, unlimited),
            valid: HashMap::new(),
            swept_at: now,
        }))
    }

    /// Takes one token from the limits of an address.
    ///
    /// # Errors
    /// [`Refill`] with the time until the limit allows another.
    pub fn check(&self, from: Option<IpAddr>, now: Duration) -> Result<(), Refill> {
        let peer = from.map(Peer::of);
        let state = &mut *self.0.lock();
        state.failures.check(&peer, now)?;
        let valid = peer.and_then(|peer| state.valid.get(&peer)).is_some_and(|at| !is_expired(*at, now));
        let limiter = if valid { &mut state.authenticated } else { &mut state.unauthenticated };
        limiter.take(peer, now)
    }

    /// Records whether a token of an address was valid.
    pub fn record(&self, from: Option<IpAddr>, is_valid: bool, now: Duration) {
        let peer = from.map(Peer::of);
        let state = &mut *self.0.lock();
        if !is_valid {
            // An exceeded limit is what the next check detects.
            let _ = state.failures.take(peer, now);
            return;
        }
        let Some(peer) = peer else { return };
        if state.valid.len() >= ADDRESSES && now.saturating_sub(state.swept_at) >= Duration::from_secs(1) {
            state.valid.retain(|_, at| !is_expired(*at, now));
            state.swept_at = now;
        }
        if state.valid.len() < ADDRESSES || state.valid.contains_key(&peer) {
            state.valid.insert(peer, now);
        }
    }
}

fn is_expired(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) > AUTHENTICATED_FOR
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

    /// Shows invalid tokens until they are not verified any more; returns how many were.
    fn flood(limits: &TokenRateLimits, from: Option<IpAddr>, now: Duration) -> u32 {
        let mut verified = 0;
        while limits.check(from, now).is_ok() {
            limits.record(from, false, now);
            verified += 1;
        }
        verified
    }

    #[test]
    fn forged_tokens_of_few_addresses_do_not_exhaust_the_limits_of_others() {
        let limits = TokenRateLimits::new(NOW);
        for from in 1..=5 {
            assert_eq!(flood(&limits, address(from), NOW), FAILURES.burst);
            assert!(limits.check(address(from), NOW).is_err(), "none of its tokens is verified");
        }
        for from in 100..2100 {
            limits.check(address(from), NOW).unwrap();
            limits.record(address(from), true, NOW);
        }
        let later = Duration::from_secs(1);
        assert_eq!(flood(&limits, address(1), later), FAILURES.per_second);
    }

    #[test]
    fn authenticated_and_unauthenticated_peers_have_separate_limits() {
        let limits = TokenRateLimits::new(NOW);
        limits.check(address(1), NOW).unwrap();
        limits.record(address(1), true, NOW);
        // Thousands of addresses, more than the limit of all unauthenticated peers.
        let allowed = (1000..20_000).filter(|from| limits.check(address(*from), NOW).is_ok()).count();
        assert_eq!(allowed, TOTAL.burst as usize - 1);
        assert!(limits.check(address(2), NOW).is_err());
        assert!(limits.check(address(1), NOW).is_ok());
    }

    #[test]
    fn address_without_a_recent_valid_token_is_unauthenticated() {
        let limits = TokenRateLimits::new(NOW);
        limits.record(address(1), true, NOW);
        let later = AUTHENTICATED_FOR + Duration::from_secs(1);
        for from in 1000..20_000 {
            let _ = limits.check(address(from), later);
        }
        assert!(limits.check(address(1), later).is_err());
    }
}
