//! What the authority publishes, kept in objects of the cluster.
//!
//! | item | object | holds |
//! |---|---|---|
//! | roots | ConfigMap `istio-ca-root-cert`, key `root-cert.pem`, in every namespace | the roots to trust |
//! | | or one ClusterTrustBundle, where that is wished and served | the same |
//! | revocation lists | ConfigMap `istio-ca-crl`, key `ca-crl.pem`, in every namespace | the lists beside plugged-in material; empty without any |
//!
//! An object is written only where it differs. One that is edited or deleted is repaired as soon as the
//! watch tells of it; where somebody else keeps changing it, more and more seldom.

mod config_map;
mod pace;
mod trust_bundle;

use ca::CRL_FILE;
use cluster::error_message;
use config_map::ConfigMaps;
use futures::StreamExt;
use futures::future::join_all;
use identity::{Authority, Counts, IdentityStats, InForce, ROOTS_KEY, TRUST_BUNDLE, TrustBundles, World};
use kube::api::Api;
use kube::core::Status;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use model::Str;
use pace::Pace;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Namespaces in which no workload of a mesh lives. Not `kube-system`: a ztunnel may.
const IGNORED: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];

/// The first and the longest pause before it is asked again which kinds are served; it doubles in between.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How many objects of an item are written at once.
const AT_ONCE: usize = 8;

/// One text that is published.
pub struct Item {
    /// The name of the ConfigMap.
    pub name: String,
    key: &'static str,
    /// Whether a ClusterTrustBundle is to hold it instead, where the cluster has such.
    in_bundle: bool,
    /// What it is, in words.
    what: &'static str,
    text: fn(&InForce) -> String,
    writes: fn(&IdentityStats) -> &Counts,
}

impl Item {
    /// Publishes the roots, in ConfigMaps of this name or in a ClusterTrustBundle.
    pub fn roots(name: &str, in_bundle: bool) -> Self {
        Self {
            name: name.to_owned(),
            key: ROOTS_KEY,
            in_bundle,
            what: "the roots",
            text: |now| now.signer.trust().to_pem(),
            writes: |stats| &stats.root_writes,
        }
    }

    /// Publishes the revocation lists, in ConfigMaps of this name.
    pub fn revocation_lists(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: CRL_FILE,
            in_bundle: false,
            what: "the revocation lists",
            text: |now| now.revoked.to_pem().to_owned(),
            writes: |stats| &stats.crl_writes,
        }
    }
}

/// Keeps what is published as it should be.
pub struct Distribution {
    /// The way to the API server.
    pub client: Client,
    /// What is published.
    pub items: Vec<Item>,
    /// Whose roots and lists.
    pub authority: Authority,
    /// Knows the namespaces.
    pub world: Arc<World>,
    /// Counts writes.
    pub stats: Arc<IdentityStats>,
}

/// The objects that hold the text of an item: at most one in each place.
pub trait Carrier: Sync {
    /// The kind of the objects.
    type Object: Resource + Clone + Debug + DeserializeOwned + Send + 'static;

    /// The name that all of them have.
    fn name(&self) -> &str;

    /// All objects of the kind.
    fn all(&self) -> Api<Self::Object>;

    /// The text of an object if all of it is as it should be.
    fn text(&self, object: &Self::Object) -> Option<String>;

    /// Writes a text to a place in which there is an object, or is none yet.
    fn write(
        &self,
        place: &str,
        text: &str,
        exists: bool,
    ) -> impl Future<Output = Result<Self::Object, kube::Error>> + Send;

    /// Tells whether a refusal needs nothing but patience: another replica was faster, or the place or
    /// the object is going.
    fn is_passing(&self, status: &Status) -> bool;
}

impl Distribution {
    /// Keeps everything as it should be until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let items = self.items.iter().map(|item| self.publish(item));
        tokio::select! {
            _ = join_all(items) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn publish(&self, item: &Item) {
        if item.in_bundle
            && let Some(bundles) = self.bundles().await
        {
            let places = watch::Sender::new(TrustBundles::places());
            return self.keep(item, &bundles, places.subscribe()).await;
        }
        if !item.name.is_empty() {
            let maps = ConfigMaps { client: self.client.clone(), name: item.name.clone(), key: item.key };
            self.keep(item, &maps, self.world.namespaces()).await;
        }
    }

    /// Returns how ClusterTrustBundles are kept, once the API server has told; nothing where it serves
    /// none.
    async fn bundles(&self) -> Option<TrustBundles> {
        let mut pause = ASK_AGAIN.0;
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
            sleep(pause).await;
            pause = (pause * 2).min(ASK_AGAIN.1);
        }
    }

    async fn keep<C: Carrier>(
        &self,
        item: &Item,
        carrier: &C,
        mut places: watch::Receiver<Arc<BTreeSet<Str>>>,
    ) {
        let only = Config::default().fields(&format!("metadata.name={}", carrier.name()));
        let mut events = pin!(watcher(carrier.all(), only).default_backoff());
        let mut changes = self.authority.changes();
        changes.mark_changed();
        places.mark_changed();
        let mut pace = Pace::default();
        loop {
            let next = pace.next();
            let wait = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => take(&mut pace, carrier, event),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of {} was cut", carrier.name()),
                    None => return,
                },
                changed = changes.changed() => {
                    if changed.is_err() { return }
                    pace.set_text(changes.borrow_and_update().as_ref().map(item.text));
                },
                changed = places.changed() => {
                    if changed.is_err() { return }
                    pace.set_places(concerned(&places.borrow_and_update()));
                },
                () = wait => self.write_due(item, carrier, &mut pace).await,
            }
        }
    }

    async fn write_due<C: Carrier>(&self, item: &Item, carrier: &C, pace: &mut Pace) {
        let now = Instant::now();
        let Some(text) = pace.text() else { return };
        let text = text.as_str();
        let writes = pace.due(now).into_iter().map(|(place, exists)| async move {
            let outcome = carrier.write(&place, text, exists).await;
            (place, outcome)
        });
        let outcomes: Vec<_> = futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        let counts = (item.writes)(&self.stats);
        for (place, outcome) in outcomes {
            pace.written(&place, now);
            match outcome {
                Ok(object) => {
                    counts.add("ok");
                    pace.hold(place, carrier.text(&object));
                }
                // The watch will tell.
                Err(kube::Error::Api(status)) if carrier.is_passing(&status) => {}
                Err(error) => {
                    counts.add("failed");
                    let (name, what) = (carrier.name(), item.what);
                    tracing::warn!(namespace = place, %error, "cannot write {name} with {what}");
                    pace.look_at(&place);
                }
            }
        }
    }
}

/// Returns the places to publish to.
fn concerned(places: &BTreeSet<Str>) -> Arc<BTreeSet<Str>> {
    let all = places.iter().filter(|name| !IGNORED.contains(&name.as_str()));
    Arc::new(all.cloned().collect())
}

fn take<C: Carrier>(pace: &mut Pace, carrier: &C, event: Event<C::Object>) {
    match event {
        Event::Init => pace.begin(),
        Event::InitApply(object) | Event::Apply(object) => {
            pace.hold(object.namespace().unwrap_or_default(), carrier.text(&object));
        }
        Event::InitDone => pace.end(),
        Event::Delete(object) => pace.lose(&object.namespace().unwrap_or_default()),
    }
}
