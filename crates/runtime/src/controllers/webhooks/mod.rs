//! The configurations of the validation webhook, kept by every replica.
//!
//! ```text
//! authority ──roots──▶ caBundle of every entry ──┐
//! watch of istio.io/rev=REVISION ────────────────┼─ differs? ─▶ patch over the version that was read
//! dry run that has to be denied ──▶ Ignore ▶ Fail┘
//! ```
//!
//! A configuration is written only if it differs, so replicas do not write after one another. An entry fails closed only
//! once the API server was seen to be answered: a write of an invalid object, which would change nothing, is denied.
//! From then on that is remembered; an entry that fails closed is never opened from here.

mod compare;
mod probe;

use crate::webhook::WebhookStats;
use cluster::error_message;
use compare::{change, has_roots, is_open};
use futures::StreamExt;
use identity::Authority;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt};
use probe::Probe;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The first and the longest time between two attempts at one thing; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// After how long without attempts the backoff starts over.
const RESET_AFTER: Duration = Duration::from_secs(120);

/// Keeps the configurations that lead to this revision.
pub struct WebhookConfigurations {
    /// The way to the API server.
    pub client: Client,
    /// The revision; empty stands for `default`.
    pub revision: String,
    /// The namespace of the control plane, where the object of the probe would be.
    pub namespace: String,
    /// Knows the roots.
    pub authority: Authority,
    /// Counts writes.
    pub stats: Arc<WebhookStats>,
}

/// When something is attempted again.
#[derive(Default)]
struct Attempts {
    count: u32,
    last: Option<Instant>,
}

impl Attempts {
    /// Returns when the next one may be. The first two have no backoff: that of the object, and its repair.
    fn next(&self, now: Instant, without: u32) -> Instant {
        match self.last {
            Some(last) if self.count > without && now.duration_since(last) < RESET_AFTER => {
                let doubled = BACKOFF.0.saturating_mul(1 << (self.count - without - 1).min(16));
                last + doubled.min(BACKOFF.1)
            }
            _ => now,
        }
    }

    fn made(&mut self, now: Instant) {
        let is_over = self.last.is_none_or(|last| now.duration_since(last) >= RESET_AFTER);
        self.count = if is_over { 1 } else { self.count.saturating_add(1) };
        self.last = Some(now);
    }
}

/// A configuration as it was read last, and the attempts to write it.
#[derive(Default)]
struct Kept {
    config: Option<ValidatingWebhookConfiguration>,
    attempts: Attempts,
    /// What was told of it last.
    problem: String,
}

/// Everything that is known.
#[derive(Default)]
struct State {
    by_name: BTreeMap<String, Kept>,
    is_listed: bool,
    roots: Option<String>,
    /// Whether a write was seen to be denied.
    works: bool,
    probes: Attempts,
}

impl State {
    fn observe(&mut self, config: ValidatingWebhookConfiguration) {
        let kept = self.by_name.entry(config.name_any()).or_default();
        kept.config = Some(config);
    }

    fn apply(&mut self, event: Event<ValidatingWebhookConfiguration>) {
        match event {
            Event::Init => {
                self.is_listed = false;
                self.by_name.values_mut().for_each(|kept| kept.config = None);
            }
            Event::InitApply(config) | Event::Apply(config) => self.observe(config),
            Event::InitDone => {
                self.is_listed = true;
                self.by_name.retain(|_, kept| kept.config.is_some());
            }
            Event::Delete(config) => drop(self.by_name.remove(&config.name_any())),
        }
    }

    /// Returns when each configuration that differs may be written.
    fn due(&self, now: Instant) -> impl Iterator<Item = (Instant, &String)> {
        let roots = self.roots.as_deref().filter(|_| self.is_listed);
        self.by_name.iter().filter_map(move |(name, kept)| {
            change(kept.config.as_ref()?, roots?, self.works)?;
            Some((kept.attempts.next(now, 2), name))
        })
    }

    /// Returns when the probe may be made: while an entry is open that has the roots.
    fn probe_due(&self, now: Instant) -> Option<Instant> {
        let roots = self.roots.as_deref()?;
        let mut configs = self.by_name.values().filter_map(|kept| kept.config.as_ref());
        let is_wished = !self.works
            && self.is_listed
            && configs.any(|config| is_open(config) && has_roots(config, roots));
        is_wished.then(|| self.probes.next(now, 0))
    }
}

impl WebhookConfigurations {
    /// Keeps them up to date until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(&self) {
        let revision = if self.revision.is_empty() { "default" } else { &self.revision };
        let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let only = Config::default().labels(&format!("istio.io/rev={revision}"));
        let mut events = pin!(watcher(api.clone(), only).default_backoff());
        let mut changes = self.authority.changes();
        changes.mark_changed();
        let probe = Probe::new(self.client.clone(), &self.namespace, revision);
        let mut state = State::default();
        loop {
            let now = Instant::now();
            let next = state.due(now).map(|(at, _)| at).chain(state.probe_due(now)).min();
            let wait = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => state.apply(event),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "the watch of ValidatingWebhookConfigurations was interrupted");
                    }
                    None => return,
                },
                changed = changes.changed() => {
                    if changed.is_err() { return }
                    let roots = changes.borrow_and_update().as_ref().map(|now| now.signer.trust().to_pem());
                    state.roots = roots.or(state.roots.take());
                },
                () = wait => {
                    self.write(&api, &mut state).await;
                    let now = Instant::now();
                    if state.probe_due(now).is_some_and(|at| at <= now) {
                        state.probes.made(now);
                        state.works = probe.is_denied().await;
                    }
                }
            }
        }
    }

    /// Writes what differs and is due.
    async fn write(&self, api: &Api<ValidatingWebhookConfiguration>, state: &mut State) {
        let now = Instant::now();
        let due = state.due(now).filter(|(at, _)| *at <= now);
        let names: Vec<String> = due.map(|(_, name)| name.clone()).collect();
        for name in names {
            let Some(kept) = state.by_name.get_mut(&name) else { continue };
            let known = kept.config.as_ref().zip(state.roots.as_deref());
            let Some(body) = known.and_then(|(config, roots)| change(config, roots, state.works)) else {
                continue;
            };
            kept.attempts.made(now);
            match api.patch(&name, &PatchParams::default(), &Patch::Strategic(body)).await {
                Ok(config) => {
                    self.stats.updates.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(
                        name,
                        fails_closed = !is_open(&config),
                        "keeps a ValidatingWebhookConfiguration"
                    );
                    (kept.config, kept.problem) = (Some(config), String::new());
                }
                // Another was faster, or it is gone: the watch tells.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => {
                    self.stats.failed_updates.fetch_add(1, Ordering::Relaxed);
                    let problem = error_message(&error);
                    if kept.problem != problem {
                        tracing::warn!(
                            "cannot write ValidatingWebhookConfiguration {name}: {problem}; grant patch on it as the chart's \
                             ClusterRole does, or take its label istio.io/rev away"
                        );
                        kept.problem = problem;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_back_off_and_start_over() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        assert_eq!(attempts.next(start, 0), start);
        let waits = [100, 200, 400].map(Duration::from_millis);
        for wait in waits {
            attempts.made(start);
            assert_eq!(attempts.next(start, 0), start + wait);
        }
        assert_eq!(attempts.next(start, 2), start + BACKOFF.0, "two were free");
        attempts.count = 200;
        assert_eq!(attempts.next(start, 0), start + BACKOFF.1);
        let later = start + RESET_AFTER;
        assert_eq!(attempts.next(later, 0), later);
        attempts.made(later);
        assert_eq!(attempts.count, 1);
    }
}
