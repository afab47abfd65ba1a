//! Limits on how often something may be done: token buckets, with the time passed in.
//!
//! Times are durations since any fixed moment, of a clock that does not go back.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How often something may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many a second in the long run.
    pub per_second: u32,
}

/// When a refused attempt would be let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many requests; retry in {} ms", .0.as_millis())]
pub struct Refill(pub Duration);

/// A bucket that fills steadily and that each attempt takes one token from.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// Tokens in billionths, so that a nanosecond adds a whole number of them.
    level: u128,
    filled_at: Duration,
}

const ONE: u128 = 1_000_000_000;

impl TokenBucket {
    /// Builds a full bucket.
    pub fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, level: u128::from(rate.burst) * ONE, filled_at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// [`Refill`] with the time until there is one; nothing is taken then.
    pub fn take(&mut self, now: Duration) -> Result<(), Refill> {
        self.check(now)?;
        self.level -= ONE;
        Ok(())
    }

    /// Checks that there is a token, without taking it.
    fn check(&mut self, now: Duration) -> Result<(), Refill> {
        self.fill(now);
        if self.level >= ONE {
            return Ok(());
        }
        let missing = ONE - self.level;
        let wait = match u128::from(self.rate.per_second) {
            0 => return Err(Refill(Duration::MAX)),
            rate => missing.div_ceil(rate),
        };
        Err(Refill(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))))
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_nanos();
        let added = passed.saturating_mul(u128::from(self.rate.per_second));
        self.level = self.level.saturating_add(added).min(u128::from(self.rate.burst) * ONE);
        self.filled_at = self.filled_at.max(now);
    }

    fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.level >= u128::from(self.rate.burst) * ONE
    }
}

/// The rates of a [`Limiter`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of each client.
    pub per_client: Rate,
    /// Of all clients together.
    pub total: Rate,
    /// How many clients have a bucket of their own at a time.
    pub max_clients: usize,
}

/// A limit on each client and on all of them, in bounded memory.
///
/// Clients beyond the bound share one bucket of the size of one client's: a flood of made-up clients
/// takes from itself, not from those that are known.
#[derive(Debug)]
pub struct Limiter<K> {
    total: TokenBucket,
    own: Buckets<K>,
}

/// The buckets of clients.
#[derive(Debug)]
struct Buckets<K> {
    limits: Limits,
    clients: HashMap<K, TokenBucket>,
    others: TokenBucket,
    /// When buckets were last looked through for full ones.
    swept_at: Duration,
}

impl<K: Hash + Eq> Buckets<K> {
    /// The bucket of a client.
    fn of(&mut self, client: K, now: Duration) -> &mut TokenBucket {
        // At most once a second, so that a full table does not make each attempt a walk through it.
        if self.clients.len() >= self.limits.max_clients
            && !self.clients.contains_key(&client)
            && now.saturating_sub(self.swept_at) >= Duration::from_secs(1)
        {
            // A full bucket is the same as none.
            self.clients.retain(|_, bucket| !bucket.is_full(now));
            self.swept_at = now;
        }
        if self.clients.len() < self.limits.max_clients || self.clients.contains_key(&client) {
            let rate = self.limits.per_client;
            self.clients.entry(client).or_insert_with(|| TokenBucket::new(rate, now))
        } else {
            &mut self.others
        }
    }
}

impl<K: Hash + Eq> Limiter<K> {
    /// Builds a limiter with full buckets.
    pub fn new(limits: Limits, now: Duration) -> Self {
        let others = TokenBucket::new(limits.per_client, now);
        Self {
            total: TokenBucket::new(limits.total, now),
            own: Buckets { limits, clients: HashMap::new(), others, swept_at: now },
        }
    }

    /// Lets an attempt of `client` through, or not. A refused attempt takes nothing from anybody.
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn take(&mut self, client: K, now: Duration) -> Result<(), Refill> {
        let own = self.own.of(client, now);
        own.check(now)?;
        self.total.take(now)?;
        own.take(now)
    }

    /// Takes of what `client` may take by itself, and not of what all may together.
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn take_own(&mut self, client: K, now: Duration) -> Result<(), Refill> {
        self.own.of(client, now).take(now)
    }

    /// Takes of what all clients may take together, for one who has [taken of its own](Self::take_own).
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn take_total(&mut self, now: Duration) -> Result<(), Refill> {
        self.total.take(now)
    }

