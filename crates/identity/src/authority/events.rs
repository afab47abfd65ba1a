//! Kubernetes Events about problems with key material, and about their resolution.
//!
//! Each replica writes one Event per transition; the authority does not repeat a notice. A recurring
//! notice among the last few increments the count of the existing Event. Nothing waits for an Event, and a
//! failed write is dropped: the log, metrics and `/debug/identityz` have the same information.

use super::problem::Notice;
use crate::clock::Clock;
use crate::identity_index::IdentityIndex;
use crate::stats::IdentityStats;
use cluster::error_message;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use limits::{Rate, Refill, TokenBucket};
use model::printable;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// `reportingController` of the Events.
const CONTROLLER: &str = "pilothouse.io/control-plane";

/// Maximum length of a note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// Maximum length of `reportingInstance` that the API server accepts, in bytes.
const MAX_INSTANCE: usize = 128;

/// How many recent Events are kept, to count recurring notices on them.
const RECENT: usize = 8;

/// The rate limit of writes. Key material is polled less often than this; the limit is a safeguard.
const RATE: Rate = Rate { burst: 8, per_second: 1 };

/// Timeout of one write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes Events about key material.
pub(crate) struct Events {
    /// The client of the API server.
    pub client: Client,
    /// The namespace of the control plane.
    pub namespace: String,
    /// The name of this replica, which is the name of its pod.
    pub replica: String,
    /// The notices to write.
    pub notices: mpsc::Receiver<Notice>,
    /// Knows the UID of the pod.
    pub index: Arc<IdentityIndex>,
    /// Counts writes.
    pub stats: Arc<IdentityStats>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// An Event that was written.
struct Written {
    notice: Notice,
    name: String,
    count: i32,
}

impl Events {
    /// Writes Events until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.write_all() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn write_all(&mut self) {
        let mut bucket = TokenBucket::new(RATE, self.clock.monotonic());
        let mut recent = VecDeque::new();
        while let Some(notice) = self.notices.recv().await {
            while let Err(Refill(wait)) = bucket.take(self.clock.monotonic()) {
                self.clock.sleep(wait).await;
            }
            let outcome = match timeout(WRITE_TIMEOUT, self.write(notice, &mut recent)).await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    let why = error_message(&error);
                    tracing::warn!(
                        "cannot write an Event: {why}; grant create and patch on events.events.k8s.io"
                    );
                    "failed"
                }
                Err(_) => "failed",
            };
            self.stats.event_writes.add(outcome);
        }
    }

    async fn write(&self, notice: Notice, recent: &mut VecDeque<Written>) -> Result<(), kube::Error> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let now = Timestamp::now();
        if let Some(known) = recent.iter_mut().find(|known| known.notice == notice) {
            let series = EventSeries { count: known.count + 1, last_observed_time: MicroTime(now) };
            let change = Patch::Merge(json!({ "series": series }));
            match events.patch(&known.name, &PatchParams::default(), &change).await {
                Ok(_) => {
                    known.count += 1;
                    return Ok(());
                }
                // The API server deletes Events after their TTL.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
            recent.retain(|known| known.notice != notice);
        }
        let event = self.event(&notice, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(Written { notice, name, count: 1 });
        Ok(())
    }

    fn event(&self, notice: &Notice, now: Timestamp) -> Event {
        let reference = |kind: &str, name: &str, uid: Option<String>| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            uid,
            ..ObjectReference::default()
        };
        let regarding = match notice.secret {
            Some(secret) => reference("Secret", secret, None),
            // The files are mounted into the pod.
            None => reference("Pod", &self.replica, self.index.uid_of(&self.namespace, &self.replica)),
        };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("pilothouse-key-material.{:x}", now.as_nanosecond())),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if notice.is_resolved { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some("FollowKeyMaterial".to_owned()),
            note: Some(truncate(&printable(&notice.text), MAX_NOTE).to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(truncate(&self.replica, MAX_INSTANCE).to_owned()),
            ..Event::default()
        }
    }
}

/// Truncates `text` to at most `bytes` bytes at a character boundary.
fn truncate(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
