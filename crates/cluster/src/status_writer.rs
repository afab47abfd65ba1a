//! Carries out writes: a look at each status, and a write where it is not as it should be.

use crate::error::root_cause;
use crate::stats::{WriterStats, count};
use crate::work_queue::{Ending, Queue};
use ::http::Request;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use limits::{Rate, Refill, TokenBucket};
use model::{Kind, ObjectRef};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// How many statuses are looked at.
const RATE: Rate = Rate { burst: 1000, per_second: 200 };
/// How many requests are under way at once.
const AT_ONCE: usize = 16;
/// How long the API server may take to answer: less than what is left of a term whose leader gave up.
const ANSWER: Duration = Duration::from_secs(10);
/// The most bytes of an answer. The API server stores no object of more than a few MiB.
const BYTES: usize = 32 << 20;
/// How many objects a page of a list may have.
const PAGE: u32 = 500;

/// What should be in a status, decided from what is in it.
pub trait Desired: Clone + Send + Sync + 'static {
    /// The part of an object that is read for this.
    type Stored: DeserializeOwned + Send + Sync + 'static;

    /// Compares with what is stored and returns what is to be done at `now`.
    fn step(&self, object: &ObjectRef, stored: &Self::Stored, now: Timestamp) -> Step;
}

/// What comparing a status leads to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It is as it should be.
    Right,
    /// It is not what the decision was made for; news of it are on the way.
    Outdated,
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

/// How looking at one status ended.
enum Outcome {
    Right,
    Written,
    Gone,
    Failed { verb: &'static str, why: RequestError },
}

/// Writes what is put into it, at a bounded rate.
pub struct StatusWriter<'a, D: Desired> {
    client: Client,
    stats: &'a WriterStats,
    queue: Queue<ObjectRef, (D, Option<Arc<D::Stored>>)>,
    bucket: TokenBucket,
    started: Instant,
    running: JoinSet<(ObjectRef, Outcome)>,
    has_given_up: bool,
}

impl<'a, D: Desired> StatusWriter<'a, D> {
    /// Makes a writer with nothing to do, which counts in `stats`.
    pub fn new(client: Client, stats: &'a WriterStats) -> Self {
        Self {
            client,
            stats,
            queue: Queue::new(),
            bucket: TokenBucket::new(RATE, Duration::ZERO),
            started: Instant::now(),
            running: JoinSet::new(),
            has_given_up: false,
        }
    }

    /// Sees to it that a status becomes what it should be. `known` is what was read of it a moment
    /// ago; without it, it is read first.
    pub fn put(&mut self, object: ObjectRef, wanted: D, known: Option<Arc<D::Stored>>) {
        self.queue.put(object, (wanted, known), Instant::now());
        self.stats.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }

    /// Tells whether a write was given up since this was last asked.
    pub fn has_given_up(&mut self) -> bool {
        std::mem::take(&mut self.has_given_up)
    }

