//! The Kubernetes source: lists every kind, then watches it, for as long as someone receives.
//!
//! Each kind is watched on its own, so a kind that cannot be read holds no other back:
//!
//! ```text
//!        ┌──────────── 410 or 504: the version is out of reach ─────────────┐
//!        ▼                                                                  │
//!  list, by pages ──▶ Begin(kind) Put… Synced(kind) ──▶ watch from there ───┤
//!   ▲   │                                                ▲                  │
//!   │   └ 404: not installed: Begin(kind) Synced(kind)   └── ended, cut: ───┘
//!   └──── again once discovery has it                        go on where it was
//! ```
//!
//! A kind with several versions is read in the first that is served; it is not installed if none is.
//!
//! - A page of a list is one batch. Of a watch, what has arrived is one batch: no timer waits for
//!   more, so an idle system sees a change as soon as the API server sends it.
//! - Objects are read straight from the bytes of the answer, one by one: one that cannot be read is
//!   an [`Event::Reject`] and takes no other with it, and of the fields that nobody reads
//!   (`managedFields`) no copy is made.
//! - What something refers to is read by its name, see `referents`.
//! - While the API server is unreachable nothing is sent: the last state stays. [`KubeSource::problems`]
//!   has one sentence for each problem, the log one line when it has lasted and one when it is over; every
//!   request is retried with a growing backoff.

mod batch;
mod discovery;
mod problems;
mod referents;
mod response;
mod stream;

pub use batch::{Batch, Batches};
pub use problems::SourceProblems;

use crate::connect::Connection;
use ::kube::Client;
use ::kube::api::{ListParams, WatchParams};
use ::kube::core::Request as Collection;
use discovery::Discovery;
use futures::{AsyncBufRead, AsyncReadExt};
use http::Request;
use model::Event;
use model::facts::Referent;
use model::{Kind, Name, ObjectRef};
use problems::{ProblemReporter, RequestFailure};
use response::{Change, Page};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use stream::{Backoff, LONGEST_PAUSE, Lines, OpenError, REQUEST_TIMEOUT, WATCH_SECONDS, jittered, open};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many objects a page of a list may have, which bounds the memory of a listing.
const PAGE_SIZE: u32 = 500;

/// How many changes one batch may have, so that a burst reaches the receiver in pieces.
const MAX_BATCH: usize = 1024;

/// Which objects of the cluster are read.
#[derive(Debug, Clone)]
pub struct KubeSettings {
    /// The kinds that are watched.
    pub kinds: Vec<Kind>,
    /// The namespace of the ConfigMap with the mesh settings.
    pub config_namespace: String,
    /// The name of that ConfigMap; no other ConfigMap is read.
    pub config_name: String,
}

impl Default for KubeSettings {
    /// Every kind, and the mesh settings where istiod has them: `istio-system/istio`.
    fn default() -> Self {
        Self {
            kinds: Kind::ALL.to_vec(),
            config_namespace: "istio-system".to_owned(),
            config_name: "istio".to_owned(),
        }
    }
}

/// A source of the objects of a Kubernetes API server.
pub struct KubeSource {
    client: Client,
    settings: KubeSettings,
    problems: Arc<ProblemReporter>,
    wanted: Option<watch::Receiver<BTreeSet<Referent>>>,
}

impl KubeSource {
    /// Prepares to watch the objects of the API server that `connection` leads to; nothing is requested yet.
    pub fn new(connection: Connection, settings: KubeSettings) -> Self {
        let problems = Arc::new(ProblemReporter::new(connection.url));
        Self { client: connection.client, settings, problems, wanted: None }
    }

    /// Reads, besides what it lists, what this set has, as long as it does.
    #[must_use]
    pub fn with_wanted(self, wanted: watch::Receiver<BTreeSet<Referent>>) -> Self {
        Self { wanted: Some(wanted), ..self }
    }

    /// Returns what keeps the source from reading at the moment; it is empty when nothing does.
    pub fn problems(&self) -> watch::Receiver<SourceProblems> {
        self.problems.subscribe()
    }

    /// Lists and watches every kind until the receiver of `out` is dropped. No problem with the API server ends it.
    pub async fn run(self, out: Batches) {
        let mut kinds = JoinSet::new();
        if let Some(wanted) = self.wanted {
            // Before anything is listed: what is wanted then waits for its answer.
            if out.send(vec![Event::OnDemand].into()).await.is_err() {
                return;
            }
            kinds.spawn(referents::run(self.client.clone(), wanted, out.clone()));
        }
        let discovery = Arc::new(Discovery::new(self.client.clone(), &self.settings.kinds));
        for &kind in &self.settings.kinds {
            let mut watcher = KindWatcher {
                client: self.client.clone(),
                collections: self.settings.paths(kind).map(Collection::new).collect(),
                served: 0,
                fields: self.settings.fields(kind),
                kind,
                problems: Arc::clone(&self.problems),
                discovery: Arc::clone(&discovery),
                out: out.clone(),
                reported_empty: false,
            };
            kinds.spawn(async move { watcher.run().await });
        }
        let all_ended = async {
            while let Some(ended) = kinds.join_next().await {
                // A kind that is no longer watched would go stale without a sign.
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            }
        };
        tokio::select! {
            () = out.closed() => {}
            () = all_ended => {}
            () = self.problems.tell() => {}
        }
    }
}

