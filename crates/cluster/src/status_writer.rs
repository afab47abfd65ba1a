//! Writes statuses: reads each, compares it with the desired one, and applies what differs.

use crate::error::root_cause;
use crate::stats::{WriterStats, count};
use crate::work_queue::{Completion, WorkQueue};
use http_body_util::{BodyExt, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::{Client, Resource};
use limits::{Rate, TokenBucket};
use model::{Kind, ObjectRef};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// How often statuses are reconciled.
const RATE: Rate = Rate { burst: 1000, per_second: 200 };
/// How many are reconciled at once.
const MAX_CONCURRENT: usize = 16;
/// How long the API server may take to answer: less than what is left of a lease whose leader has stopped.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer. The API server stores no object of more than a few MiB.
const MAX_RESPONSE: usize = 32 << 20;
/// How many objects a page of a list may have.
const PAGE_SIZE: u32 = 500;

/// The desired content of a status.
pub trait DesiredStatus: Clone + Send + Sync + 'static {
    /// The part of an object that is read for this.
    type Stored: DeserializeOwned + Send + Sync + 'static;

    /// Compares with what is stored and returns what is to be done at `now`.
    fn compare(&self, object: &ObjectRef, stored: &Self::Stored, now: Timestamp) -> Action;
}

/// What is to be done with a status.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Nothing: it is up to date.
    None,
    /// Nothing for now: the desired status was computed for another content; a newer one will follow.
    Superseded,
    /// This is to be applied, by this field manager.
    Apply {
        /// `fieldManager`.
        manager: &'static str,
        /// The apply configuration.
        body: serde_json::Value,
    },
}

/// Why a request failed.
#[derive(Debug)]
pub struct RequestError {
    /// The HTTP code; 0 without an answer.
    code: u16,
    /// What the API server says, or why there is no answer.
    message: String,
}

/// How reconciling one status ended.
enum Outcome {
    Unchanged,
    Written,
    Gone,
    Failed { verb: &'static str, error: RequestError },
}

/// What a status should be, and what is stored where that is known already.
type Pending<D> = (D, Option<Arc<<D as DesiredStatus>::Stored>>);

/// Writes the statuses that are added to it, at a bounded rate.
pub struct StatusWriter<'a, D: DesiredStatus> {
    client: Client,
    stats: &'a WriterStats,
    queue: WorkQueue<ObjectRef, Pending<D>>,
    bucket: TokenBucket,
    started: Instant,
    running: JoinSet<(ObjectRef, Outcome)>,
    has_given_up: bool,
}

impl<'a, D: DesiredStatus> StatusWriter<'a, D> {
    /// Makes a writer with nothing to do, which counts in `stats`.
    pub fn new(client: Client, stats: &'a WriterStats) -> Self {
        Self {
            client,
            stats,
            queue: WorkQueue::new(),
            bucket: TokenBucket::new(RATE, Duration::ZERO),
            started: Instant::now(),
            running: JoinSet::new(),
            has_given_up: false,
        }
    }

    /// Queues the desired status of an object. `stored` is what was read of it a moment ago; without it,
    /// it is read first.
    pub fn add(&mut self, object: ObjectRef, desired: D, stored: Option<Arc<D::Stored>>) {
        self.queue.add(object, (desired, stored), Instant::now());
        self.stats.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }

    /// Tells whether a write was given up since this was last asked.
    pub fn has_given_up(&mut self) -> bool {
        std::mem::take(&mut self.has_given_up)
    }

