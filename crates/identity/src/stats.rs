//! What is counted of identities, for metrics.

use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const HOUR: u64 = 3600;

/// How far ahead the ends of leaves are told apart, in hours: a signer that is not ours may go further.
const HORIZON: u64 = 366 * 24;

/// The groups of [`LeafEnds`]: up to so many hours, and their names in days.
const GROUPS: [(u64, &str); 6] =
    [(6, "0.25"), (12, "0.5"), (24, "1"), (7 * 24, "7"), (30 * 24, "30"), (u64::MAX, "more")];

/// A count that only rises.
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

/// Counts by a name of a fixed set.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// Begins with these names at 0, so that their counts are there before the first event.
    pub(super) fn of(names: &[&'static str]) -> Self {
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

/// Leaves that were issued and have not ended, counted by the hour in which they end: to add one is to
/// add one to a count, and an hour that is over is forgotten whole.
#[derive(Debug, Default)]
pub struct LeafEnds(Mutex<BTreeMap<u64, u64>>);

impl LeafEnds {
    /// Counts a leaf that ends then.
    pub fn add(&self, end: UnixTime, now: UnixTime) {
        let hour = (end.as_secs() / HOUR).min(now.as_secs() / HOUR + HORIZON);
        *self.0.lock().entry(hour).or_default() += 1;
    }

    /// Returns how many have up to so many days left, and more than the group before; to the hour.
    pub fn by_days_left(&self, now: UnixTime) -> Vec<(&'static str, u64)> {
        let now = now.as_secs() / HOUR;
        let mut ends = self.0.lock();
        *ends = ends.split_off(&now);
        let mut groups = GROUPS.map(|(_, name)| (name, 0));
        for (end, count) in &*ends {
            let group = GROUPS.iter().position(|(hours, _)| end - now <= *hours);
            groups[group.unwrap_or(GROUPS.len() - 1)].1 += count;
        }
        groups.to_vec()
    }
}

/// A moment, or none.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Sets it.
    pub(super) fn set(&self, moment: UnixTime) {
        self.0.store(moment.as_secs(), Ordering::Relaxed);
    }

    /// Returns it in seconds since 1970.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}

/// Counters of the secure port.
#[derive(Debug)]
pub struct IdentityStats {
    /// Certificates asked for.
    pub requests: Count,
    /// Certificates issued.
    pub issued: Count,
    /// Those of them that have not ended.
    pub leaves: LeafEnds,
    /// When the serving certificate ends.
    pub serving_ends: Moment,
    /// Requests for certificates that were refused, by reason.
    pub refused: Counts,
    /// Streams that were refused, by reason.
    pub streams_refused: Counts,
    /// Streams that were ended since their credential or their pod was gone, by reason.
    pub streams_ended: Counts,
    /// Callers that could not be authenticated.
    pub unauthenticated: Count,
    /// Requests that could not be signed, by the error types of the service that this one replaces.
    pub sign_errors: Counts,
    /// Tokens accepted, by how: `cache`, `local`, `issuer`, `review`.
    pub tokens: Counts,
    /// Questions to the API server about tokens, by outcome.
    pub token_reviews: Counts,
    /// Fetches of the API server's keys, by outcome.
    pub key_fetches: Counts,
    /// Fetches of the keys of further issuers, by outcome.
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
            leaves: LeafEnds::default(),
            serving_ends: Moment::default(),
            refused: Counts::of(&["not_on_node", "pod_unknown", "token_expired"]),
            streams_refused: Counts::of(&[
                "node_identity",
                "node_unproven",
                "not_ztunnel",
                "other_node",
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
    fn leaves_move_to_nearer_groups_and_are_forgotten_when_they_end() {
        let (leaves, now) = (LeafEnds::default(), 500_000);
        for end in [now + 24, now + 24, now + 5, now + 24 * 90, now + 24 * 3650] {
            leaves.add(at(end), at(now));
        }
        let counts =
            |now| leaves.by_days_left(at(now)).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(now), [1, 0, 2, 0, 0, 2]);
        assert_eq!(counts(now + 12), [0, 2, 0, 0, 0, 2]);
        assert_eq!(counts(now + 20), [2, 0, 0, 0, 0, 2]);
        assert_eq!(counts(now + 25), [0, 0, 0, 0, 0, 2]);
        // Beyond the horizon one is counted as long as that.
        assert_eq!(counts(now + HORIZON), [1, 0, 0, 0, 0, 0]);
        assert_eq!(counts(now + HORIZON + 1), [0; 6]);
    }
}
