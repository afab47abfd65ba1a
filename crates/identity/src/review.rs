//! Asking the API server about a token.
//!
//! ```text
//!  token ──▶ might it be accepted? ──▶ refused a moment ago? ──▶ one question for all who show it now
//!            form, audience, times                               within a number of turns
//! ```

use super::refused::Refused;
use super::stats::IdentityStats;
use ca::token::{
    Review, ServiceAccountToken, TokenCache, TokenHash, TokenPolicy, TokenRefusal, check_unverified,
};
use hashbrown::HashMap;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

/// How long the API server may take, with the wait for a turn.
const ANSWER: Duration = Duration::from_secs(5);

/// How many tokens may be asked about at once.
const AT_ONCE: usize = 16;

/// How long a refusal is remembered: clients come again with the token that they have.
const REFUSED: Duration = Duration::from_secs(5);

/// How many refusals are remembered. Made-up tokens push each other out, and nothing else.
const REFUSALS: usize = 4096;

/// What became of a question.
type Answer = Result<ServiceAccountToken, Refused>;

/// The way to ask (TokenReview, `authentication.k8s.io/v1`).
pub struct Reviewer {
    reviews: Api<TokenReview>,
    turns: Semaphore,
    pending: Mutex<Pending>,
    stats: Arc<IdentityStats>,
}

/// What needs no further question.
struct Pending {
    refused: TokenCache<TokenRefusal>,
    asked: HashMap<TokenHash, Arc<OnceCell<Answer>>>,
}

/// One of those who wait for the same answer. If the one that asks goes away, the next one asks.
struct Waiting<'r> {
    reviewer: &'r Reviewer,
    hash: TokenHash,
    answer: Option<Arc<OnceCell<Answer>>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut pending = self.reviewer.pending.lock();
        drop(self.answer.take());
        // The last one to leave: nobody joins without the lock.
        if pending.asked.get(&self.hash).is_some_and(|answer| Arc::strong_count(answer) == 1) {
            pending.asked.remove(&self.hash);
        }
    }
}

impl Reviewer {
    /// Prepares to ask.
    pub fn new(client: Client, stats: Arc<IdentityStats>) -> Self {
        let pending = Pending { refused: TokenCache::new(REFUSALS), asked: HashMap::new() };
        Self {
            reviews: Api::all(client),
            turns: Semaphore::new(AT_ONCE),
            pending: Mutex::new(pending),
            stats,
        }
    }

    /// Asks about a token, unless the answer is known.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` when it is not accepted, `Unavailable` when there is no answer.
    pub async fn review(&self, token: &str, policy: &TokenPolicy, now: UnixTime) -> Answer {
        let expires = check_unverified(token, policy, now)?;
        let hash = TokenHash::of(token, "");
        let waiting = {
            let mut pending = self.pending.lock();
            if let Some(refusal) = pending.refused.get(&hash, now) {
                return Err(refusal.clone().into());
            }
            let answer = Arc::clone(pending.asked.entry(hash).or_default());
            Waiting { reviewer: self, hash, answer: Some(answer) }
        };
        let ask = async || {
            let answer = self.ask(token, policy).await;
            let answer = answer.map(|review| review.accepted(policy, expires));
            self.stats.token_reviews.add(match &answer {
                Ok(Ok(_)) => "accepted",
                Ok(Err(_)) => "refused",
                Err(_) => "unanswered",
            });
            if let Ok(Err(refusal)) = &answer {
                let until = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + REFUSED);
                self.pending.lock().refused.put(hash, refusal.clone(), until, now);
            }
            Ok(answer??)
        };
        match &waiting.answer {
            Some(answer) => answer.get_or_init(ask).await.clone(),
            None => ask().await,
        }
    }

    async fn ask(&self, token: &str, policy: &TokenPolicy) -> Result<Review, Refused> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(policy.audiences.clone()) };
        let question = TokenReview { spec, ..TokenReview::default() };
        let asked = timeout(ANSWER, async {
            let _turn = self.turns.acquire().await;
            self.reviews.create(&PostParams::default(), &question).await
        });
        let away = |detail: String| {
            tracing::warn!(detail, "cannot ask the API server about a token");
            // Who is not known learns no address.
            Refused::unavailable("review_failed", "the API server cannot be asked about the token".to_owned())
        };
        let answer = asked.await.map_err(|_| away(format!("no answer in {} s", ANSWER.as_secs())))?;
        let status = answer.map_err(|error| away(error.to_string()))?.status.unwrap_or_default();
        let user = status.user.unwrap_or_default();
        Ok(Review {
            error: status.error.unwrap_or_default(),
            authenticated: status.authenticated.unwrap_or_default(),
            audiences: status.audiences.unwrap_or_default(),
            username: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        })
    }
}