    /// Starts what is ready and waits until something can be done again. Dropping the future loses
    /// nothing; dropping the writer ends every request.
    pub async fn process(&mut self) {
        let mut wake = None;
        while self.running.len() < MAX_CONCURRENT {
            let ready = self.queue.get_limited(&mut self.bucket, self.started, Instant::now());
            let (object, (desired, stored), is_first) = match ready {
                Ok(ready) => ready,
                Err(ready_at) => {
                    wake = ready_at;
                    break;
                }
            };
            // An attempt may have failed since somebody else has written the status.
            let stored = stored.filter(|_| is_first);
            let client = self.client.clone();
            self.running.spawn(async move {
                let outcome = reconcile(&client, &object, &desired, stored).await;
                (object, outcome)
            });
        }
        let due = async {
            match wake {
                Some(wake) => sleep_until(wake.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.running.join_next() => {
                // A task that panicked is reported by the runtime; its object stays in processing for good.
                if let Ok((object, outcome)) = ended {
                    self.done(&object, &outcome);
                }
            }
            () = due => {}
        }
    }

    fn done(&mut self, object: &ObjectRef, outcome: &Outcome) {
        let completion = match outcome {
            Outcome::Unchanged => {
                count(&self.stats.unchanged);
                Completion::Done
            }
            Outcome::Written => {
                count(&self.stats.written);
                self.stats.set_problem(object.kind.name(), None);
                tracing::debug!(%object, "wrote its status");
                Completion::Done
            }
            Outcome::Gone => Completion::Done,
            Outcome::Failed { verb, error } => {
                count(&self.stats.failed);
                self.failed(object, verb, error)
            }
        };
        if self.queue.done(object, completion, Instant::now()) {
            self.has_given_up = true;
            if completion == Completion::Retry
                && let Outcome::Failed { verb, error } = outcome
            {
                tracing::warn!(%object, "cannot {verb} its status: {}; trying again later", error.message);
            }
        }
        self.stats.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }

    fn failed(&mut self, object: &ObjectRef, verb: &str, error: &RequestError) -> Completion {
        tracing::debug!(%object, code = error.code, "cannot {verb} its status: {}", error.message);
        if error.code != 403 {
            return Completion::Retry;
        }
        let kind = object.kind;
        let part = if verb == "patch" { "/status" } else { "" };
        let what = match kind.group() {
            "" => format!("{}{part}", kind.plural()),
            group => format!("{}.{group}{part}", kind.plural()),
        };
        // The problem is that of the whole kind, so the message, which names one object, is not compared.
        let sentence = format!(
            "not allowed to {verb} {what}; grant {verb} on {what} to this user, as the chart's ClusterRole does; the mesh is served all the same"
        );
        if self.stats.set_problem(kind.name(), Some(sentence.clone())) {
            tracing::error!(cause = error.message, "{sentence}");
        }
        self.queue.drop_waiting(|other| other.kind == kind);
        Completion::GiveUp
    }
}

async fn reconcile<D: DesiredStatus>(
    client: &Client,
    object: &ObjectRef,
    desired: &D,
    stored: Option<Arc<D::Stored>>,
) -> Outcome {
    let requests = requests(object.kind, Some(&object.name.ns));
    let name = &object.name.name;
    let stored = match stored {
        Some(stored) => stored,
        None => {
            // As a list of one: the right to list, which the source needs anyway, suffices.
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = match send::<Page<D::Stored>>(client, requests.list(&only)).await {
                Ok(page) => page.items.into_iter().flatten().next(),
                Err(error) if error.code == 404 => None,
                Err(error) => return Outcome::Failed { verb: "list", error },
            };
            let Some(found) = found else { return Outcome::Gone };
            Arc::new(found)
        }
    };
    match desired.compare(object, &stored, Timestamp::now()) {
        Action::None => Outcome::Unchanged,
        Action::Superseded => Outcome::Gone,
        Action::Apply { manager, body } => {
            let apply = PatchParams::apply(manager).force();
            let request = requests.patch_subresource("status", name, &apply, &Patch::Apply(body));
            match send::<serde::de::IgnoredAny>(client, request).await {
                Ok(_) => Outcome::Written,
                Err(error) if error.code == 404 => Outcome::Gone,
                Err(error) => Outcome::Failed { verb: "patch", error },
            }
        }
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<S> {
    #[serde(default)]
    metadata: ListMeta,
    // Not `default` for the whole, which would ask that of the items.
    #[serde(default = "Option::default")]
    items: Option<Vec<S>>,
}

/// Lists the statuses of a kind, a page at a time.
///
/// # Errors
/// The request that failed; what came before was passed on.
pub async fn list_statuses<S: DeserializeOwned>(
    client: &Client,
    kind: Kind,
    mut each: impl FnMut(S),
) -> Result<(), RequestError> {
    let requests = requests(kind, None);
    let mut params = ListParams::default().limit(PAGE_SIZE);
    loop {
        let page: Page<S> = match send(client, requests.list(&params)).await {
            Ok(page) => page,
            // A kind that is not installed has no objects.
            Err(error) if error.code == 404 => return Ok(()),
            Err(error) => return Err(error),
        };
        page.items.into_iter().flatten().for_each(&mut each);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// Returns what makes the requests for a kind's objects, of one namespace or of all.
fn requests(kind: Kind, namespace: Option<&str>) -> Request {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.name());
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
    Request::new(DynamicObject::url_path(&resource, namespace))
}

/// Sends a request and reads the answer, which is bounded in time and in size.
async fn send<T: DeserializeOwned>(
    client: &Client,
    request: Result<::http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<T, RequestError> {
    let without_answer = |message: String| RequestError { code: 0, message };
    let answer = async {
        let request = request.map_err(|e| without_answer(e.to_string()))?.map(Body::from);
        let answer = client.send(request).await.map_err(|e| without_answer(root_cause(&e)))?;
        let code = answer.status();
        let bytes = Limited::new(answer.into_body(), MAX_RESPONSE).collect().await;
        let bytes = bytes.map_err(|e| without_answer(e.to_string()))?.to_bytes();
        if code.is_success() {
            let read = serde_json::from_slice(&bytes);
            return read.map_err(|e| without_answer(format!("the answer cannot be read: {e}")));
        }
        let status: Status = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = status.message.trim_end_matches('.').to_owned();
        Err(RequestError {
            code: code.as_u16(),
            message: if message.is_empty() { code.to_string() } else { message },
        })
    };
    let answer = timeout(REQUEST_TIMEOUT, answer).await;
    answer
        .unwrap_or_else(|_| Err(without_answer(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))))
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_thousand_items_are_handed_out_at_the_rate_of_statuses() {
        let (mut queue, begin) = (WorkQueue::new(), Instant::now());
        (0..2000).for_each(|key| queue.add(key, (), begin));
        let mut bucket = TokenBucket::new(RATE, Duration::ZERO);
        let (mut now, mut by_second) = (begin, vec![0]);
        while queue.len() > 0 {
            match queue.get_limited(&mut bucket, begin, now) {
                Ok((key, (), _)) => {
                    *by_second.last_mut().unwrap() += 1;
                    queue.done(&key, Completion::Done, now);
                }
                // Asked again a second later: what is refilled meanwhile is the rate.
                Err(ready_at) => {
                    assert!(ready_at.unwrap() > now);
                    now += Duration::from_secs(1);
                    by_second.push(0);
                }
            }
        }
        assert_eq!(by_second, [1000, 200, 200, 200, 200, 200]);
        assert_eq!(queue.get_limited(&mut bucket, begin, now), Err(None));
    }

    #[test]
    fn requests_lead_to_statuses() {
        let apply = PatchParams::apply("pilothouse").force();
        let patch = Patch::Apply(serde_json::json!({"kind": "Service"}));
        let request = requests(Kind::Service, Some("shop"));
        let request = request.patch_subresource("status", "web", &apply, &patch).unwrap();
        let path = "/api/v1/namespaces/shop/services/web/status?&force=true&fieldManager=pilothouse";
        assert_eq!(request.uri(), path);
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        let page = ListParams::default().limit(PAGE_SIZE).continue_token("a+/=&");
        let request = requests(Kind::ServiceEntry, None).list(&page).unwrap();
        let path = "/apis/networking.istio.io/v1/serviceentries?&limit=500&continue=a%2B%2F%3D%26";
        assert_eq!(request.uri(), path);
    }
}
