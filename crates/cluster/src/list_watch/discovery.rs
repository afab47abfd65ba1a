//! Which kinds the API server serves, asked while some kind that is wanted is not installed.

use super::stream::{OpenError, REQUEST_TIMEOUT, open};
use ::kube::Client;
use futures::AsyncReadExt;
use http::Request;
use model::Kind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How old an answer may be. A kind that gets installed is read by then.
pub(super) const PERIOD: Duration = Duration::from_secs(2);

/// The most bytes that are read of an answer.
const MAX_ANSWER: u64 = 4 << 20;

/// Asks for the resources of a group once for all of its kinds that are waited for.
pub(super) struct Discovery {
    client: Client,
    groups: BTreeMap<&'static str, Mutex<Group>>,
}

/// What is known of a group.
#[derive(Default)]
struct Group {
    asked: Option<Instant>,
    /// Plural names of its resources, of any version; `None` where the API server does not say.
    resources: Option<BTreeSet<String>>,
}

/// `APIGroup` of meta/v1.
#[derive(Deserialize)]
struct ApiGroup {
    #[serde(default)]
    versions: Vec<ApiVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiVersion {
    group_version: String,
}

/// `APIResourceList` of meta/v1.
#[derive(Deserialize)]
struct ApiResources {
    #[serde(default)]
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
}

impl Discovery {
    /// Makes one for the groups of these kinds; nothing is asked yet.
    pub(super) fn new(client: Client, kinds: &[Kind]) -> Self {
        let groups = kinds.iter().map(|kind| (kind.group(), Mutex::default())).collect();
        Self { client, groups }
    }

    /// Tells whether a kind may be served, in some version, as of a moment ago: true also where the API server
    /// does not say.
    pub(super) async fn may_serve(&self, kind: Kind) -> bool {
        let Some(group) = self.groups.get(kind.group()) else { return true };
        let mut group = group.lock().await;
        if group.asked.is_none_or(|asked| asked.elapsed() >= PERIOD) {
            group.resources = self.resources(kind.group()).await;
            group.asked = Some(Instant::now());
        }
        group.resources.as_ref().is_none_or(|resources| resources.contains(kind.plural()))
    }

    async fn resources(&self, group: &str) -> Option<BTreeSet<String>> {
        let Some(found) = self.get::<ApiGroup>(&format!("/apis/{group}")).await? else {
            return Some(BTreeSet::new());
        };
        let mut all = BTreeSet::new();
        for version in found.versions {
            let of_version = self.get::<ApiResources>(&format!("/apis/{}", version.group_version)).await?;
            all.extend(of_version.into_iter().flat_map(|of| of.resources).map(|resource| resource.name));
        }
        Some(all)
    }

    /// Returns an answer; `Some(None)` for a path that is not there, `None` without an answer that can be read.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Option<Option<T>> {
        let request = Request::get(path).body(Vec::new()).ok()?;
        let answer = timeout(REQUEST_TIMEOUT, async {
            let body = match open(&self.client, request).await {
                Ok(body) => body,
                Err(OpenError::Refused { code: 404, .. }) => return Some(None),
                Err(_) => return None,
            };
            let mut text = Vec::new();
            pin!(body.take(MAX_ANSWER)).read_to_end(&mut text).await.ok()?;
            serde_json::from_slice(&text).ok().map(Some)
        });
        answer.await.ok()?
    }
}
