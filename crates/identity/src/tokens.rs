//! Who the bearer of a token is.
//!
//! ```text
//!  token ──▶ cache by hash ──▶ verified here, with the keys that its issuer publishes
//!                │                 │ unknown key id: the keys are fetched again, at most every 10 s
//!                │                 │ the API server's issuer and no keys to be had: TokenReview, for what
//!                │                 │ might be accepted; once for all who show the same token
//!                │                 ▼
//!                └───────── ServiceAccountToken, kept no longer than it is valid and its keys are the same
//! ```
//!
//! An issuer that a rule names is the only judge of its tokens; all others are the cluster's.

use super::key_source::KeySource;
use super::published_keys::{KeyChanges, KeysAway, PublishedKeys};
use super::refused::Refused;
use super::review::Reviewer;
use super::stats::IdentityStats;
use super::web::Web;
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

/// How many accepted tokens are remembered.
const CACHE: usize = 64 * 1024;

/// How long an answer is relied on that was found here.
const LOCAL: Duration = Duration::from_secs(300);

/// How long it is relied on that the API server accepts a token; it is also how a deleted account shows.
const REVIEWED: Duration = Duration::from_secs(10);

/// How far the clocks of the API server and of this process may differ.
pub(super) const LEEWAY: Duration = Duration::from_secs(10);

/// How tokens of the cluster itself are verified.
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
        /// The API server that publishes keys; nothing means that every token is reviewed.
        keys: Option<Client>,
        /// The way to ask.
        reviewer: Box<Reviewer>,
    },
}

/// Keys for the tokens of the cluster itself.
enum Own {
    Development(KeySet, String),
    Cluster(Option<PublishedKeys>, Box<Reviewer>),
}

/// A further issuer.
struct Further {
    rule: IssuerRule,
    keys: PublishedKeys,
}

/// Accepted tokens, as long as keys are the same.
struct Accepted {
    answers: TokenCache<Arc<ServiceAccountToken>>,
    /// How often keys had changed when the first of them was accepted.
    changes: u64,
}

/// Verifies tokens and remembers those that were accepted.
pub struct Tokens {
    own: Own,
    further: Vec<Further>,
    audiences: Vec<String>,
    accepted: Mutex<Accepted>,
    changes: KeyChanges,
    stats: Arc<IdentityStats>,
}

impl Tokens {
    /// Verifies tokens of the cluster for these audiences, and those of further issuers by their rules,
    /// with keys that are fetched from the web.
    pub fn new(
        verifier: Verifier,
        audiences: Vec<String>,
        further: Option<(Vec<IssuerRule>, Web)>,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let changes = KeyChanges::default();
        let published = |source| PublishedKeys::new(source, changes.clone(), Arc::clone(&stats));
        let own = match verifier {
            Verifier::Development { keys, issuer } => Own::Development(keys, issuer),
            Verifier::Cluster { keys, reviewer } => {
                Own::Cluster(keys.map(|client| published(KeySource::ApiServer(client))), reviewer)
            }
        };
        let further = further.into_iter().flat_map(|(rules, web)| {
            rules.into_iter().map(move |rule| (KeySource::Issuer(rule.clone(), web.clone()), rule))
        });
        let further = further.map(|(source, rule)| Further { rule, keys: published(source) }).collect();
        let accepted = Mutex::new(Accepted { answers: TokenCache::new(CACHE), changes: 0 });
        Self { own, further, audiences, accepted, changes, stats }
    }

    /// Fetches all keys before a token needs them: once they are here, it does not matter whether who
    /// publishes them is away. `asked` is cancelled when the API server was asked for the first time,
    /// whatever it answered; an issuer that is slow is not waited for. Ends when there is nothing left to
    /// try again.
    pub async fn fetch_keys(&self, asked: &CancellationToken) {
        let further = futures::future::join_all(self.further.iter().map(|issuer| issuer.keys.first()));
        tokio::join!(further, self.fetch_own_keys(asked));
    }

    async fn fetch_own_keys(&self, asked: &CancellationToken) {
        let Own::Cluster(Some(own), _) = &self.own else { return asked.cancel() };
        let _ = own.held().await;
        asked.cancel();
        if let Some(own) = own.first().await
            && self.further.iter().any(|issuer| issuer.rule.issuer == own.issuer)
        {
            tracing::error!(
                issuer = own.issuer,
                "--jwt-rules names the issuer of this cluster itself: its ztunnels get no certificate for their \
                 pods; remove that rule",
            );
        }
    }

    /// Tells whether the cluster's tokens are those of the state folder.
    pub fn are_for_development(&self) -> bool {
        matches!(self.own, Own::Development(..))
    }

