//! Fetches the keys that tokens of requests are signed with, from where policies say that they are published.
//!
//! ```text
//! engine ──what is wanted──▶ KeyFetcher ──one fetch for all policies with the same source──▶ publisher
//!   ▲                            │
//!   └────── Event::Keys ◀────────┘ news only: other keys, or why there are none
//! ```
//!
//! Whoever may write a `RequestAuthentication` says where to fetch from, so the client dials only what is public, and
//! networks that the operator names.

mod schedule;

use cluster::Batches;
use identity::WebClient;
use model::Event;
use model::facts::{KeySet, KeySetSource, KeySource};
use schedule::Published;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How many sources are fetched from at most.
const MAX_SOURCES: usize = 1_000;
/// How many fetches run at once.
const MAX_FETCHES: usize = 8;
/// How long a fetch may take at most, whatever a policy says.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// Where keys are published that somebody needs, and how long to wait for each.
pub type WantedKeys = BTreeMap<KeySource, Duration>;

/// Fetches keys until nobody can want any.
pub struct KeyFetcher {
    /// What fetches, or why nothing can.
    pub client: Result<WebClient, String>,
    /// After which time keys are fetched again.
    pub refresh: Duration,
    /// What is wanted.
    pub wanted: watch::Receiver<WantedKeys>,
    /// Where news go.
    pub out: Batches,
}

type Fetched = (KeySource, Result<KeySet, String>);

impl KeyFetcher {
    /// Runs until nobody receives, or nobody can want anything any more.
    pub async fn run(mut self) {
        let begin = Instant::now();
        let mut published: BTreeMap<KeySource, Published> = BTreeMap::new();
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        let mut is_wanted_new = true;
        loop {
            let mut events = Vec::new();
            if std::mem::take(&mut is_wanted_new) {
                let wanted = self.wanted.borrow_and_update().clone();
                follow(&mut published, &wanted, begin.elapsed(), &mut events);
            }
            self.start_due(&mut published, &mut fetches, begin.elapsed());
            if !events.is_empty() && self.out.send(events.into()).await.is_err() {
                return;
            }
            let waiting = published.values().filter(|of| !of.is_running && fetches.len() < MAX_FETCHES);
            let next = waiting.map(|of| of.due).min();
            tokio::select! {
                () = self.out.closed() => return,
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_wanted_new = true;
                }
                Some(done) = fetches.join_next() => {
                    // Nothing of a fetch panics; if one did, its source would stay as it is.
                    let Ok((source, outcome)) = done else { continue };
                    let Some(of) = published.get_mut(&source) else { continue };
                    if let Err(problem) = &outcome {
                        tracing::debug!(%source, problem, "keys cannot be fetched");
                    }
                    let news = of.fetched(outcome, begin.elapsed(), self.refresh, lot());
                    if let Some(news) = news
                        && self.out.send(vec![Event::Keys(source, Some(news))].into()).await.is_err()
                    {
                        return;
                    }
                }
                () = async {
                    match next {
                        Some(due) => sleep_until(begin + due).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn start_due(
        &self,
        published: &mut BTreeMap<KeySource, Published>,
        fetches: &mut JoinSet<Fetched>,
        now: Duration,
    ) {
        for (source, of) in published.iter_mut().filter(|(_, of)| !of.is_running && of.due <= now) {
            if fetches.len() >= MAX_FETCHES {
                return;
            }
            of.is_running = true;
            let (client, source, limit) = (self.client.clone(), source.clone(), of.timeout.min(MAX_TIMEOUT));
            fetches.spawn(async move {
                let outcome = match client {
                    Ok(client) => {
                        let fetched = timeout(limit, fetch(&client, &source)).await;
                        fetched.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
                    }
                    Err(why) => Err(why),
                };
                (source, outcome)
            });
        }
    }
}

/// Forgets what is not wanted any more, and takes up what is wanted now.
fn follow(
    published: &mut BTreeMap<KeySource, Published>,
    wanted: &WantedKeys,
    now: Duration,
    events: &mut Vec<Event>,
) {
    published.retain(|source, _| {
        let is_wanted = wanted.contains_key(source);
        if !is_wanted {
            events.push(Event::Keys(source.clone(), None));
        }
        is_wanted
    });
    for (source, limit) in wanted {
        let is_new = !published.contains_key(source);
        if is_new && published.len() >= MAX_SOURCES {
            // It is taken up when another is not wanted any more and what is wanted changes.
            tracing::warn!(%source, "keys are published at more than {MAX_SOURCES} places: these are not fetched");
            continue;
        }
        published.entry(source.clone()).or_insert_with(|| Published::new(*limit, now)).timeout = *limit;
    }
}

/// Returns a number between 0 and 1 that is another each time.
fn lot() -> f64 {
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
}

/// The fields read from a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

async fn fetch(client: &WebClient, source: &KeySource) -> Result<KeySet, String> {
    let uri = match source {
        KeySource::Uri(uri) => uri.to_string(),
        KeySource::Issuer(issuer) => {
            let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            let document = client.get(&at).await.map_err(|error| format!("{at}: {error}"))?;
            let found: Discovery = serde_json::from_slice(&document)
                .map_err(|error| format!("{at} is no discovery document: {error}"))?;
            if found.issuer != issuer.as_str() {
                return Err(format!("{at} is that of another issuer, {:?}", found.issuer));
            }
            found.jwks_uri
        }
    };
    let document = client.get(&uri).await.map_err(|error| format!("{uri}: {error}"))?;
    KeySet::read(&document, KeySetSource::Published).map_err(|why| format!("{uri}: {why}"))
}