    /// Starts what is due and waits until something can be done again. Dropping the future loses
    /// nothing; dropping the writer ends every request.
    pub async fn step(&mut self) {
        let mut wake = None;
        while self.running.len() < AT_ONCE {
            let now = Instant::now();
            match self.queue.wake() {
                Some(due) if due <= now => {}
                due => {
                    wake = due;
                    break;
                }
            }
            if let Err(Refill(wait)) = self.bucket.take(now.saturating_duration_since(self.started)) {
                wake = Some(now + wait);
                break;
            }
            let Some((object, (wanted, known), is_first)) = self.queue.next(now) else { break };
            // What failed may have failed since the status was written by another.
            let known = known.filter(|_| is_first);
            let client = self.client.clone();
            self.running.spawn(async move {
                let outcome = carry_out(&client, &object, &wanted, known).await;
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
                // A task that panicked is reported by the runtime; its object stays busy for good.
                if let Ok((object, outcome)) = ended {
                    self.end(&object, &outcome);
                }
            }
            () = due => {}
        }
    }

    fn end(&mut self, object: &ObjectRef, outcome: &Outcome) {
        let ending = match outcome {
            Outcome::Right => {
                count(&self.stats.unchanged);
                Ending::Done
            }
            Outcome::Written => {
                count(&self.stats.written);
                self.stats.note(object.kind.name(), None);
                tracing::debug!(%object, "wrote its status");
                Ending::Done
            }
            Outcome::Gone => Ending::Done,
            Outcome::Failed { verb, why } => {
                count(&self.stats.failed);
                self.fail(object, verb, why)
            }
        };
        if self.queue.end(object, ending, Instant::now()) {
            self.has_given_up = true;
            if ending == Ending::Retry
                && let Outcome::Failed { verb, why } = outcome
            {
                tracing::warn!(%object, "cannot {verb} its status: {}; trying again later", why.message);
            }
        }
        self.stats.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }

    fn fail(&mut self, object: &ObjectRef, verb: &str, why: &RequestError) -> Ending {
        tracing::debug!(%object, code = why.code, "cannot {verb} its status: {}", why.message);
        if why.code != 403 {
            return Ending::Retry;
        }
        let kind = object.kind;
        let part = if verb == "patch" { "/status" } else { "" };
        let what = match kind.group() {
            "" => format!("{}{part}", kind.plural()),
            group => format!("{}.{group}{part}", kind.plural()),
        };
        // One object stands for all of its kind, so the message that names it is not compared.
        let sentence = format!(
            "not allowed to {verb} {what}; grant {verb} on {what} to this user, as the chart's ClusterRole does; the mesh is served all the same"
        );
        if self.stats.note(kind.name(), Some(sentence.clone())) {
            tracing::error!(cause = why.message, "{sentence}");
        }
        self.queue.give_up(|other| other.kind == kind);
        Ending::GiveUp
    }
}

async fn carry_out<D: Desired>(
    client: &Client,
    object: &ObjectRef,
    wanted: &D,
    known: Option<Arc<D::Stored>>,
) -> Outcome {
    let collection = collection(object.kind, Some(&object.name.ns));
    let name = &object.name.name;
    let stored = match known {
        Some(known) => known,
        None => {
            // As a list of one: whoever may read what the mesh is made from may do this.
            let path = format!("{collection}?fieldSelector=metadata.name%3D{name}");
            let found = match ask::<Page<D::Stored>>(client, Request::get(path), Vec::new()).await {
                Ok(page) => page.items.into_iter().flatten().next(),
                Err(why) if why.code == 404 => None,
                Err(why) => return Outcome::Failed { verb: "list", why },
            };
            let Some(found) = found else { return Outcome::Gone };
            Arc::new(found)
        }
    };
    match wanted.step(object, &stored, Timestamp::now()) {
        Step::Right => Outcome::Right,
        // What is on the way to us leads to another decision.
        Step::Outdated => Outcome::Gone,
        Step::Apply { manager, body } => {
            let path = format!("{collection}/{name}/status?fieldManager={manager}&force=true");
            let request = Request::patch(path).header("content-type", "application/apply-patch+yaml");
            match ask::<serde::de::IgnoredAny>(client, request, body.to_string().into_bytes()).await {
                Ok(_) => Outcome::Written,
                Err(why) if why.code == 404 => Outcome::Gone,
                Err(why) => Outcome::Failed { verb: "patch", why },
            }
        }
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<S> {
    #[serde(default)]
    metadata: PageMeta,
    // Not `default` for the whole, which would ask that of the items.
    #[serde(default = "Option::default")]
    items: Option<Vec<S>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMeta {
    /// Asks for the next page; absent or empty on the last.
    #[serde(rename = "continue")]
    rest: Option<String>,
}

/// Lists the statuses of a kind, a page at a time.
///
/// # Errors
/// The request that failed; what came before was passed on.
pub async fn list<S: DeserializeOwned>(
    client: &Client,
    kind: Kind,
    mut each: impl FnMut(S),
) -> Result<(), RequestError> {
    let mut rest = String::new();
    loop {
        let path = format!("{}?limit={PAGE}{rest}", collection(kind, None));
        let page: Page<S> = match ask(client, Request::get(path), Vec::new()).await {
            Ok(page) => page,
            // A kind that is not installed has no objects.
            Err(why) if why.code == 404 => return Ok(()),
            Err(why) => return Err(why),
        };
        page.items.into_iter().flatten().for_each(&mut each);
        match page.metadata.rest.filter(|token| !token.is_empty()) {
            Some(token) => rest = format!("&continue={}", escaped(&token)),
            None => return Ok(()),
        }
    }
}

/// Returns the path of a kind's objects, of one namespace or of all.
fn collection(kind: Kind, namespace: Option<&str>) -> String {
    let (group, version, plural) = (kind.group(), kind.version(), kind.plural());
    let api = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    match namespace {
        Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
        None => format!("{api}/{plural}"),
    }
}

/// Makes a text fit to stand in a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

async fn ask<T: for<'a> Deserialize<'a>>(
    client: &Client,
    request: ::http::request::Builder,
    body: Vec<u8>,
) -> Result<T, RequestError> {
    let without_answer = |message: String| RequestError { code: 0, message };
    let answer = async {
        let request = request.body(Body::from(body)).map_err(|e| without_answer(e.to_string()))?;
        let answer = client.send(request).await.map_err(|e| without_answer(root_cause(&e)))?;
        let code = answer.status();
        let bytes = Limited::new(answer.into_body(), BYTES).collect().await;
        let bytes = bytes.map_err(|e| without_answer(e.to_string()))?.to_bytes();
        if code.is_success() {
            let read = serde_json::from_slice(&bytes);
            return read.map_err(|e| without_answer(format!("the answer cannot be read: {e}")));
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Refusal {
            message: String,
        }
        let refusal: Refusal = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = refusal.message.trim_end_matches('.').to_owned();
        Err(RequestError {
            code: code.as_u16(),
            message: if message.is_empty() { code.to_string() } else { message },
        })
    };
    let answer = timeout(ANSWER, answer).await;
    answer.unwrap_or_else(|_| Err(without_answer(format!("no answer within {} s", ANSWER.as_secs()))))
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_statuses() {
        assert_eq!(collection(Kind::Service, Some("shop")), "/api/v1/namespaces/shop/services");
        assert_eq!(collection(Kind::ServiceEntry, None), "/apis/networking.istio.io/v1/serviceentries");
    }

    #[test]
    fn tokens_stand_in_a_query_unharmed() {
        assert_eq!(escaped("aZ9-._~+/=&"), "aZ9-._~%2B%2F%3D%26");
    }
}
