//! Reviews tokens with the API server.
//!
//! ```text
//!  token ──▶ plausible? ──▶ refused recently? ──▶ one TokenReview for all concurrent callers
//!            form, audience, times                with bounded concurrency
//! ```

use crate::refused::Refused;
use crate::stats::IdentityStats;
use ca::token::{
    PodBinding, Review, ServiceAccountToken, TokenCache, TokenHash, TokenPolicy, TokenRefusal,
    check_unverified,
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

/// Timeout of one review, including the wait for a permit.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of concurrent reviews.
const MAX_CONCURRENT: usize = 16;

/// How long a refusal is cached: clients retry with the same token.
const REFUSAL_TTL: Duration = Duration::from_secs(5);

/// Maximum number of cached refusals. Forged tokens evict only each other.
const REFUSAL_CACHE: usize = 4096;

/// The outcome of a review.
type Outcome = Result<ServiceAccountToken, Refused>;

/// Reviews tokens (TokenReview, `authentication.k8s.io/v1`).
pub(crate) struct TokenReviewer {
    reviews: Api<TokenReview>,
    permits: Semaphore,
    state: Mutex<State>,
    stats: Arc<IdentityStats>,
}

/// Cached refusals and reviews in progress.
struct State {
    refused: TokenCache<TokenRefusal>,
    in_progress: HashMap<TokenHash, Arc<OnceCell<Outcome>>>,
}

/// One caller of a shared review. If the caller that sends the request is cancelled, the next one sends it.
struct Shared<'r> {
    reviewer: &'r TokenReviewer,
    hash: TokenHash,
    outcome: Option<Arc<OnceCell<Outcome>>>,
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut state = self.reviewer.state.lock();
        drop(self.outcome.take());
        // The last caller removes the entry; nobody joins without the lock.
        if state.in_progress.get(&self.hash).is_some_and(|outcome| Arc::strong_count(outcome) == 1) {
            state.in_progress.remove(&self.hash);
        }
    }
}

impl TokenReviewer {
    /// Creates a reviewer.
    pub fn new(client: Client, stats: Arc<IdentityStats>) -> Self {
        let state = State { refused: TokenCache::new(REFUSAL_CACHE), in_progress: HashMap::new() };
        Self {
            reviews: Api::all(client),
            permits: Semaphore::new(MAX_CONCURRENT),
            state: Mutex::new(state),
            stats,
        }
    }

    /// Reviews a token, unless a recent refusal is cached.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` when the token is not accepted, `Unavailable` when the API server does not
    /// answer.
    pub async fn review(&self, token: &str, policy: &TokenPolicy, now: UnixTime) -> Outcome {
        let expires = check_unverified(token, policy, now)?;
        // What is refused of a pod's may be accepted of somebody's.
        let hash = TokenHash::of(token, if policy.pod == PodBinding::Required { "" } else { "unbound" });
        let shared = {
            let mut state = self.state.lock();
            if let Some(refusal) = state.refused.get(&hash, now) {
                return Err(refusal.clone().into());
            }
            let outcome = Arc::clone(state.in_progress.entry(hash).or_default());
            Shared { reviewer: self, hash, outcome: Some(outcome) }
        };
        let review = async || {
            let outcome = self.request(token, policy).await;
            let outcome = outcome.map(|review| review.accepted(policy, expires));
            self.stats.token_reviews.add(match &outcome {
                Ok(Ok(_)) => "accepted",
                Ok(Err(_)) => "refused",
                Err(_) => "unanswered",
            });
            if let Ok(Err(refusal)) = &outcome {
                let until = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + REFUSAL_TTL);
                self.state.lock().refused.put(hash, refusal.clone(), until, now);
            }
            Ok(outcome??)
        };
        match &shared.outcome {
            Some(outcome) => outcome.get_or_init(review).await.clone(),
            None => review().await,
        }
    }

    async fn request(&self, token: &str, policy: &TokenPolicy) -> Result<Review, Refused> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(policy.audiences.clone()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let response = timeout(REVIEW_TIMEOUT, async {
            let _permit = self.permits.acquire().await;
            self.reviews.create(&PostParams::default(), &review).await
        });
        let failed = |detail: String| {
            tracing::warn!(detail, "cannot review a token");
            // An unauthenticated client must not learn the address of the API server.
            Refused::unavailable("review_failed", "the API server cannot review the token".to_owned())
        };
        let response = response.await;
        let response =
            response.map_err(|_| failed(format!("no answer within {} s", REVIEW_TIMEOUT.as_secs())))?;
        Ok(reviewed(response.map_err(|error| failed(error.to_string()))?))
    }
}

/// Returns what an API server answers; what it leaves out accepts nothing.
pub fn reviewed(review: TokenReview) -> Review {
    let status = review.status.unwrap_or_default();
    let user = status.user.unwrap_or_default();
    Review {
        error: status.error.unwrap_or_default(),
        authenticated: status.authenticated.unwrap_or_default(),
        audiences: status.audiences.unwrap_or_default(),
        username: user.username.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}
