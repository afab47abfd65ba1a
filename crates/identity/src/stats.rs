//! Counters of identity, for metrics.

use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const HOUR: u64 = 3600;

/// The furthest expiry that is tracked, in hours; certificates of external signers may live longer.
const HORIZON: u64 = 366 * 24;

/// The buckets of [`LeafExpiries`]: upper bounds in hours, and names in days.
const BUCKETS: [(u64, &str); 6] =
    [(6, "0.25"), (12, "0.5"), (24, "1"), (7 * 24, "7"), (30 * 24, "30"), (u64::MAX, "more")];

/// A monotonic counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by a name from a fixed set.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// Starts with these names at 0, so that their time series exist before the first event.
    pub(crate) fn of(names: &[&'static str]) -> Self {
        Self(Mutex::new(names.iter().map(|name| (*name, 0)).collect()))
    }

    /// Adds one to the count of `name`.
    pub fn add(&self, name: &'static str) {
        *self.0.lock().entry(name).or_default() += 1;
    }

    /// Returns all counts, by name.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(name, count)| (*name, *count)).collect()
    }
}

/// Issued leaf certificates that have not expired, counted by the hour of their expiry.
#[derive(Debug, Default)]
pub struct LeafExpiries(Mutex<BTreeMap<u64, u64>>);

impl LeafExpiries {
    /// Counts a leaf certificate that expires at `end`.
    pub fn add(&self, end: UnixTime, now: UnixTime) {
        let hour = (end.as_secs() / HOUR).min(now.as_secs() / HOUR + HORIZON);
        *self.0.lock().entry(hour).or_default() += 1;
    }

    /// Returns the number of certificates by days left; each bucket excludes the ones before it.
    pub fn by_days_left(&self, now: UnixTime) -> Vec<(&'static str, u64)> {
        let now = now.as_secs() / HOUR;
        let mut ends = self.0.lock();
        *ends = ends.split_off(&now);
        let mut buckets = BUCKETS.map(|(_, name)| (name, 0));
        for (end, count) in &*ends {
            let bucket = BUCKETS.iter().position(|(hours, _)| end - now <= *hours);
            buckets[bucket.unwrap_or(BUCKETS.len() - 1)].1 += count;
        }
        buckets.to_vec()
    }
}

/// An optional point in time.
#[derive(Debug, Default)]
pub struct Timestamp(AtomicU64);

impl Timestamp {
    /// Sets it.
    pub(crate) fn set(&self, time: UnixTime) {
        self.0.store(time.as_secs(), Ordering::Relaxed);
    }

    /// Returns it in seconds since 1970.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}

/// Counters of the secure port.
#[derive(Debug)]
pub struct IdentityStats {
    /// Certificate requests.
    pub requests: Count,
    /// Certificates issued.
    pub issued: Count,
    /// Issued certificates that have not expired.
    pub leaves: LeafExpiries,
    /// When the serving certificate expires.
    pub serving_expiry: Timestamp,
    /// Refused certificate requests, by reason.
    pub refused: Counts,
    /// Refused streams, by reason.
    pub streams_refused: Counts,
    /// Streams ended because the credential expired or the pod is gone, by reason.
    pub streams_ended: Counts,
    /// Calls that could not be authenticated.
    pub unauthenticated: Count,
    /// Requests that could not be signed, by the error types of istiod.
    pub sign_errors: Counts,
    /// Accepted tokens, by how they were verified: `cache`, `local`, `issuer`, `review`.
    pub tokens: Counts,
    /// TokenReviews, by outcome.
    pub token_reviews: Counts,
    /// Fetches of the API server's keys, by outcome.
    pub key_fetches: Counts,
    /// Fetches of the keys of additional issuers, by outcome.
    pub issuer_key_fetches: Counts,
    /// TLS handshakes, by outcome.
    pub handshakes: Counts,
    /// Writes of the ConfigMap with the roots, by outcome.
    pub root_writes: Counts,
    /// Writes of the ConfigMap with the revocation lists, by outcome.
    pub crl_writes: Counts,
    /// Writes of events about key material, by outcome.
    pub event_writes: Counts,
}

impl Default for IdentityStats {
    fn default() -> Self {
        Self {
            requests: Count::default(),
            issued: Count::default(),
            leaves: LeafExpiries::default(),
            serving_expiry: Timestamp::default(),
            refused: Counts::of(&["not_on_node", "pod_unknown", "token_expired"]),
            streams_refused: Counts::of(&[
                "no_gateway",
                "no_pod",
                "node_identity",
                "node_unproven",
                "not_ztunnel",
                "other_gateway",
                "other_node",
                "other_pod",
                "pod_unknown",
                "rate_limited",
                "subscription",
                "token_expired",
                "too_many_streams",
            ]),
            streams_ended: Counts::of(&["credential_expired", "pod_gone"]),
            unauthenticated: Count::default(),
            sign_errors: Counts::of(&["CA_NOT_READY", "CERT_GEN_ERROR", "CSR_ERROR", "TTL_ERROR"]),
            tokens: Counts::of(&["cache", "issuer", "local", "review"]),
            token_reviews: Counts::of(&["accepted", "refused", "unanswered"]),
            key_fetches: Counts::of(&["ok", "unreachable", "withheld"]),
            issuer_key_fetches: Counts::of(&["blocked", "ok", "unreachable"]),
            handshakes: Counts::of(&["evicted", "failed", "ok", "revoked", "timed_out", "too_many"]),
            root_writes: Counts::of(&["failed", "ok"]),
            crl_writes: Counts::of(&["failed", "ok"]),
            event_writes: Counts::of(&["failed", "ok"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(hours: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(hours * HOUR))
    }

    #[test]
    fn leaves_move_to_nearer_buckets_and_are_removed_when_they_expire() {
        let (leaves, now) = (LeafExpiries::default(), 500_000);
        for end in [now + 24, now + 24, now + 5, now + 24 * 90, now + 24 * 3650] {
            leaves.add(at(end), at(now));
        }
        let counts =
            |now| leaves.by_days_left(at(now)).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(now), [1, 0, 2, 0, 0, 2]);
        assert_eq!(counts(now + 12), [0, 2, 0, 0, 0, 2]);
        assert_eq!(counts(now + 20), [2, 0, 0, 0, 0, 2]);
        assert_eq!(counts(now + 25), [0, 0, 0, 0, 0, 2]);
        // An expiry beyond the horizon is counted at the horizon.
        assert_eq!(counts(now + HORIZON), [1, 0, 0, 0, 0, 0]);
        assert_eq!(counts(now + HORIZON + 1), [0; 6]);
    }
}
