//! The cached keys of a token issuer.
//!
//! ```text
//!  token ──▶ cached ─────────── known key id ──▶ verified
//!              ▲ └── unknown ──▶ refresh: one fetch for all callers, at most every 10 s
//!              └── fetch, in its own task: callers may be cancelled
//! ```

use super::key_source::KeySource;
use super::keys::{FetchError, FetchedKeys};
use crate::clock::Clock;
use crate::stats::IdentityStats;
use ca::token::KeySet;
use parking_lot::RwLock;
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// Timeout of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum interval between fetches for unknown key ids.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Minimum interval between fetches while there are no keys.
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum backoff of the initial fetch.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How often a failure that lasts is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// Age after which keys are refreshed in the background.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Cached keys.
pub(super) struct CachedKeys {
    /// The keys.
    pub keys: KeySet,
    /// The `iss` claim of the issuer's tokens.
    pub issuer: String,
    document: Vec<u8>,
    fetched_at: Duration,
}

/// Counts changes of keys, of all issuers together.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyChanges(Arc<AtomicU64>);

impl KeyChanges {
    /// Returns the count.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The last fetch. Its lock is held while a fetch runs.
struct LastFetch {
    at: Option<Duration>,
    outcome: Result<(), FetchError>,
    /// What was told of failures.
    failures: Failures,
}

/// Which failures are told: the first, one of another kind, and after a while that they last.
#[derive(Debug, Default)]
struct Failures {
    /// When one was told last, and which.
    told: Option<(Duration, FetchError)>,
    /// How many there were since then.
    since: u64,
}

impl Failures {
    /// Counts a failure; returns how many there were since the last line, if a line is due now.
    fn add(&mut self, error: &FetchError, now: Duration) -> Option<u64> {
        self.since += 1;
        let is_told = self.told.as_ref().is_some_and(|(at, told)| {
            discriminant(told) == discriminant(error) && now.saturating_sub(*at) < TOLD_AGAIN
        });
        if is_told {
            return None;
        }
        self.told = Some((now, error.clone()));
        Some(std::mem::take(&mut self.since))
    }

    /// Tells whether there was one, and forgets it.
    fn end(&mut self) -> bool {
        std::mem::take(self).told.is_some()
    }
}

/// The published keys of one issuer, fetched at startup and on demand.
#[derive(Clone)]
pub(super) struct PublishedKeys(Arc<Inner>);

struct Inner {
    source: KeySource,
    cached: RwLock<Option<Arc<CachedKeys>>>,
    last_fetch: Arc<Mutex<LastFetch>>,
    changes: KeyChanges,
    clock: Arc<dyn Clock>,
    stats: Arc<IdentityStats>,
}

impl PublishedKeys {
    /// Creates an empty cache; nothing is fetched yet.
    pub fn new(
        source: KeySource,
        changes: KeyChanges,
        clock: Arc<dyn Clock>,
        stats: Arc<IdentityStats>,
    ) -> Self {
        let last_fetch =
            Arc::new(Mutex::new(LastFetch { at: None, outcome: Ok(()), failures: Failures::default() }));
        Self(Arc::new(Inner { source, cached: RwLock::new(None), last_fetch, changes, clock, stats }))
    }

    /// Returns the cached keys, fetching them if there are none.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn cached(&self) -> Result<Arc<CachedKeys>, FetchError> {
        if let Some(keys) = self.get() {
            if self.0.clock.monotonic().saturating_sub(keys.fetched_at) > MAX_AGE
                && let Ok(last) = Arc::clone(&self.0.last_fetch).try_lock_owned()
                && self.may_fetch(&last, MIN_INTERVAL)
            {
                // The caller uses the cached keys.
                drop(tokio::spawn(self.clone().fetch(last)));
            }
            return Ok(keys);
        }
        let mut last = Arc::clone(&self.0.last_fetch).lock_owned().await;
        if self.get().is_none() && self.may_fetch(&last, INITIAL_INTERVAL) {
            last = self.fetch_in_task(last).await;
        }
        match (self.get(), &last.outcome) {
            (Some(keys), _) => Ok(keys),
            (None, Err(error)) => Err(error.clone()),
            (None, Ok(())) => Err(FetchError::Withheld),
        }
    }

