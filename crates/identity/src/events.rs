//! Events for what is wrong with key material, and for its end, where operators look for them.
//!
//! Each replica tells of each transition, once: the notice comes from the authority, which knows what it
//! said last. The same notice again, within the last few, is counted on the event that is there. Nothing
//! waits for any of this, and an event that cannot be written is only missed: log, metrics and
//! `/debug/identityz` tell the same.

use super::stats::IdentityStats;
use super::trouble::Notice;
use super::world::World;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use limits::{Rate, Refill, TokenBucket};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Who tells, for the API server.
const CONTROLLER: &str = "pilothouse.io/control-plane";

/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Longest name of a reporter that the API server takes, in bytes.
const MAX_INSTANCE: usize = 128;

/// How many events are remembered, to count the same ones on them.
const REMEMBERED: usize = 8;

/// How often events are written. More often than key material is looked at nothing can change; this
/// bounds what nobody foresaw.
const RATE: Rate = Rate { burst: 8, per_second: 1 };

/// How long one write may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes events about key material.
pub struct Events {
    /// The way to the API server.
    pub client: Client,
    /// The namespace of the control plane.
    pub namespace: String,
    /// The name of this replica: that of its pod.
    pub replica: String,
    /// What to tell.
    pub notices: mpsc::Receiver<Notice>,
    /// Knows the pod.
    pub world: Arc<World>,
    /// Counts writes.
    pub stats: Arc<IdentityStats>,
}

/// An event that was written.
struct Written {
    notice: Notice,
    name: String,
    count: i32,
}

impl Events {
    /// Writes events until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(&mut self) {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(RATE, Duration::ZERO);
        let mut written = VecDeque::new();
        while let Some(notice) = self.notices.recv().await {
            while let Err(Refill(wait)) = bucket.take(start.elapsed()) {
                sleep(wait).await;
            }
            let outcome = match timeout(LIMIT, self.write(notice, &mut written)).await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot write an event; grant create and patch on events.events.k8s.io");
                    "failed"
                }
                Err(_) => "failed",
            };
            self.stats.event_writes.add(outcome);
        }
    }

    async fn write(&self, notice: Notice, written: &mut VecDeque<Written>) -> Result<(), kube::Error> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let now = Timestamp::now();
        if let Some(known) = written.iter_mut().find(|known| known.notice == notice) {
            let series = EventSeries { count: known.count + 1, last_observed_time: MicroTime(now) };
            let change = Patch::Merge(json!({ "series": series }));
            match events.patch(&known.name, &PatchParams::default(), &change).await {
                Ok(_) => {
                    known.count += 1;
                    return Ok(());
                }
                // Events are deleted after a while.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
            written.retain(|known| known.notice != notice);
        }
        let event = self.event(&notice, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        if written.len() >= REMEMBERED {
            written.pop_front();
        }
        written.push_back(Written { notice, name, count: 1 });
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
            // Files are mounted into the pod.
            None => reference("Pod", &self.replica, self.world.uid_of(&self.namespace, &self.replica)),
        };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("pilothouse-key-material.{:x}", now.as_nanosecond())),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if notice.is_over { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some("FollowKeyMaterial".to_owned()),
            note: Some(shortened(&notice.text, MAX_NOTE).to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(shortened(&self.replica, MAX_INSTANCE).to_owned()),
            ..Event::default()
        }
    }
}

/// Returns as many whole characters as fit.
fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
