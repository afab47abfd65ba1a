//! Writes of statuses as the API server sees them: how many it counted, and what each changed.
//!
//! A watch tells of every version of every object. A write that changes nothing makes no version, or
//! one with the status of the one before. Either way there are more writes than versions whose status
//! is another, and that is what [`Statuses::settled`] looks for. Both the watch and the counters are
//! behind what a reader sees, so they are held against a list.

use crate::apiserver::{LIMIT, until};
use anyhow::{Context, ensure};
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

/// The kinds that have a status of ours: group, kind, plural.
const KINDS: [(&str, &str, &str); 4] = [
    ("", "Service", "services"),
    ("networking.istio.io", "ServiceEntry", "serviceentries"),
    ("networking.istio.io", "WorkloadEntry", "workloadentries"),
    ("security.istio.io", "AuthorizationPolicy", "authorizationpolicies"),
];

/// How many there are of each kind, by its plural.
pub type Counts = BTreeMap<&'static str, u64>;

/// Returns how many statuses of each kind were written so far, as the API server counts.
///
/// # Errors
/// When its metrics cannot be read.
pub async fn writes(client: &Client) -> anyhow::Result<Counts> {
    writes_of(client, KINDS.map(|(.., plural)| plural)).await
}

/// As [`writes`], of these kinds by their plurals.
///
/// # Errors
/// When its metrics cannot be read.
pub async fn writes_of(
    client: &Client,
    kinds: impl IntoIterator<Item = &'static str>,
) -> anyhow::Result<Counts> {
    let kinds: Vec<&'static str> = kinds.into_iter().collect();
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let has = |key: &str, values: &[&str]| {
            values.iter().any(|value| line.contains(&format!("{key}=\"{value}\"")))
        };
        let kind = kinds.iter().copied().find(|plural| has("resource", &[plural]));
        if let Some(plural) = kind
            && has("subresource", &["status"])
            && has("verb", &["APPLY", "PATCH", "UPDATE", "PUT"])
            && has("code", &["200", "201"])
        {
            let value = line.rsplit(' ').next().context("no value")?;
            *counts.entry(plural).or_default() += value.parse::<f64>()? as u64;
        }
    }
    Ok(counts)
}

/// The version of each object, by its kind's plural and its name.
type Versions = BTreeMap<(&'static str, String), String>;

/// Sees every version of the objects that have a status of ours, from when it is made until it is dropped.
pub struct Statuses {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    watches: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    objects: BTreeMap<(&'static str, String), DynamicObject>,
    /// Versions whose status was another than before.
    changed: Counts,
    /// Why a watch has ended.
    broken: Option<String>,
}

impl Drop for Statuses {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

impl Statuses {
    /// Begins to watch; no status may have been written before.
    ///
    /// # Errors
    /// When a kind is not installed, or a status was written already.
    pub async fn watch(client: &Client) -> anyhow::Result<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut watches = Vec::new();
        for (plural, api) in apis(client) {
            let list = api.list(&ListParams::default()).await.with_context(|| plural.to_owned())?;
            let objects = list.items.into_iter().map(|object| ((plural, key(&object)), object));
            lock(&seen).objects.extend(objects);
            let from = list.metadata.resource_version.context("a list without a version")?;
            let seen = Arc::clone(&seen);
            watches.push(tokio::spawn(async move {
                if let Err(error) = follow(&api, plural, from, &seen).await {
                    lock(&seen).broken = Some(format!("{plural}: {error:#}"));
                }
            }));
        }
        let before = writes(client).await?;
        ensure!(before.values().all(|count| *count == 0), "written before: {before:?}");
        Ok(Self { client: client.clone(), seen, watches })
    }

    /// Waits until every version that there is was seen, and the API server has counted a write for each
    /// status that was seen to change, and nothing else; returns how many of each kind. None that was
    /// written before the call is missing.
    ///
    /// # Errors
    /// When some write changed nothing.
    pub async fn settled(&self) -> anyhow::Result<Counts> {
        let mut last = (Counts::new(), Counts::new());
        let are_equal = async || {
            let stored = self.stored().await?;
            let mut counted = writes(&self.client).await?;
            counted.retain(|_, count| *count > 0);
            let seen = lock(&self.seen);
            ensure!(seen.broken.is_none(), "a watch has ended: {:?}", seen.broken);
            last = (counted, seen.changed.clone());
            Ok((last.0 == last.1 && seen.versions() == stored).then(|| last.1.clone()))
        };
        let waited = until(LIMIT, are_equal).await;
        waited.with_context(|| format!("counted {:?}, seen to change {:?}", last.0, last.1))
    }

    /// Returns the versions of all objects, as they are now.
    async fn stored(&self) -> anyhow::Result<Versions> {
        let mut versions = Versions::new();
        for (plural, api) in apis(&self.client) {
            let list = api.list(&ListParams::default()).await.with_context(|| plural.to_owned())?;
            versions.extend(list.items.iter().map(|object| ((plural, key(object)), version(object))));
        }
        Ok(versions)
    }
}

/// The kinds by their plurals, each in all namespaces.
fn apis(client: &Client) -> impl Iterator<Item = (&'static str, Api<DynamicObject>)> {
    KINDS.into_iter().map(|(group, kind, plural)| {
        let gvk = GroupVersionKind::gvk(group, "v1", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        (plural, Api::all_with(client.clone(), &resource))
    })
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(object: &DynamicObject) -> String {
    let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
    format!("{}/{}", namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
}

fn version(object: &DynamicObject) -> String {
    object.metadata.resource_version.clone().unwrap_or_default()
}

async fn follow(
    api: &Api<DynamicObject>,
    plural: &'static str,
    mut from: String,
    seen: &Mutex<Seen>,
) -> anyhow::Result<()> {
    loop {
        let mut events = api.watch(&WatchParams::default(), &from).await?.boxed();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    from = version(&object);
                    lock(seen).put(plural, object);
                }
                WatchEvent::Deleted(object) => {
                    from = version(&object);
                    lock(seen).objects.remove(&(plural, key(&object)));
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(error) => anyhow::bail!("{error:?}"),
            }
        }
    }
}

impl Seen {
    fn versions(&self) -> Versions {
        self.objects.iter().map(|(of, object)| (of.clone(), version(object))).collect()
    }

    fn put(&mut self, plural: &'static str, object: DynamicObject) {
        let status = object.data.get("status").cloned();
        let before = self.objects.insert((plural, key(&object)), object);
        if before.is_some_and(|before| before.data.get("status") != status.as_ref()) {
            *self.changed.entry(plural).or_default() += 1;
        }
    }
}
