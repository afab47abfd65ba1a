//! Asking the API server about a token.

use super::refused::Refused;
use ca::token::{Review, ServiceAccountToken, TokenPolicy};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use rustls::pki_types::UnixTime;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long the API server may take, with the wait for a turn.
const ANSWER: Duration = Duration::from_secs(5);

/// How many tokens may be asked about at once.
const AT_ONCE: usize = 16;

/// The way to ask (TokenReview, `authentication.k8s.io/v1`).
pub struct Reviewer {
    reviews: Api<TokenReview>,
    turns: Semaphore,
}

impl Reviewer {
    /// Prepares to ask.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), turns: Semaphore::new(AT_ONCE) }
    }

    /// Asks about a token. The answer is relied on for `relied_on`.
    ///
    /// # Errors
    /// [`Refused`]: `Unauthenticated` when it is not accepted, `Unavailable` when there is no answer.
    pub async fn review(
        &self,
        token: &str,
        policy: &TokenPolicy,
        now: UnixTime,
        relied_on: Duration,
    ) -> Result<ServiceAccountToken, Refused> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(policy.audiences.clone()) };
        let question = TokenReview { spec, ..TokenReview::default() };
        let asked = timeout(ANSWER, async {
            let _turn = self.turns.acquire().await;
            self.reviews.create(&PostParams::default(), &question).await
        });
        let away = |detail: String| {
            Refused::unavailable("review_failed", format!("cannot review the token: {detail}"))
        };
        let answer = asked.await.map_err(|_| away("the API server does not answer".to_owned()))?;
        let status = answer.map_err(|error| away(error.to_string()))?.status.unwrap_or_default();
        let user = status.user.unwrap_or_default();
        let review = Review {
            error: status.error.unwrap_or_default(),
            authenticated: status.authenticated.unwrap_or_default(),
            audiences: status.audiences.unwrap_or_default(),
            username: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        };
        let expires = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + relied_on.as_secs()));
        Ok(review.accepted(policy, expires)?)
    }
}
