//! Verifies bearer tokens, and caches the valid ones.
//!
//! ```text
//!  token ──▶ cache by hash ──▶ verified with the keys that its issuer publishes
//!                │                 │ unknown key id: the keys are refreshed, at most every 10 s
//!                │                 │ the API server does not publish keys: TokenReview of plausible tokens,
//!                │                 │ one for all concurrent callers
//!                │                 ▼
//!                └───────── ServiceAccountToken, cached until it expires or the keys change
//! ```
//!
//! Tokens of a configured issuer are verified with its rule only; all others with the cluster's issuer.

use super::key_source::KeySource;
use super::keys::FetchError;
use super::published_keys::{KeyChanges, PublishedKeys};
use super::reviewer::TokenReviewer;
use super::web_client::WebClient;
use crate::clock::Clock;
use crate::refused::Refused;
use crate::stats::IdentityStats;
use ca::token::{
    IssuerRule, KeySet, PodBinding, ServiceAccountToken, TokenCache, TokenHash, TokenPolicy, TokenRefusal,
    claimed_issuer, verify,
};
use kube::Client;
use parking_lot::{Mutex, MutexGuard};
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Maximum number of cached tokens.
const CACHE_SIZE: usize = 64 * 1024;

/// How long a locally verified token is cached.
const LOCAL_TTL: Duration = Duration::from_secs(300);

/// How long a reviewed token is cached; bounds how long a deleted account is still accepted.
const REVIEWED_TTL: Duration = Duration::from_secs(10);

/// Tolerated clock skew between the issuer and this process.
pub(crate) const LEEWAY: Duration = Duration::from_secs(10);

/// The issuer of the cluster's own tokens.
pub(crate) enum PrimaryIssuer {
    /// The state folder: development tokens.
    Development {
        /// The public keys.
        keys: KeySet,
        /// The `iss` claim of its tokens.
        issuer: String,
    },
    /// An API server.
    ApiServer {
        /// The client that fetches the published keys; `None` to review every token.
        keys: Option<Client>,
        /// Reviews tokens.
        reviewer: Box<TokenReviewer>,
    },
}

/// How tokens of the primary issuer are verified.
enum Primary {
    Development(KeySet, String),
    ApiServer(Option<PublishedKeys>, Box<TokenReviewer>),
}

/// An additional, configured issuer.
struct AdditionalIssuer {
    rule: IssuerRule,
    keys: PublishedKeys,
}

/// Valid tokens, cached as long as no issuer's keys change.
struct Cache {
    tokens: TokenCache<Arc<ServiceAccountToken>>,
    /// The count of key changes when the cache was last cleared.
    changes: u64,
}

/// Verifies tokens, and caches the valid ones.
pub(crate) struct TokenVerifier {
    primary: Primary,
    additional: Vec<AdditionalIssuer>,
    audiences: Vec<String>,
    cache: Mutex<Cache>,
    changes: KeyChanges,
    stats: Arc<IdentityStats>,
}

impl TokenVerifier {
    /// Verifies tokens of the primary issuer for these audiences, and those of additional issuers by their
    /// rules, with keys that are fetched over HTTPS.
    pub fn new(
        primary: PrimaryIssuer,
        audiences: Vec<String>,
        additional: Option<(Vec<IssuerRule>, WebClient)>,
        clock: Arc<dyn Clock>,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let changes = KeyChanges::default();
        let published =
            |source| PublishedKeys::new(source, changes.clone(), Arc::clone(&clock), Arc::clone(&stats));
        let primary = match primary {
            PrimaryIssuer::Development { keys, issuer } => Primary::Development(keys, issuer),
            PrimaryIssuer::ApiServer { keys, reviewer } => {
                Primary::ApiServer(keys.map(|client| published(KeySource::ApiServer(client))), reviewer)
            }
        };
        let additional = additional.into_iter().flat_map(|(rules, client)| {
            rules.into_iter().map(move |rule| (KeySource::Issuer(rule.clone(), client.clone()), rule))
        });
        let additional =
            additional.map(|(source, rule)| AdditionalIssuer { rule, keys: published(source) }).collect();
        let cache = Mutex::new(Cache { tokens: TokenCache::new(CACHE_SIZE), changes: 0 });
        Self { primary, additional, audiences, cache, changes, stats }
    }

    /// Fetches all keys before a token needs them, so that issuers may be unavailable later. `attempted` is
    /// cancelled after the first request to the API server, whatever its outcome; additional issuers are not
    /// waited for. Returns when nothing is left to retry.
    pub async fn fetch_keys(&self, attempted: &CancellationToken) {
        let additional = futures::future::join_all(self.additional.iter().map(|issuer| issuer.keys.first()));
        tokio::join!(additional, self.fetch_primary_keys(attempted));
    }

    async fn fetch_primary_keys(&self, attempted: &CancellationToken) {
        let Primary::ApiServer(Some(keys), _) = &self.primary else { return attempted.cancel() };
        let _ = keys.cached().await;
        attempted.cancel();
        if let Some(keys) = keys.first().await
            && self.additional.iter().any(|issuer| issuer.rule.issuer == keys.issuer)
        {
            tracing::error!(
                issuer = keys.issuer,
                "--jwt-rules names the issuer of this cluster itself: its ztunnels get no certificate for their \
                 pods; remove that rule",
            );
        }
    }