impl KubeSettings {
    /// Returns the paths of a kind's collection, one for each version that may be served.
    fn paths(&self, kind: Kind) -> impl Iterator<Item = String> {
        let (group, plural) = (kind.group(), kind.plural());
        kind.versions().iter().map(move |version| {
            let api =
                if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            match kind {
                Kind::ConfigMap => format!("{api}/namespaces/{}/{plural}", self.config_namespace),
                _ => format!("{api}/{plural}"),
            }
        })
    }

    /// Returns the field selector that narrows a kind's collection.
    fn fields(&self, kind: Kind) -> Option<String> {
        (kind == Kind::ConfigMap).then(|| format!("metadata.name={}", self.config_name))
    }
}

/// Why watching stopped at some point.
enum Stop {
    /// Nobody receives any more.
    Closed,
    /// A request failed.
    Failed(RequestFailure),
}

impl From<RequestFailure> for Stop {
    fn from(failure: RequestFailure) -> Self {
        Stop::Failed(failure)
    }
}

/// Lists and watches one kind.
struct KindWatcher {
    client: Client,
    /// The kind's collection in each version that may be served, the preferred one first.
    collections: Vec<Collection>,
    /// Which of them is read; those before it are not served.
    served: usize,
    fields: Option<String>,
    kind: Kind,
    problems: Arc<ProblemReporter>,
    discovery: Arc<Discovery>,
    out: Batches,
    /// The receiver was sent an empty list since the kind is not installed.
    reported_empty: bool,
}

impl KindWatcher {
    async fn run(&mut self) {
        let mut backoff = Backoff::new();
        // The version up to which the receiver knows the kind; none calls for a list.
        let mut version: Option<String> = None;
        loop {
            backoff.begin();
            let result = match &mut version {
                Some(version) => self.watch(version).await,
                None => match self.list().await {
                    Ok(listed) => {
                        version = Some(listed);
                        continue;
                    }
                    Err(stop) => Err(stop),
                },
            };
            let has_lasted = backoff.has_lasted();
            match result {
                // Many a watch ends after its time; one that ends at once must not be a busy loop.
                Ok(()) if has_lasted => continue,
                Ok(()) => {}
                Err(Stop::Closed) => return,
                Err(Stop::Failed(RequestFailure::VersionExpired)) => (version, self.served) = (None, 0),
                // It was served so far: another version may be now.
                Err(Stop::Failed(RequestFailure::NotInstalled)) if version.is_some() => {
                    (version, self.served) = (None, 0);
                    continue;
                }
                Err(Stop::Failed(RequestFailure::NotInstalled))
                    if self.served + 1 < self.collections.len() =>
                {
                    self.served += 1;
                    continue;
                }
                Err(Stop::Failed(RequestFailure::NotInstalled)) => {
                    (version, self.served) = (None, 0);
                    backoff.reset();
                    if self.report_empty().await.is_err() {
                        return;
                    }
                    loop {
                        sleep(jittered(discovery::PERIOD)).await;
                        if self.discovery.may_serve(self.kind).await {
                            break;
                        }
                    }
                    continue;
                }
                Err(Stop::Failed(failure)) => self.problems.report(self.kind, failure),
            }
            backoff.wait(LONGEST_PAUSE).await;
        }
    }

    /// Returns the collection in the version that is read.
    fn collection(&self) -> &Collection {
        // There is one of each kind's versions, of which there is at least one.
        &self.collections[self.served.min(self.collections.len() - 1)]
    }

