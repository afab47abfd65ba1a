//! The keys that an API server publishes for the tokens that it issues.
//!
//! Read from `/openid/v1/jwks` of that API server, whatever address its discovery document names: no
//! address that somebody else chose is ever fetched.

use super::stats::IdentityStats;
use ca::token::KeySet;
use http::Request;
use kube::Client;
use parking_lot::RwLock;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The least time between two fetches that unknown key ids ask for.
const PAUSE: Duration = Duration::from_secs(10);

/// The least time between two fetches while there are no keys.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How old keys may become before they are fetched again beside the work.
const AGE: Duration = Duration::from_secs(300);

/// Keys as they were published at one time.
pub struct HeldKeys {
    /// The keys.
    pub keys: KeySet,
    /// What tokens name as their issuer.
    pub issuer: String,
    text: String,
    fetched: Instant,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAway {
    /// The API server answers and does not give them: tokens must be reviewed.
    Withheld,
    /// The API server does not answer.
    Unreachable(String),
}

struct Fetching {
    last: Option<Instant>,
    outcome: Result<(), KeysAway>,
}

/// The published keys of one API server, fetched when they are needed.
#[derive(Clone)]
pub struct ClusterKeys(Arc<Inner>);

struct Inner {
    client: Client,
    held: RwLock<Option<Arc<HeldKeys>>>,
    fetching: Mutex<Fetching>,
    stats: Arc<IdentityStats>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl ClusterKeys {
    /// Prepares to fetch; nothing is asked yet.
    pub fn new(client: Client, stats: Arc<IdentityStats>) -> Self {
        let fetching = Mutex::new(Fetching { last: None, outcome: Ok(()) });
        Self(Arc::new(Inner { client, held: RwLock::new(None), fetching, stats }))
    }

    /// Returns the keys, which are fetched if there are none.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub async fn held(&self) -> Result<Arc<HeldKeys>, KeysAway> {
        if let Some(held) = self.look() {
            if held.fetched.elapsed() > AGE {
                // Who asks now is served with what there is.
                let (this, old) = (self.clone(), Arc::clone(&held));
                tokio::spawn(async move { this.newer_than(&old).await });
            }
            return Ok(held);
        }
        let mut fetching = self.0.fetching.lock().await;
        if let Some(held) = self.look() {
            return Ok(held);
        }
        if fetching.last.is_none_or(|last| last.elapsed() >= FIRST_PAUSE) {
            self.fetch(&mut fetching).await;
        }
        match (self.look(), &fetching.outcome) {
            (Some(held), _) => Ok(held),
            (None, Err(away)) => Err(away.clone()),
            (None, Ok(())) => Err(KeysAway::Withheld),
        }
    }

    /// Fetches again, unless that was done a moment ago; nothing when the keys are still the same.
    ///
    /// # Errors
    /// [`KeysAway::Unreachable`] when the last fetch failed so.
    pub async fn newer_than(&self, old: &Arc<HeldKeys>) -> Result<Option<Arc<HeldKeys>>, KeysAway> {
        let mut fetching = self.0.fetching.lock().await;
        let differs = |held: &Arc<HeldKeys>| held.text != old.text;
        if let Some(held) = self.look().filter(differs) {
            return Ok(Some(held));
        }
        if fetching.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.fetch(&mut fetching).await;
        }
        match &fetching.outcome {
            Err(away @ KeysAway::Unreachable(_)) => Err(away.clone()),
            _ => Ok(self.look().filter(differs)),
        }
    }

    fn look(&self) -> Option<Arc<HeldKeys>> {
        self.0.held.read().clone()
    }

    async fn fetch(&self, fetching: &mut Fetching) {
        let outcome = timeout(ANSWER, self.read()).await.unwrap_or_else(|_| {
            Err(KeysAway::Unreachable(format!("the API server does not answer in {} s", ANSWER.as_secs())))
        });
        fetching.last = Some(Instant::now());
        fetching.outcome = match outcome {
            Ok(held) => {
                self.0.stats.key_fetches.add("ok");
                tracing::debug!(keys = held.keys.len(), issuer = held.issuer, "fetched the keys of tokens");
                *self.0.held.write() = Some(Arc::new(held));
                Ok(())
            }
            Err(away) => {
                let (outcome, detail) = match &away {
                    KeysAway::Withheld => ("withheld", "the API server does not publish them to us"),
                    KeysAway::Unreachable(detail) => ("unreachable", detail.as_str()),
                };
                self.0.stats.key_fetches.add(outcome);
                // Keys that were fetched before stay: with them tokens are verified while it is away.
                tracing::warn!(detail, "cannot fetch the keys of tokens");
                Err(away)
            }
        };
    }

    async fn read(&self) -> Result<HeldKeys, KeysAway> {
        let discovery = self.text("/.well-known/openid-configuration").await?;
        let Discovery { issuer } = serde_json::from_str(&discovery).map_err(|_| KeysAway::Withheld)?;
        let text = self.text("/openid/v1/jwks").await?;
        let keys = KeySet::from_json(text.as_bytes()).map_err(|error| {
            tracing::warn!(%error, "the published keys of tokens cannot be used; tokens are reviewed instead");
            KeysAway::Withheld
        })?;
        Ok(HeldKeys { keys, issuer, text, fetched: Instant::now() })
    }

    async fn text(&self, path: &str) -> Result<String, KeysAway> {
        let request = Request::get(path).body(Vec::new()).map_err(|_| KeysAway::Withheld)?;
        self.0.client.request_text(request).await.map_err(|error| match error {
            kube::Error::Api(status) if (400..500).contains(&status.code) => KeysAway::Withheld,
            other => KeysAway::Unreachable(other.to_string()),
        })
    }
}
