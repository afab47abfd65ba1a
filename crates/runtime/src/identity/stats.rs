//! What is counted of identities, for metrics.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Counters of the secure port.
#[derive(Debug)]
pub struct IdentityStats {
    /// Certificates asked for.
    pub requests: Count,
    /// Certificates issued.
    pub issued: Count,
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
            handshakes: Counts::of(&["failed", "ok", "revoked", "timed_out", "too_many"]),
            root_writes: Counts::of(&["failed", "ok"]),
            crl_writes: Counts::of(&["failed", "ok"]),
            event_writes: Counts::of(&["failed", "ok"]),
        }
    }
}