    /// Sends all objects between `Begin` and `Synced`, a batch a page, and returns their version.
    async fn list(&mut self) -> Result<String, Stop> {
        let mut params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE_SIZE),
            ..ListParams::default()
        };
        let mut body = Vec::new();
        let mut batch = vec![Event::Begin(self.kind)];
        loop {
            let request = self.collection().list(&params).map_err(|e| RequestFailure::from_request(&e))?;
            let answered = timeout(REQUEST_TIMEOUT, async {
                let reader = self.ask("list", request).await?;
                body.clear();
                let read = pin!(reader).read_to_end(&mut body).await;
                read.map_err(|e| RequestFailure::Unreachable(e.to_string()))
            });
            answered.await.map_err(|_| RequestFailure::timed_out(REQUEST_TIMEOUT))??;
            let page = Page::read(&body).map_err(|e| RequestFailure::malformed(self.kind, &e))?;
            batch.extend(page.objects().iter().map(|object| self.put(object.get())));
            let (version, rest) = (page.metadata.resource_version, page.metadata.continue_token);
            if let Some(rest) = rest.filter(|token| !token.is_empty()) {
                self.send(std::mem::take(&mut batch)).await?;
                params.continue_token = Some(rest);
                continue;
            }
            let version =
                version.filter(|v| !v.is_empty()).ok_or_else(|| RequestFailure::no_version(self.kind))?;
            batch.push(Event::Synced(self.kind));
            self.send(batch).await?;
            if std::mem::take(&mut self.reported_empty) {
                tracing::info!(kind = %self.kind, "installed: read from now on");
            }
            self.problems.clear(self.kind);
            return Ok(version);
        }
    }

    /// Sends changes as they come, until the API server ends the watch or the connection is cut.
    ///
    /// `version` is kept at the last change sent.
    async fn watch(&mut self, version: &mut String) -> Result<(), Stop> {
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let request =
            self.collection().watch(&params, version).map_err(|e| RequestFailure::from_request(&e))?;
        let answered = timeout(REQUEST_TIMEOUT, self.ask("watch", request)).await;
        let reader = answered.map_err(|_| RequestFailure::timed_out(REQUEST_TIMEOUT))??;
        self.problems.clear(self.kind);
        let reader = pin!(reader);
        let mut lines = Lines::new(reader);
        loop {
            let (mut batch, mut ended) = (Batch::from(Vec::new()), None);
            let mut next = Some(lines.next().await);
            // What else has arrived already joins the batch.
            while let Some(read) = next.take() {
                let change = match read {
                    Ok(Some(line)) => self.change(line, version),
                    Ok(None) => {
                        ended = Some(Ok(()));
                        break;
                    }
                    Err(message) => Err(RequestFailure::Failed(message)),
                };
                match change {
                    Ok(event) => batch.events.extend(event),
                    Err(failure) => {
                        ended = Some(Err(failure.into()));
                        break;
                    }
                }
                if batch.events.len() < MAX_BATCH {
                    next = lines.arrived();
                }
            }
            if !batch.events.is_empty() {
                self.send(batch).await?;
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Reads one line of a watch into what it changes, if anything, and moves `version` on.
    fn change(&self, line: &[u8], version: &mut String) -> Result<Option<Event>, RequestFailure> {
        let change = Change::read(line).map_err(|e| RequestFailure::malformed(self.kind, &e))?;
        let head = match &change {
            Change::Failure(status) => return Err(self.failure("watch", status.code, &status.message)),
            Change::Put { head, .. } | Change::Remove(head) | Change::Bookmark(head) => head,
        };
        if head.resource_version.is_empty() {
            return Err(RequestFailure::no_version(self.kind));
        }
        version.clear();
        version.push_str(&head.resource_version);
        Ok(match change {
            Change::Put { object, .. } => Some(self.put(object)),
            Change::Remove(head) => {
                let name = Name::new(&head.namespace, &head.name);
                Some(Event::Remove(ObjectRef { kind: self.kind, name }))
            }
            Change::Bookmark(_) | Change::Failure(_) => None,
        })
    }

    /// Reads an object; what cannot be read is rejected under its name.
    fn put(&self, object: &str) -> Event {
        match model::parse(self.kind, object.as_bytes()) {
            Ok(object) => Event::Put(object),
            Err(diagnostic) => {
                let reference = diagnostic
                    .object
                    .clone()
                    .unwrap_or_else(|| ObjectRef { kind: self.kind, name: response::name_of(object) });
                Event::Reject(reference, diagnostic)
            }
        }
    }

    /// Sends, once, an empty list for a kind that is not installed.
    async fn report_empty(&mut self) -> Result<(), Stop> {
        self.problems.clear(self.kind);
        if self.reported_empty {
            return Ok(());
        }
        tracing::info!(kind = %self.kind, "not installed: read as empty until it is");
        self.send(vec![Event::Begin(self.kind), Event::Synced(self.kind)]).await?;
        self.reported_empty = true;
        Ok(())
    }

    async fn send(&self, batch: impl Into<Batch>) -> Result<(), Stop> {
        self.out.send(batch.into()).await.map_err(|_| Stop::Closed)
    }

    /// Sends a request and returns the body of the answer, to be read as it arrives.
    async fn ask(
        &self,
        verb: &str,
        request: Request<Vec<u8>>,
    ) -> Result<impl AsyncBufRead + use<>, RequestFailure> {
        open(&self.client, request).await.map_err(|error| match error {
            OpenError::NoAnswer(cause) => RequestFailure::Unreachable(cause),
            OpenError::Refused { code, message } => self.failure(verb, code, &message),
        })
    }

    fn failure(&self, verb: &str, code: u16, message: &str) -> RequestFailure {
        RequestFailure::from_status(self.kind, verb, code, message)
    }
}
