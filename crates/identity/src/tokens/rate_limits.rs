//! Rate limits of tokens that are not cached: verifying one costs a signature check or a TokenReview.
//!
//! A token whose signature can be verified here is verified, whatever else its address has shown: behind one
//! address there may be an attacker and a ztunnel. What is bounded is how many invalid ones an address may
//! show; beyond that each of them costs its connection. A TokenReview, which is a request to the API server, is made
//! within limits only. A flood from one address is limited by the number of its invalid tokens; a flood from many
//! exhausts only the limit that unauthenticated peers share: addresses that have shown a valid token recently have a
//! separate one.

use limits::{Limiter, Limits, Peer, PeerLimiter, Rate, Refill};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Maximum number of addresses that are tracked.
const ADDRESSES: usize = 64 * 1024;

/// Reviews of tokens of one address.
const PER_ADDRESS: Rate = Rate { burst: 4000, per_second: 1000 };

/// Reviews of tokens of all unauthenticated peers together, and again of all recently authenticated ones.
const TOTAL: Rate = Rate { burst: 10_000, per_second: 5000 };

/// Invalid tokens of one address; while it exceeds this, none of its tokens is reviewed.
const FAILURES: Rate = Rate { burst: 200, per_second: 10 };

/// How long an address counts as authenticated after it showed a valid token: longer than most tokens live.
const AUTHENTICATED_FOR: Duration = Duration::from_secs(2 * 3600);

/// Rate limits of tokens that are not cached.
pub(crate) struct TokenRateLimits(Mutex<State>);

struct State {
    unauthenticated: Limiter<Peer>,
    authenticated: Limiter<Peer>,
    failures: PeerLimiter,
    /// When each address showed a valid token last.
    valid: HashMap<Peer, Duration>,
    swept_at: Duration,
}

/// Those without an address are one.
fn peer(from: Option<IpAddr>) -> Peer {
    Peer::of(from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

impl TokenRateLimits {
    /// Creates the limits; all peers are unauthenticated.
    pub fn new(now: Duration) -> Self {
        let limiter =
            |per_client, total| Limiter::new(Limits { per_client, total, max_clients: ADDRESSES }, now);
        Self(Mutex::new(State {
            unauthenticated: limiter(PER_ADDRESS, TOTAL),
            authenticated: limiter(PER_ADDRESS, TOTAL),
            failures: PeerLimiter::new(FAILURES, ADDRESSES, now),
            valid: HashMap::new(),
            swept_at: now,
        }))
    }

    /// Takes the review of one token from the limits of an address.
    ///
    /// # Errors
    /// [`Refill`] with the time until the limit allows another.
    pub fn may_review(&self, from: Option<IpAddr>, now: Duration) -> Result<(), Refill> {
        let (peer, state) = (peer(from), &mut *self.0.lock());
        state.failures.check(peer, now)?;
        let valid = state.valid.get(&peer).is_some_and(|at| !is_expired(*at, now));
        let limiter = if valid { &mut state.authenticated } else { &mut state.unauthenticated };
        limiter.take(peer, now)
    }

    /// Records that a token of an address was invalid.
    ///
    /// # Errors
    /// [`Refill`] if that address, or its network, has shown too many.
    pub fn record_invalid(&self, from: Option<IpAddr>, now: Duration) -> Result<(), Refill> {
        self.0.lock().failures.take(peer(from), now)
    }

    /// Records that a token of an address was valid.
    pub fn record_valid(&self, from: Option<IpAddr>, now: Duration) {
        let (peer, state) = (peer(from), &mut *self.0.lock());
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

    /// Shows invalid tokens until they are not reviewed any more; returns how many were.
    fn flood(limits: &TokenRateLimits, from: Option<IpAddr>, now: Duration) -> u32 {
        let mut reviewed = 0;
        while limits.may_review(from, now).is_ok() {
            limits.record_invalid(from, now).unwrap();
            reviewed += 1;
        }
        assert!(limits.record_invalid(from, now).is_err());
        reviewed
    }

    #[test]
    fn forged_tokens_of_few_addresses_do_not_exhaust_the_limits_of_others() {
        let limits = TokenRateLimits::new(NOW);
        for from in 1..=5 {
            assert_eq!(flood(&limits, address(from), NOW), FAILURES.burst);
            assert!(limits.may_review(address(from), NOW).is_err(), "none of its tokens is reviewed");
        }
        for from in 100..2100 {
            limits.may_review(address(from), NOW).unwrap();
            limits.record_valid(address(from), NOW);
        }
        let later = Duration::from_secs(1);
        assert_eq!(flood(&limits, address(1), later), FAILURES.per_second);
    }

    #[test]
    fn authenticated_and_unauthenticated_peers_have_separate_limits() {
        let limits = TokenRateLimits::new(NOW);
        limits.may_review(address(1), NOW).unwrap();
        limits.record_valid(address(1), NOW);
        // Thousands of addresses, more than the limit of all unauthenticated peers.
        let allowed = (1000..20_000).filter(|from| limits.may_review(address(*from), NOW).is_ok()).count();
        assert_eq!(allowed, TOTAL.burst as usize - 1);
        assert!(limits.may_review(address(2), NOW).is_err());
        assert!(limits.may_review(address(1), NOW).is_ok());
    }

    #[test]
    fn address_without_a_recent_valid_token_is_unauthenticated() {
        let limits = TokenRateLimits::new(NOW);
        limits.record_valid(address(1), NOW);
        let later = AUTHENTICATED_FOR + Duration::from_secs(1);
        for from in 1000..20_000 {
            let _ = limits.may_review(address(from), later);
        }
        assert!(limits.may_review(address(1), later).is_err());
    }

    #[test]
    fn failures_of_one_address_are_not_those_of_its_neighbours() {
        let limits = TokenRateLimits::new(NOW);
        let address = |host: u32| Some(IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, host as u16]));
        assert_eq!(flood(&limits, address(1), NOW), FAILURES.burst);
        assert!(limits.may_review(address(2), NOW).is_ok(), "another pod of the same node");
        // One machine that takes many addresses has the limits of a few.
        let failed = (3..1000)
            .map(|host| (0..10).filter(|_| limits.record_invalid(address(host), NOW).is_ok()).count() as u32);
        assert_eq!(failed.sum::<u32>(), 3 * FAILURES.burst);
    }
}
