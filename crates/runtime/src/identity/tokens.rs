//! Who the bearer of a token is.
//!
//! ```text
//!  token ──▶ cache by hash ──▶ verified here, with the issuer's published keys
//!                                  │ unknown key id: the keys are fetched again, at most every 10 s
//!                                  │ no keys to be had, or another issuer: TokenReview
//!                                  ▼
//!                        ServiceAccountToken, kept no longer than it is valid
//! ```

use super::cluster_keys::{ClusterKeys, KeysAway};
use super::refused::Refused;
use super::review::Reviewer;
use super::stats::IdentityStats;
use ca::token::{KeySet, ServiceAccountToken, TokenCache, TokenHash, TokenPolicy, TokenRefusal, verify};
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// How many accepted tokens are remembered.
const CACHE: usize = 64 * 1024;

/// How long an answer is relied on that was found here.
const LOCAL: Duration = Duration::from_secs(300);

/// How long an answer of the API server is relied on; it is also how a deleted account shows.
const REVIEWED: Duration = Duration::from_secs(10);

/// How far the clocks of the API server and of this process may differ.
pub(super) const LEEWAY: Duration = Duration::from_secs(10);

/// How tokens are verified.
pub enum Verifier {
    /// By the key of the state folder.
    Development {
        /// Its public half.
        keys: KeySet,
        /// What its tokens name as their issuer.
        issuer: String,
    },
    /// By the keys of an API server, and by asking it.
    Cluster {
        /// Its published keys; nothing means that every token is reviewed.
        keys: Option<ClusterKeys>,
        /// The way to ask.
        reviewer: Reviewer,
    },
}

/// Verifies tokens and remembers those that were accepted.
pub struct Tokens {
    verifier: Verifier,
    audiences: Vec<String>,
    cache: Mutex<TokenCache<Arc<ServiceAccountToken>>>,
    stats: Arc<IdentityStats>,
}

impl Tokens {
    /// Verifies tokens for these audiences.
    pub fn new(verifier: Verifier, audiences: Vec<String>, stats: Arc<IdentityStats>) -> Self {
        Self { verifier, audiences, cache: Mutex::new(TokenCache::new(CACHE)), stats }
    }

    /// Tells whether tokens are those of the state folder.
    pub fn are_for_development(&self) -> bool {
        matches!(self.verifier, Verifier::Development { .. })
    }

    /// Returns what is known of a token without any work.
    pub fn known(&self, token: &str, now: UnixTime) -> Option<Arc<ServiceAccountToken>> {
        let found = self.cache.lock().get(&TokenHash::of(token, ""), now).cloned();
        if found.is_some() {
            self.stats.tokens.add("cache");
        }
        found
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` for a token that is not accepted, `Unavailable` when it could
    /// not be judged.
    pub async fn verify(&self, token: &str, now: UnixTime) -> Result<Arc<ServiceAccountToken>, Refused> {
        let (verified, how, relied_on) = match &self.verifier {
            Verifier::Development { keys, issuer } => {
                (verify(token, keys, &self.policy(vec![issuer.clone()]), now)?, "local", LOCAL)
            }
            Verifier::Cluster { keys, reviewer } => {
                // A token that is over the limit reaches nobody.
                if token.len() > ca::token::MAX_TOKEN_BYTES {
                    return Err(TokenRefusal::TooLong(token.len()).into());
                }
                let local = match keys {
                    Some(keys) => self.verify_with(keys, token, now).await?,
                    None => None,
                };
                match local {
                    Some(verified) => (verified, "local", LOCAL),
                    None => {
                        let policy = self.policy(Vec::new());
                        (reviewer.review(token, &policy, now, REVIEWED).await?, "review", REVIEWED)
                    }
                }
            }
        };
        self.stats.tokens.add(how);
        let verified = Arc::new(verified);
        let limit = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + relied_on.as_secs()));
        let end = limit.min(verified.expires);
        self.cache.lock().put(TokenHash::of(token, ""), Arc::clone(&verified), end, now);
        Ok(verified)
    }

    /// Verifies with published keys; nothing when these cannot decide.
    async fn verify_with(
        &self,
        keys: &ClusterKeys,
        token: &str,
        now: UnixTime,
    ) -> Result<Option<ServiceAccountToken>, Refused> {
        let unreachable = |detail| Refused::unavailable("keys_unreachable", detail);
        let held = match keys.held().await {
            Ok(held) => held,
            Err(KeysAway::Withheld) => return Ok(None),
            Err(KeysAway::Unreachable(detail)) => return Err(unreachable(detail)),
        };
        let attempt = verify(token, &held.keys, &self.policy(vec![held.issuer.clone()]), now);
        match attempt {
            Err(TokenRefusal::UnknownKey { key_id }) => {
                let newer = match keys.newer_than(&held).await {
                    Ok(Some(newer)) => newer,
                    Err(KeysAway::Unreachable(detail)) => return Err(unreachable(detail)),
                    Ok(None) | Err(KeysAway::Withheld) => {
                        return Err(TokenRefusal::UnknownKey { key_id }.into());
                    }
                };
                // Keys that are no longer published may have been withdrawn.
                self.cache.lock().clear();
                Ok(Some(verify(token, &newer.keys, &self.policy(vec![newer.issuer.clone()]), now)?))
            }
            // An API server may accept further issuers, of which it publishes one only.
            Err(TokenRefusal::Issuer) => Ok(None),
            decided => Ok(Some(decided?)),
        }
    }

    fn policy(&self, issuers: Vec<String>) -> TokenPolicy {
        TokenPolicy { issuers, audiences: self.audiences.clone(), leeway: LEEWAY, require_pod: true }
    }
}
