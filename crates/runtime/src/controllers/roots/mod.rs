//! What the authority publishes, kept in objects of the cluster.
//!
//! | item | object | holds |
//! |---|---|---|
//! | roots | ConfigMap `istio-ca-root-cert`, key `root-cert.pem`, in every namespace | the roots to trust |
//! | | or one ClusterTrustBundle, where that is set and served | the same |
//! | revocation lists | ConfigMap `istio-ca-crl`, key `ca-crl.pem`, in every namespace | the lists beside plugged-in material; empty without any |
//!
//! An object is written only if it differs. One that is edited or deleted is repaired as soon as the watch
//! reports it; where somebody else keeps changing it, with a growing backoff.

mod config_map;
mod schedule;
mod text_objects;
mod trust_bundle;

use ca::CRL_FILE;
use cluster::error_message;
use config_map::ConfigMaps;
use futures::StreamExt;
use futures::future::join_all;
use identity::{
    ActiveMaterial, Authority, Counts, IdentityIndex, IdentityStats, ROOTS_KEY, TRUST_BUNDLE, TrustBundles,
};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt};
use model::Str;
use schedule::WriteSchedule;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use text_objects::TextObjects;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Namespaces in which no workload of a mesh lives. Not `kube-system`: a ztunnel may.
const IGNORED: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];

/// The first and the longest backoff when it cannot be found out which kinds are served; it doubles in
/// between.
const DISCOVERY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How many objects of a text are written at once.
const MAX_CONCURRENT: usize = 8;

/// One text that is published.
pub struct PublishedText {
    /// The name of the ConfigMap.
    pub name: String,
    key: &'static str,
    /// Whether a ClusterTrustBundle is to hold it instead, where the cluster serves that kind.
    in_bundle: bool,
    /// What it is, for the log.
    description: &'static str,
    of: fn(&ActiveMaterial) -> String,
    writes: fn(&IdentityStats) -> &Counts,
}

impl PublishedText {
    /// Publishes the roots, in ConfigMaps of this name or in a ClusterTrustBundle.
    pub fn roots(name: &str, in_bundle: bool) -> Self {
        Self {
            name: name.to_owned(),
            key: ROOTS_KEY,
            in_bundle,
            description: "the roots",
            of: |now| now.signer.trust().to_pem(),
            writes: |stats| &stats.root_writes,
        }
    }

    /// Publishes the revocation lists, in ConfigMaps of this name.
    pub fn revocation_lists(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: CRL_FILE,
            in_bundle: false,
            description: "the revocation lists",
            of: |now| now.revoked.to_pem().to_owned(),
            writes: |stats| &stats.crl_writes,
        }
    }
}

/// Keeps the published texts up to date.
pub struct RootsPublisher {
    /// The way to the API server.
    pub client: Client,
    /// What is published.
    pub texts: Vec<PublishedText>,
    /// Has the roots and the lists.
    pub authority: Authority,
    /// Knows the namespaces.
    pub index: Arc<IdentityIndex>,
    /// Counts writes.
    pub stats: Arc<IdentityStats>,
}

impl RootsPublisher {
    /// Keeps everything up to date until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let texts = self.texts.iter().map(|text| self.publish(text));
        tokio::select! {
            _ = join_all(texts) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn publish(&self, text: &PublishedText) {
        if text.in_bundle
            && let Some(bundles) = self.bundles().await
        {
            let namespaces = watch::Sender::new(TrustBundles::places());
            return self.keep(text, &bundles, namespaces.subscribe()).await;
        }
        if !text.name.is_empty() {
            let maps = ConfigMaps { client: self.client.clone(), name: text.name.clone(), key: text.key };
            self.keep(text, &maps, self.index.namespaces()).await;
        }
    }

    /// Returns the API of ClusterTrustBundles, once the API server has answered; nothing where it does not
    /// serve them.
    async fn bundles(&self) -> Option<TrustBundles> {
        let mut backoff = DISCOVERY_BACKOFF.0;
        loop {
            match TrustBundles::find(&self.client).await {
                Ok(Some((bundles, _))) => return Some(bundles),
                Ok(None) => {
                    tracing::warn!(
                        "the cluster serves no ClusterTrustBundles; the roots are in ConfigMaps until it does and this process is restarted"
                    );
                    return None;
                }
                Err(error) => tracing::warn!(
                    error = error_message(&error),
                    "cannot read ClusterTrustBundle {TRUST_BUNDLE}; grant list, watch, create and patch on it, and attest on its signer"
                ),
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(DISCOVERY_BACKOFF.1);
        }
    }

    async fn keep<O: TextObjects>(
        &self,
        text: &PublishedText,
        objects: &O,
        mut namespaces: watch::Receiver<Arc<BTreeSet<Str>>>,
    ) {
        let only = Config::default().fields(&format!("metadata.name={}", objects.name()));
        let mut events = pin!(watcher(objects.api(), only).default_backoff());
        let mut changes = self.authority.changes();
        changes.mark_changed();
        namespaces.mark_changed();
        let mut schedule = WriteSchedule::default();
        loop {
            let next = schedule.next();
            let wait = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => apply(&mut schedule, objects, event),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of {} was interrupted", objects.name()),
                    None => return,
                },
                changed = changes.changed() => {
                    if changed.is_err() { return }
                    schedule.set_text(changes.borrow_and_update().as_ref().map(text.of));
                },
                changed = namespaces.changed() => {
                    if changed.is_err() { return }
                    schedule.set_namespaces(published_namespaces(&namespaces.borrow_and_update()));
                },
                () = wait => self.write_ready(text, objects, &mut schedule).await,
            }
        }
    }

    async fn write_ready<O: TextObjects>(
        &self,
        published: &PublishedText,
        objects: &O,
        schedule: &mut WriteSchedule,
    ) {
        let now = Instant::now();
        let Some(text) = schedule.text() else { return };
        let text = text.as_str();
        let writes = schedule.ready(now).into_iter().map(|(namespace, exists)| async move {
            let outcome = objects.write(&namespace, text, exists).await;
            (namespace, outcome)
        });
        let outcomes: Vec<_> = futures::stream::iter(writes).buffer_unordered(MAX_CONCURRENT).collect().await;
        let counts = (published.writes)(&self.stats);
        for (namespace, outcome) in outcomes {
            schedule.written(&namespace, now);
            match outcome {
                Ok(object) => {
                    counts.add("ok");
                    schedule.observed(namespace, objects.text(&object));
                }
                // The watch reports what the other one wrote.
                Err(kube::Error::Api(status)) if objects.is_transient(&status) => {}
                Err(error) => {
                    counts.add("failed");
                    let (name, description) = (objects.name(), published.description);
                    let why = error_message(&error);
                    tracing::warn!(namespace, "cannot write {name} with {description}: {why}");
                    schedule.reschedule(&namespace);
                }
            }
        }
    }
}

/// Returns the namespaces to publish to.
fn published_namespaces(namespaces: &BTreeSet<Str>) -> Arc<BTreeSet<Str>> {
    let all = namespaces.iter().filter(|name| !IGNORED.contains(&name.as_str()));
    Arc::new(all.cloned().collect())
}

fn apply<O: TextObjects>(schedule: &mut WriteSchedule, objects: &O, event: Event<O::Object>) {
    match event {
        Event::Init => schedule.begin_listing(),
        Event::InitApply(object) | Event::Apply(object) => {
            schedule.observed(object.namespace().unwrap_or_default(), objects.text(&object));
        }
        Event::InitDone => schedule.end_listing(),
        Event::Delete(object) => schedule.deleted(&object.namespace().unwrap_or_default()),
    }
}