    /// Tells whether an attempt of `client` would be within its own limit, without taking anything.
    /// Clients without a bucket of their own are.
    ///
    /// # Errors
    /// [`Refill`] with the time until an attempt can succeed.
    pub fn check(&mut self, client: &K, now: Duration) -> Result<(), Refill> {
        self.own.clients.get_mut(client).map_or(Ok(()), |own| own.check(now))
    }

    /// Returns how many clients have a bucket of their own now.
    pub fn clients(&self) -> usize {
        self.own.clients.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn limits(max_clients: usize) -> Limits {
        Limits {
            per_client: Rate { burst: 2, per_second: 10 },
            total: Rate { burst: 5, per_second: 100 },
            max_clients,
        }
    }

    #[test]
    fn bucket_returns_when_to_retry() {
        let mut bucket = TokenBucket::new(Rate { burst: 1, per_second: 10 }, ms(0));
        assert!(bucket.take(ms(0)).is_ok());
        assert_eq!(bucket.take(ms(40)), Err(Refill(ms(60))));
        assert!(bucket.take(ms(100)).is_ok());
    }

    #[test]
    fn bucket_without_refill_stays_empty() {
        let mut bucket = TokenBucket::new(Rate { burst: 1, per_second: 0 }, ms(0));
        assert!(bucket.take(ms(0)).is_ok());
        assert_eq!(bucket.take(Duration::MAX), Err(Refill(Duration::MAX)));
    }

    #[test]
    fn bucket_lets_a_burst_through_and_then_the_rate() {
        let mut bucket = TokenBucket::new(Rate { burst: 3, per_second: 10 }, ms(0));
        assert!((0..3).all(|_| bucket.take(ms(0)).is_ok()));
        let Refill(wait) = bucket.take(ms(0)).unwrap_err();
        assert_eq!(wait, ms(100));
        assert!(bucket.take(wait).is_ok());
        let passed = (200..1200).filter(|at| bucket.take(ms(*at)).is_ok()).count();
        assert!((10..=12).contains(&passed), "{passed} in a second");
    }

    #[test]
    fn one_client_does_not_take_from_another() {
        let mut limiter = Limiter::new(limits(10), ms(0));
        let greedy = (0..10).filter(|_| limiter.take("greedy", ms(0)).is_ok()).count();
        assert_eq!(greedy, 2);
        assert!(limiter.take("modest", ms(0)).is_ok());
    }

    #[test]
    fn a_check_takes_nothing() {
        let mut limiter = Limiter::new(limits(10), ms(0));
        assert!(limiter.check(&"new", ms(0)).is_ok());
        assert_eq!(limiter.clients(), 0);
        for _ in 0..2 {
            limiter.take("own", ms(0)).unwrap();
        }
        assert_eq!(limiter.check(&"own", ms(0)), Err(Refill(ms(100))));
        assert!(limiter.check(&"own", ms(100)).is_ok());
        assert!(limiter.take("own", ms(100)).is_ok());
    }

    #[test]
    fn all_clients_together_are_limited() {
        let mut limiter = Limiter::new(limits(100), ms(0));
        let passed = (0..50).filter(|client| limiter.take(*client, ms(0)).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn flood_of_new_clients_leaves_known_ones_their_share() {
        let mut limiter = Limiter::new(limits(2), ms(0));
        limiter.take(1, ms(0)).unwrap();
        limiter.take(2, ms(0)).unwrap();
        let flood = (100..1000).filter(|client| limiter.take(*client, ms(0)).is_ok()).count();
        assert_eq!(flood, 2, "they share one bucket");
        assert_eq!(limiter.clients(), 2);
        assert!(limiter.take(1, ms(0)).is_ok());
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let mut limiter = Limiter::new(limits(2), ms(0));
        limiter.take(1, ms(0)).unwrap();
        limiter.take(2, ms(0)).unwrap();
        limiter.take(3, ms(5000)).unwrap();
        assert_eq!(limiter.clients(), 1);
    }

    proptest! {
        #[test]
        fn no_history_passes_more_than_the_rate(
            waits in proptest::collection::vec(0..50u64, 1..200), burst in 1..10u32, rate in 1..100u32,
        ) {
            let mut bucket = TokenBucket::new(Rate { burst, per_second: rate }, ms(0));
            let (mut now, mut passed) = (0u64, 0u64);
            for wait in waits {
                now += wait;
                passed += u64::from(bucket.take(ms(now)).is_ok());
            }
            prop_assert!(passed * 1000 <= u64::from(burst) * 1000 + now * u64::from(rate));
        }
    }
}