    /// Returns whether the primary issuer is the state folder.
    pub fn are_for_development(&self) -> bool {
        matches!(self.primary, Primary::Development(..))
    }

    /// Returns a cached token.
    pub fn cached(&self, token: &str, now: UnixTime) -> Option<Arc<ServiceAccountToken>> {
        let found = self.cache().tokens.get(&TokenHash::of(token, ""), now).cloned();
        if found.is_some() {
            self.stats.tokens.add("cache");
        }
        found
    }

    /// Returns the cache, cleared if keys have changed: a key that is no longer published may have been
    /// revoked.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        let mut cache = self.cache.lock();
        let changes = self.changes.count();
        if cache.changes != changes {
            cache.tokens.clear();
            cache.changes = changes;
        }
        cache
    }

    /// Verifies a token; `pod` says what a token of the cluster must be. `may_review` is asked before the API server is: a
    /// signature is verified for whoever shows one, and a review costs others something.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` for a token that is not accepted, `Unavailable` when it could
    /// not be verified, and what `may_review` says.
    pub async fn verify(
        &self,
        token: &str,
        now: UnixTime,
        pod: PodBinding,
        may_review: &(dyn Fn() -> Result<(), Refused> + Sync),
    ) -> Result<Arc<ServiceAccountToken>, Refused> {
        // An oversized token is neither hashed nor sent anywhere.
        if token.len() > ca::token::MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLong(token.len()).into());
        }
        let changes = self.changes.count();
        let (verified, how, ttl) = match self.additional_issuer(token) {
            Some(AdditionalIssuer { rule, keys }) => {
                let verified = verify_with(keys, token, rule.policy(LEEWAY), now).await?;
                (verified.ok_or(TokenRefusal::Issuer)?, "issuer", LOCAL_TTL)
            }
            None => self.verify_primary(token, now, pod, may_review).await?,
        };
        self.stats.tokens.add(how);
        let verified = Arc::new(verified);
        let limit = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + ttl.as_secs()));
        let end = limit.min(verified.expires);
        let mut cache = self.cache();
        // If keys have changed meanwhile, the token may have been verified with the old ones.
        if cache.changes == changes {
            cache.tokens.put(TokenHash::of(token, ""), Arc::clone(&verified), end, now);
        }
        Ok(verified)
    }

    fn additional_issuer(&self, token: &str) -> Option<&AdditionalIssuer> {
        if self.additional.is_empty() {
            return None;
        }
        let claimed = claimed_issuer(token)?;
        self.additional.iter().find(|issuer| issuer.rule.issuer == claimed)
    }

    async fn verify_primary(
        &self,
        token: &str,
        now: UnixTime,
        pod: PodBinding,
        may_review: &(dyn Fn() -> Result<(), Refused> + Sync),
    ) -> Result<(ServiceAccountToken, &'static str, Duration), Refused> {
        let policy =
            |issuers| TokenPolicy { issuers, audiences: self.audiences.clone(), leeway: LEEWAY, pod };
        let (keys, reviewer) = match &self.primary {
            Primary::Development(keys, issuer) => {
                return Ok((verify(token, keys, &policy(vec![issuer.clone()]), now)?, "local", LOCAL_TTL));
            }
            Primary::ApiServer(keys, reviewer) => (keys, reviewer),
        };
        let local = match keys {
            Some(keys) => verify_with(keys, token, policy(Vec::new()), now).await?,
            None => None,
        };
        match local {
            Some(verified) if !verified.is_unbound => Ok((verified, "local", LOCAL_TTL)),
            // Of one that no pod holds nothing else tells whether its account still exists.
            _ => {
                may_review()?;
                let policy = policy(Vec::new());
                Ok((reviewer.review(token, &policy, now).await?, "review", REVIEWED_TTL))
            }
        }
    }
}

/// Verifies a token with published keys; returns `None` when they cannot decide.
async fn verify_with(
    keys: &PublishedKeys,
    token: &str,
    policy: TokenPolicy,
    now: UnixTime,
) -> Result<Option<ServiceAccountToken>, Refused> {
    // The reason is logged: an unauthenticated client must not learn the address of the issuer.
    let unreachable = || {
        Refused::unavailable("keys_unreachable", "the keys of the token's issuer are unavailable".to_owned())
    };
    let of = |issuer: &str| TokenPolicy { issuers: vec![issuer.to_owned()], ..policy.clone() };
    let cached = match keys.cached().await {
        Ok(cached) => cached,
        Err(FetchError::Withheld) => return Ok(None),
        Err(FetchError::Unreachable(_) | FetchError::Blocked(_)) => return Err(unreachable()),
    };
    match verify(token, &cached.keys, &of(&cached.issuer), now) {
        Err(TokenRefusal::UnknownKey { key_id }) => match keys.refresh(&cached).await {
            Ok(Some(newer)) => Ok(Some(verify(token, &newer.keys, &of(&newer.issuer), now)?)),
            Ok(None) | Err(FetchError::Withheld) => Err(TokenRefusal::UnknownKey { key_id }.into()),
            Err(FetchError::Unreachable(_) | FetchError::Blocked(_)) => Err(unreachable()),
        },
        // An API server may accept several issuers and publish the keys of only one.
        Err(TokenRefusal::Issuer) => Ok(None),
        decided => Ok(Some(decided?)),
    }
}