    /// Fetches keys until there are some; returns `None` when the issuer does not publish them to us.
    pub async fn first(&self) -> Option<Arc<CachedKeys>> {
        let mut backoff = INITIAL_INTERVAL;
        loop {
            match self.cached().await {
                Ok(keys) => return Some(keys),
                Err(FetchError::Unreachable(_)) => {}
                Err(FetchError::Withheld | FetchError::Blocked(_)) => return None,
            }
            self.0.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Fetches the keys again unless that was done recently; returns `None` when they have not changed.
    ///
    /// # Errors
    /// [`FetchError`] when the last fetch failed, except for [`FetchError::Withheld`].
    pub async fn refresh(&self, old: &Arc<CachedKeys>) -> Result<Option<Arc<CachedKeys>>, FetchError> {
        let mut last = Arc::clone(&self.0.last_fetch).lock_owned().await;
        let differs = |keys: &Arc<CachedKeys>| keys.document != old.document;
        if let Some(keys) = self.get().filter(differs) {
            return Ok(Some(keys));
        }
        if self.may_fetch(&last, MIN_INTERVAL) {
            last = self.fetch_in_task(last).await;
        }
        match &last.outcome {
            Err(error @ (FetchError::Unreachable(_) | FetchError::Blocked(_))) => Err(error.clone()),
            _ => Ok(self.get().filter(differs)),
        }
    }

    fn get(&self) -> Option<Arc<CachedKeys>> {
        self.0.cached.read().clone()
    }

    /// Fetches in a separate task, which completes even if the caller is cancelled.
    async fn fetch_in_task(&self, last: OwnedMutexGuard<LastFetch>) -> OwnedMutexGuard<LastFetch> {
        match tokio::spawn(self.clone().fetch(last)).await {
            Ok(last) => last,
            // The runtime is shutting down.
            Err(_) => Arc::clone(&self.0.last_fetch).lock_owned().await,
        }
    }

    async fn fetch(self, mut last: OwnedMutexGuard<LastFetch>) -> OwnedMutexGuard<LastFetch> {
        let outcome = timeout(FETCH_TIMEOUT, self.0.source.read()).await.unwrap_or_else(|_| {
            Err(FetchError::Unreachable(format!("no answer within {} s", FETCH_TIMEOUT.as_secs())))
        });
        last.at = Some(self.0.clock.monotonic());
        last.outcome = match outcome {
            Ok(FetchedKeys { keys, issuer, document }) => {
                self.count("ok");
                let of = self.0.source.name();
                if last.failures.end() {
                    tracing::info!(keys = keys.len(), "fetched the keys of tokens of {of} again");
                } else {
                    tracing::debug!(keys = keys.len(), issuer, "fetched the keys of tokens of {of}");
                }
                let differ = self.get().is_some_and(|old| old.document != document || old.issuer != issuer);
                let cached = CachedKeys { keys, issuer, document, fetched_at: self.0.clock.monotonic() };
                *self.0.cached.write() = Some(Arc::new(cached));
                if differ {
                    // After the new keys are visible, so that no token verified with the old ones is cached from here on.
                    self.0.changes.0.fetch_add(1, Ordering::AcqRel);
                }
                Ok(())
            }
            Err(error) => {
                let (outcome, detail) = match &error {
                    FetchError::Withheld => ("withheld", "the API server does not publish them to us"),
                    FetchError::Blocked(detail) => ("blocked", detail.as_str()),
                    FetchError::Unreachable(detail) => ("unreachable", detail.as_str()),
                };
                self.count(outcome);
                // Keys fetched before stay: they verify tokens while the issuer is unavailable.
                if let Some(failures) = last.failures.add(&error, self.0.clock.monotonic()) {
                    let of = self.0.source.name();
                    tracing::warn!(failures, "cannot fetch the keys of tokens of {of}: {detail}");
                }
                Err(error)
            }
        };
        last
    }

    fn may_fetch(&self, last: &LastFetch, interval: Duration) -> bool {
        last.at.is_none_or(|at| self.0.clock.monotonic().saturating_sub(at) >= interval)
    }

    fn count(&self, outcome: &'static str) {
        self.0.source.counts(&self.0.stats).add(outcome);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::fake::FakeClock;
    use ca::token::DevelopmentIssuer;
    use futures::future::join_all;
    use http::{Request, Response, StatusCode};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use kube::Client;
    use kube::client::Body;
    use std::convert::Infallible;
    use std::sync::atomic::AtomicBool;
    use tower::service_fn;

    /// An API server that publishes keys, unless it is unavailable.
    #[derive(Default)]
    struct Publisher {
        keys: RwLock<String>,
        fetches: AtomicU64,
        unavailable: AtomicBool,
    }

    impl Publisher {
        fn fetches(&self) -> u64 {
            self.fetches.load(Ordering::SeqCst)
        }

        fn rotate(&self) {
            *self.keys.write() = DevelopmentIssuer::generate("issuer").unwrap().jwks();
        }

        fn answer(&self, path: &str) -> Response<Full<Bytes>> {
            let document = match path {
                "/openid/v1/jwks" => self.keys.read().clone(),
                _ => r#"{"issuer": "issuer"}"#.to_owned(),
            };
            if path == "/openid/v1/jwks" || self.unavailable.load(Ordering::SeqCst) {
                self.fetches.fetch_add(1, Ordering::SeqCst);
            }
            let mut response = Response::new(Full::from(document));
            if self.unavailable.load(Ordering::SeqCst) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
    }

    fn keys() -> (PublishedKeys, Arc<Publisher>, FakeClock) {
        let publisher = Arc::new(Publisher::default());
        publisher.rotate();
        let server = Arc::clone(&publisher);
        let service = service_fn(move |request: Request<Body>| {
            let response = server.answer(request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        let source = KeySource::ApiServer(Client::new(service, "default"));
        let clock = FakeClock::default();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        (PublishedKeys::new(source, KeyChanges::default(), shared, Arc::default()), publisher, clock)
    }

    #[test]
    fn a_failure_is_told_when_it_begins_and_once_in_a_while() {
        let (mut failures, minute) = (Failures::default(), Duration::from_secs(60));
        let unreachable = |text: &str| FetchError::Unreachable(text.to_owned());
        assert!(!failures.end());
        assert_eq!(failures.add(&unreachable("connection refused"), Duration::ZERO), Some(1));
        for n in 1..10 {
            assert_eq!(failures.add(&unreachable(&format!("timed out {n}")), n * minute), None);
        }
        assert_eq!(failures.add(&unreachable("connection refused"), 10 * minute), Some(10));
        assert_eq!(failures.add(&FetchError::Withheld, 11 * minute), Some(1), "of another kind");
        assert!(failures.end());
        assert!(!failures.end());
        assert_eq!(failures.add(&unreachable("connection refused"), 12 * minute), Some(1));
    }

    #[tokio::test]
    async fn the_cause_of_a_failure_is_the_innermost_one() {
        let service = service_fn(|_: Request<Body>| async {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            Err::<Response<Full<Bytes>>, _>(refused)
        });
        let source = KeySource::ApiServer(Client::new(service, "default"));
        let error = source.read().await.err();
        assert_eq!(error, Some(FetchError::Unreachable("connection refused".to_owned())));
    }

    #[tokio::test]
    async fn keys_are_refreshed_in_the_background_once_they_are_old() {
        let (keys, publisher, clock) = keys();
        let first = keys.cached().await.unwrap();
        clock.advance(MAX_AGE);
        keys.cached().await.unwrap();
        assert_eq!(publisher.fetches(), 1, "not yet old");
        publisher.rotate();
        clock.advance(Duration::from_secs(1));
        let same = keys.cached().await.unwrap();
        assert!(Arc::ptr_eq(&first, &same), "the caller does not wait");
        let newer = keys.refresh(&first).await.unwrap().unwrap();
        assert!(newer.document != first.document);
        assert_eq!((publisher.fetches(), keys.0.changes.count()), (2, 1));
    }

    #[tokio::test]
    async fn unknown_keys_are_looked_up_by_one_fetch_in_ten_seconds() {
        let (keys, publisher, clock) = keys();
        let first = keys.cached().await.unwrap();
        for fetches in 2..5 {
            assert!(keys.refresh(&first).await.unwrap().is_none());
            assert_eq!(publisher.fetches(), fetches - 1, "too recent");
            clock.advance(MIN_INTERVAL);
            let all = join_all((0..8).map(|_| keys.refresh(&first))).await;
            assert!(all.into_iter().all(|found| found.unwrap().is_none()), "the keys have not changed");
            assert_eq!(publisher.fetches(), fetches, "one for all callers");
        }
    }

    #[tokio::test]
    async fn first_keys_are_retried_until_there_are_some_and_outlive_an_outage() {
        let (keys, publisher, clock) = keys();
        publisher.unavailable.store(true, Ordering::SeqCst);
        let passing = async {
            loop {
                clock.advance(INITIAL_INTERVAL);
                if publisher.fetches() >= 3 {
                    publisher.unavailable.store(false, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
            }
        };
        let first = tokio::select! {
            first = keys.first() => first.unwrap(),
            () = passing => unreachable!("time does not end"),
        };
        publisher.unavailable.store(true, Ordering::SeqCst);
        clock.advance(10 * MAX_AGE);
        assert!(Arc::ptr_eq(&first, &keys.cached().await.unwrap()));
        assert!(keys.refresh(&first).await.is_err());
        assert!(Arc::ptr_eq(&first, &keys.cached().await.unwrap()));
    }
}
