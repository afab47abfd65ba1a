//! The roots in every namespace: ConfigMap `istio-ca-root-cert`, key `root-cert.pem`.
//!
//! Written only where it differs, and only that key and one label: whatever else is in the ConfigMap
//! is left alone. One that is edited or deleted is repaired as soon as the watch tells of it; where
//! somebody else keeps changing it, more and more seldom.

use super::authority::Authority;
use super::root_secret::ROOTS_KEY;
use super::stats::IdentityStats;
use super::world::World;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use model::Str;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Namespaces in which no workload of a mesh lives. Not `kube-system`: a ztunnel may.
const IGNORED: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];

/// The label by which others know the ConfigMap.
const LABEL: (&str, &str) = ("istio.io/config", "true");

/// How many namespaces are written at once.
const AT_ONCE: usize = 8;

/// The first and the longest pause between two writes to one namespace; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// How long a namespace must be left alone until its writes count from the beginning again.
const QUIET: Duration = Duration::from_secs(120);

/// Keeps the roots in every namespace.
pub struct Distribution {
    /// The way to the API server.
    pub client: Client,
    /// The name of the ConfigMap.
    pub name: String,
    /// Whose roots.
    pub authority: Authority,
    /// Knows the namespaces.
    pub world: Arc<World>,
    /// Counts writes.
    pub stats: Arc<IdentityStats>,
}

/// How often a namespace had to be written of late.
struct Repairs {
    count: u32,
    last: Instant,
}

#[derive(Default)]
struct State {
    namespaces: Arc<BTreeSet<Str>>,
    roots: String,
    /// What each namespace holds; absent where there is no ConfigMap.
    found: BTreeMap<String, Option<String>>,
    /// Whether all ConfigMaps have been listed once.
    listed: bool,
    repairs: BTreeMap<String, Repairs>,
    /// When to write to which namespace.
    due: BTreeMap<String, Instant>,
}

impl Distribution {
    /// Keeps the roots in every namespace until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(&self) {
        let maps = Api::<ConfigMap>::all(self.client.clone());
        let only = Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = pin!(watcher(maps, only).default_backoff());
        let mut issuers = self.authority.issuers();
        let mut namespaces = self.world.namespaces();
        issuers.mark_changed();
        namespaces.mark_changed();
        let mut state = State::default();
        loop {
            let next = state.due.values().min().copied();
            let wait = async {
                match next.filter(|_| state.listed) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(event)) => state.take(event),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of ConfigMaps {} was cut", self.name),
                    None => return,
                },
                changed = issuers.changed() => {
                    if changed.is_err() { return }
                    let roots = issuers.borrow_and_update().as_ref().map(|i| i.trust().to_pem());
                    state.roots = roots.unwrap_or_default();
                    state.look_at_all();
                },
                changed = namespaces.changed() => {
                    if changed.is_err() { return }
                    state.namespaces = Arc::clone(&namespaces.borrow_and_update());
                    state.look_at_all();
                },
                () = wait => self.write_due(&mut state).await,
            }
        }
    }

    async fn write_due(&self, state: &mut State) {
        let now = Instant::now();
        let due: Vec<String> =
            state.due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        let roots = state.roots.as_str();
        let writes = due.into_iter().map(|namespace| {
            let exists = state.found.contains_key(&namespace);
            async move {
                let outcome = self.write(&namespace, roots, exists).await;
                (namespace, outcome)
            }
        });
        let outcomes: Vec<_> = futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        for (namespace, outcome) in outcomes {
            state.due.remove(&namespace);
            let repairs = state.repairs.entry(namespace.clone()).or_insert(Repairs { count: 0, last: now });
            repairs.count = if now.duration_since(repairs.last) > QUIET { 1 } else { repairs.count + 1 };
            repairs.last = now;
            match outcome {
                Ok(Some(map)) => {
                    self.stats.root_writes.add("ok");
                    state.found.insert(namespace, roots_of(&map));
                }
                // Somebody else was faster, or the namespace is about to go: the watch will tell.
                Ok(None) => {}
                Err(error) => {
                    self.stats.root_writes.add("failed");
                    tracing::warn!(namespace, %error, "cannot write the ConfigMap {} with the roots", self.name);
                    state.look_at(&namespace);
                }
            }
        }
    }

    async fn write(
        &self,
        namespace: &str,
        roots: &str,
        exists: bool,
    ) -> Result<Option<ConfigMap>, kube::Error> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let data = BTreeMap::from([(ROOTS_KEY.to_owned(), roots.to_owned())]);
        let labels = BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]);
        let written = if exists {
            let change = json!({ "metadata": { "labels": labels }, "data": data });
            maps.patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await
        } else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            maps.create(&PostParams::default(), &map).await
        };
        match written {
            Ok(map) => Ok(Some(map)),
            Err(kube::Error::Api(status)) if is_passing(&status) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Tells whether a refusal needs nothing but patience: another replica was faster, or the namespace
/// or the ConfigMap is going.
fn is_passing(status: &kube::core::Status) -> bool {
    let terminating = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    };
    matches!(status.code, 404 | 409) || (status.code == 403 && terminating())
}

fn roots_of(map: &ConfigMap) -> Option<String> {
    let labelled = map.metadata.labels.as_ref().and_then(|l| l.get(LABEL.0)).is_some_and(|v| v == LABEL.1);
    map.data.as_ref().and_then(|data| data.get(ROOTS_KEY)).filter(|_| labelled).cloned()
}

impl State {
    fn take(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Init => {
                self.found.clear();
                self.listed = false;
            }
            Event::InitApply(map) | Event::Apply(map) => {
                let namespace = map.metadata.namespace.clone().unwrap_or_default();
                self.found.insert(namespace.clone(), roots_of(&map));
                self.look_at(&namespace);
            }
            Event::InitDone => {
                self.listed = true;
                self.look_at_all();
            }
            Event::Delete(map) => {
                let namespace = map.metadata.namespace.unwrap_or_default();
                self.found.remove(&namespace);
                self.look_at(&namespace);
            }
        }
    }

    fn look_at_all(&mut self) {
        let namespaces = Arc::clone(&self.namespaces);
        self.repairs.retain(|name, _| namespaces.contains(name.as_str()));
        self.due.retain(|name, _| namespaces.contains(name.as_str()));
        for namespace in namespaces.iter() {
            self.look_at(namespace);
        }
    }

    /// Notes when to write to a namespace, if at all.
    fn look_at(&mut self, namespace: &str) {
        let is_right = self.found.get(namespace).is_some_and(|held| held.as_ref() == Some(&self.roots));
        let concerned = self.namespaces.contains(namespace) && !IGNORED.contains(&namespace);
        if is_right || !concerned || self.roots.is_empty() {
            self.due.remove(namespace);
            return;
        }
        let now = Instant::now();
        let at = match self.repairs.get(namespace) {
            // The first writes are at once: of the ConfigMap, and of its repair.
            Some(repairs) if repairs.count > 1 && now.duration_since(repairs.last) < QUIET => {
                let doubled = PAUSE.0.saturating_mul(1 << repairs.count.min(16));
                repairs.last + doubled.min(PAUSE.1)
            }
            _ => now,
        };
        self.due.entry(namespace.to_owned()).or_insert(at);
    }
}