    /// Returns what is known of a token without any work.
    pub fn known(&self, token: &str, now: UnixTime) -> Option<Arc<ServiceAccountToken>> {
        let found = self.accepted().answers.get(&TokenHash::of(token, ""), now).cloned();
        if found.is_some() {
            self.stats.tokens.add("cache");
        }
        found
    }

    /// Returns the tokens accepted by the keys that there are: a key that is no longer published may
    /// have been withdrawn.
    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        let mut accepted = self.accepted.lock();
        let changes = self.changes.count();
        if accepted.changes != changes {
            accepted.answers.clear();
            accepted.changes = changes;
        }
        accepted
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` for a token that is not accepted, `Unavailable` when it could
    /// not be judged.
    pub async fn verify(&self, token: &str, now: UnixTime) -> Result<Arc<ServiceAccountToken>, Refused> {
        // A token that is over the limit reaches nobody.
        if token.len() > ca::token::MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLong(token.len()).into());
        }
        let changes = self.changes.count();
        let (verified, how, relied_on) = match self.further_issuer(token) {
            Some(Further { rule, keys }) => {
                let judged = verify_with(keys, token, rule.policy(LEEWAY), now).await?;
                (judged.ok_or(TokenRefusal::Issuer)?, "issuer", LOCAL)
            }
            None => self.verify_own(token, now).await?,
        };
        self.stats.tokens.add(how);
        let verified = Arc::new(verified);
        let limit = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + relied_on.as_secs()));
        let end = limit.min(verified.expires);
        let mut accepted = self.accepted();
        // With keys that changed meanwhile, who knows by which it was accepted.
        if accepted.changes == changes {
            accepted.answers.put(TokenHash::of(token, ""), Arc::clone(&verified), end, now);
        }
        Ok(verified)
    }

    fn further_issuer(&self, token: &str) -> Option<&Further> {
        if self.further.is_empty() {
            return None;
        }
        let claimed = claimed_issuer(token)?;
        self.further.iter().find(|issuer| issuer.rule.issuer == claimed)
    }

    async fn verify_own(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<(ServiceAccountToken, &'static str, Duration), Refused> {
        let policy = |issuers| TokenPolicy {
            issuers,
            audiences: self.audiences.clone(),
            leeway: LEEWAY,
            pod: PodBinding::Required,
        };
        let (keys, reviewer) = match &self.own {
            Own::Development(keys, issuer) => {
                return Ok((verify(token, keys, &policy(vec![issuer.clone()]), now)?, "local", LOCAL));
            }
            Own::Cluster(keys, reviewer) => (keys, reviewer),
        };
        let local = match keys {
            Some(keys) => verify_with(keys, token, policy(Vec::new()), now).await?,
            None => None,
        };
        match local {
            Some(verified) => Ok((verified, "local", LOCAL)),
            None => {
                let policy = policy(Vec::new());
                Ok((reviewer.review(token, &policy, now).await?, "review", REVIEWED))
            }
        }
    }
}

/// Verifies with published keys; nothing when these cannot decide.
async fn verify_with(
    keys: &PublishedKeys,
    token: &str,
    policy: TokenPolicy,
    now: UnixTime,
) -> Result<Option<ServiceAccountToken>, Refused> {
    // The log has what failed: who is not known learns no address.
    let unreachable = || {
        Refused::unavailable(
            "keys_unreachable",
            "the keys of the token's issuer are not to be had".to_owned(),
        )
    };
    let of = |issuer: &str| TokenPolicy { issuers: vec![issuer.to_owned()], ..policy.clone() };
    let held = match keys.held().await {
        Ok(held) => held,
        Err(KeysAway::Withheld) => return Ok(None),
        Err(KeysAway::Unreachable(_) | KeysAway::Blocked(_)) => return Err(unreachable()),
    };
    match verify(token, &held.keys, &of(&held.issuer), now) {
        Err(TokenRefusal::UnknownKey { key_id }) => match keys.newer_than(&held).await {
            Ok(Some(newer)) => Ok(Some(verify(token, &newer.keys, &of(&newer.issuer), now)?)),
            Ok(None) | Err(KeysAway::Withheld) => Err(TokenRefusal::UnknownKey { key_id }.into()),
            Err(KeysAway::Unreachable(_) | KeysAway::Blocked(_)) => Err(unreachable()),
        },
        // An API server may accept further issuers, of which it publishes one only.
        Err(TokenRefusal::Issuer) => Ok(None),
        decided => Ok(Some(decided?)),
    }
}
