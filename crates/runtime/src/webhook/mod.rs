//! The port that API servers ask before an object is written.
//!
//! ```text
//! API server ──TLS──▶ /validate ──body, charged to its sender──▶ Judge, on a thread for blocking work ──▶ decision
//!                     /inject: what there is instead of sidecars
//! ```
//!
//! Nothing of the mesh is asked, so a write is answered while the engine is busy or has not begun. Bodies are bounded one
//! by one and together: whoever holds the most gives way.

mod stats;

pub use stats::WebhookStats;

use admission::{Decision, Judge, Review};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures::StreamExt;
use limits::{FairBudget, Peer};
use server::http::HttpBounds;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The longest body, in bytes: an object of 1.5 MiB as it is and as it is to be, and room for escapes.
pub const LONGEST_BODY: usize = 6 * 1024 * 1024;
/// What all bodies may have together while they are received and judged, in bytes, and those of one client.
const BODIES: (u64, u64) = (64 * 1024 * 1024, 48 * 1024 * 1024);
/// How long a body may take to arrive: API servers give up after ten seconds unless they are told otherwise.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many objects are judged at once.
const JUDGES: usize = 2;

/// The bounds of connections: API servers have few addresses and, by HTTP/1, a connection for each request at once.
pub fn bounds() -> HttpBounds {
    HttpBounds { connections: 1024, connections_of_address: 512, ..HttpBounds::default() }
}

/// What answers.
#[derive(Clone)]
pub struct Webhook {
    judge: Arc<Judge>,
    stats: Arc<WebhookStats>,
    bodies: Arc<FairBudget>,
    judges: Arc<Semaphore>,
    admits_without_sidecar: bool,
}

impl Webhook {
    /// Judges by `judge`. A pod that is to get a sidecar is admitted without one only if that was asked for.
    pub fn new(judge: Judge, stats: Arc<WebhookStats>, admits_without_sidecar: bool) -> Self {
        Self {
            judge: Arc::new(judge),
            stats,
            bodies: Arc::new(FairBudget::new(BODIES.0, BODIES.1)),
            judges: Arc::new(Semaphore::new(JUDGES)),
            admits_without_sidecar,
        }
    }

    /// Returns the paths of the port.
    pub fn router(self) -> Router {
        Router::new()
            .route("/ready", get(|| async { StatusCode::OK }))
            .route("/validate", post(validate))
            .route("/validate/", post(validate))
            .route("/inject", post(inject))
            .route("/inject/", post(inject))
            .route("/inject/{*rest}", post(inject))
            .with_state(self)
    }

    /// Receives the body of a request, and answers it by `decision`.
    async fn answer(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        body: Body,
        decision: impl FnOnce(&Review<'_>) -> Decision + Send + 'static,
    ) -> Response {
        match self.try_answer(peer, headers, body, decision).await {
            Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
            Err((status, why)) => {
                self.stats.unanswered(status);
                tracing::debug!(%peer, %status, why, "a request to the webhook is not answered");
                (status, format!("{why}\n")).into_response()
            }
        }
    }

    async fn try_answer(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        body: Body,
        decision: impl FnOnce(&Review<'_>) -> Decision + Send + 'static,
    ) -> Result<Vec<u8>, (StatusCode, String)> {
        let wrong = |status, why: &str| Err((status, why.to_owned()));
        let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = content.and_then(|value| value.split(';').next()).map(str::trim);
        if media.is_none_or(|media| !media.eq_ignore_ascii_case("application/json")) {
            return wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json");
        }
        let evicted = CancellationToken::new();
        let on_evict = evicted.clone();
        let mut charge = self.bodies.open(peer.to_string().into(), move || on_evict.cancel());
        let received = async {
            let (mut parts, mut all) = (body.into_data_stream(), Vec::new());
            while let Some(part) = parts.next().await {
                let part =
                    part.map_err(|error| (StatusCode::BAD_REQUEST, format!("the body breaks off: {error}")))?;
                if all.len() + part.len() > LONGEST_BODY {
                    let why = format!("the body is longer than {LONGEST_BODY} bytes");
                    return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
                }
                all.extend_from_slice(&part);
                let held = charge.set(all.len() as u64);
                held.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
            }
            Ok(all)
        };
        let body = tokio::select! {
            received = timeout(BODY_TIMEOUT, received) => match received {
                Ok(received) => received?,
                Err(_) => return wrong(StatusCode::REQUEST_TIMEOUT, "the body does not arrive in time"),
            },
            () = evicted.cancelled() => return wrong(StatusCode::SERVICE_UNAVAILABLE, "others need the room"),
        };
        if body.is_empty() {
            return wrong(StatusCode::BAD_REQUEST, "the body is empty");
        }
        // Closed with the process alone.
        let Ok(_turn) = self.judges.acquire().await else {
            return wrong(StatusCode::SERVICE_UNAVAILABLE, "the process stops");
        };
        let stats = Arc::clone(&self.stats);
        let judged = tokio::task::spawn_blocking(move || {
            let review = Review::read(&body)?;
            let decision = decision(&review);
            stats.judged(&review.request, &decision);
            Ok(review.answer(&decision))
        });
        let judged = judged.await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        drop(charge);
        judged.map_err(|why| (StatusCode::BAD_REQUEST, why))
    }
}

async fn validate(
    State(webhook): State<Webhook>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let judge = Arc::clone(&webhook.judge);
    webhook.answer(peer, &headers, body, move |review| judge.decide(&review.request)).await
}

/// What a pod is told that is to get a sidecar.
const NO_SIDECARS: &str = "Pilothouse injects no sidecars: delete the webhook that asks for one, and enrol the namespace by the \
                           label istio.io/dataplane-mode: ambient";

/// Denies, so that no pod runs without the sidecar that it counts on unless somebody asked for that.
async fn inject(
    State(webhook): State<Webhook>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let admits = webhook.admits_without_sidecar;
    let decision = move |_: &Review<'_>| match admits {
        true => Decision::Allowed { warnings: vec![NO_SIDECARS.to_owned()] },
        false => Decision::Denied {
            reason: admission::Reason::Invalid,
            message: format!("{NO_SIDECARS}; or let pods start without one (--admit-without-sidecar)"),
            warnings: Vec::new(),
        },
    };
    webhook.answer(peer, &headers, body, decision).await
}

#[cfg(test)]
mod tests;
