//! The keys that an issuer of tokens publishes, as they were fetched last.
//!
//! ```text
//!  a token ──▶ held ───────────── known key id ──▶ verified
//!               ▲ └── unknown ──▶ newer_than: one fetch for all who ask, at most every 10 s
//!               └── fetch, a task of its own: whoever waits for it may go away
//! ```

use super::key_source::KeySource;
use super::stats::IdentityStats;
use ca::token::KeySet;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep, timeout};

/// How long the server may take for all that is fetched.
const ANSWER: Duration = Duration::from_secs(5);

/// The least time between two fetches that unknown key ids ask for.
pub const PAUSE: Duration = Duration::from_secs(10);

/// The least time between two fetches while there are no keys.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest time until it is tried again whether there are keys now, when nobody needs them yet.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How old keys may become before they are fetched again beside the work.
const AGE: Duration = Duration::from_secs(300);

/// Keys as a source gives them.
pub struct Published {
    /// The keys.
    pub keys: KeySet,
    /// What tokens name as their issuer.
    pub issuer: String,
    /// The document that they are from: equal keys have an equal one.
    pub text: Vec<u8>,
}

/// Keys as they were published at one time.
pub struct HeldKeys {
    /// The keys.
    pub keys: KeySet,
    /// What tokens name as their issuer.
    pub issuer: String,
    text: Vec<u8>,
    fetched: Instant,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAway {
    /// The API server answers and does not give them: tokens must be reviewed.
    Withheld,
    /// The address leads where nothing is ever asked.
    Blocked(String),
    /// They are not to be had now.
    Unreachable(String),
}

/// How often keys became others, of all issuers together.
#[derive(Debug, Clone, Default)]
pub struct KeyChanges(Arc<AtomicU64>);

impl KeyChanges {
    /// Returns the count.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

struct Fetching {
    last: Option<Instant>,
    outcome: Result<(), KeysAway>,
}

/// The published keys of one issuer, fetched at the start, and when they are needed.
#[derive(Clone)]
pub struct PublishedKeys(Arc<Inner>);

struct Inner {
    source: KeySource,
    held: RwLock<Option<Arc<HeldKeys>>>,
    fetching: Arc<Mutex<Fetching>>,
    changes: KeyChanges,
    stats: Arc<IdentityStats>,
}

impl PublishedKeys {
    /// Prepares to fetch; nothing is asked yet.
    pub fn new(source: KeySource, changes: KeyChanges, stats: Arc<IdentityStats>) -> Self {
        let fetching = Arc::new(Mutex::new(Fetching { last: None, outcome: Ok(()) }));
        Self(Arc::new(Inner { source, held: RwLock::new(None), fetching, changes, stats }))
    }

    /// Returns the keys, which are fetched if there are none.
    ///
    /// # Errors
    /// [`KeysAway`].
    pub async fn held(&self) -> Result<Arc<HeldKeys>, KeysAway> {
        if let Some(held) = self.look() {
            if held.fetched.elapsed() > AGE
                && let Ok(fetching) = Arc::clone(&self.0.fetching).try_lock_owned()
                && may_fetch(&fetching, PAUSE)
            {
                // Who asks now is served with what there is.
                drop(tokio::spawn(self.clone().fetch(fetching)));
            }
            return Ok(held);
        }
        let mut fetching = Arc::clone(&self.0.fetching).lock_owned().await;
        if self.look().is_none() && may_fetch(&fetching, FIRST_PAUSE) {
            fetching = self.fetch_apart(fetching).await;
        }
        match (self.look(), &fetching.outcome) {
            (Some(held), _) => Ok(held),
            (None, Err(away)) => Err(away.clone()),
            (None, Ok(())) => Err(KeysAway::Withheld),
        }
    }

    /// Returns the first keys, which are fetched until there are some; nothing when the answer is that
    /// there are none for us.
    pub async fn first(&self) -> Option<Arc<HeldKeys>> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.held().await {
                Ok(held) => return Some(held),
                Err(KeysAway::Unreachable(_)) => {}
                Err(KeysAway::Withheld | KeysAway::Blocked(_)) => return None,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Fetches again, unless that was done a moment ago; nothing when the keys are still the same.
    ///
    /// # Errors
    /// [`KeysAway`] when the last fetch failed, but for keys that are withheld.
    pub async fn newer_than(&self, old: &Arc<HeldKeys>) -> Result<Option<Arc<HeldKeys>>, KeysAway> {
        let mut fetching = Arc::clone(&self.0.fetching).lock_owned().await;
        let differs = |held: &Arc<HeldKeys>| held.text != old.text;
        if let Some(held) = self.look().filter(differs) {
            return Ok(Some(held));
        }
        if may_fetch(&fetching, PAUSE) {
            fetching = self.fetch_apart(fetching).await;
        }
        match &fetching.outcome {
            Err(away @ (KeysAway::Unreachable(_) | KeysAway::Blocked(_))) => Err(away.clone()),
            _ => Ok(self.look().filter(differs)),
        }
    }

    fn look(&self) -> Option<Arc<HeldKeys>> {
        self.0.held.read().clone()
    }

    /// Fetches in a task of its own, which ends what it began when nobody waits any more.
    async fn fetch_apart(&self, fetching: OwnedMutexGuard<Fetching>) -> OwnedMutexGuard<Fetching> {
        match tokio::spawn(self.clone().fetch(fetching)).await {
            Ok(fetching) => fetching,
            // The process ends.
            Err(_) => Arc::clone(&self.0.fetching).lock_owned().await,
        }
    }

    async fn fetch(self, mut fetching: OwnedMutexGuard<Fetching>) -> OwnedMutexGuard<Fetching> {
        let outcome = timeout(ANSWER, self.0.source.read()).await.unwrap_or_else(|_| {
            Err(KeysAway::Unreachable(format!("it does not answer in {} s", ANSWER.as_secs())))
        });
        fetching.last = Some(Instant::now());
        fetching.outcome = match outcome {
            Ok(Published { keys, issuer, text }) => {
                self.count("ok");
                tracing::debug!(keys = keys.len(), issuer, "fetched the keys of tokens");
                let differ = self.look().is_some_and(|old| old.text != text || old.issuer != issuer);
                let held = HeldKeys { keys, issuer, text, fetched: Instant::now() };
                *self.0.held.write() = Some(Arc::new(held));
                if differ {
                    // After they are in force, so that nothing is accepted by the old ones from here on.
                    self.0.changes.0.fetch_add(1, Ordering::AcqRel);
                }
                Ok(())
            }
            Err(away) => {
                let (outcome, detail) = match &away {
                    KeysAway::Withheld => ("withheld", "it does not publish them to us"),
                    KeysAway::Blocked(detail) => ("blocked", detail.as_str()),
                    KeysAway::Unreachable(detail) => ("unreachable", detail.as_str()),
                };
                self.count(outcome);
                // Keys that were fetched before stay: with them tokens are verified while it is away.
                tracing::warn!(of = self.0.source.name(), detail, "cannot fetch the keys of tokens");
                Err(away)
            }
        };
        fetching
    }

    fn count(&self, outcome: &'static str) {
        self.0.source.counts(&self.0.stats).add(outcome);
    }
}

fn may_fetch(fetching: &Fetching, pause: Duration) -> bool {
    fetching.last.is_none_or(|last| last.elapsed() >= pause)
}
