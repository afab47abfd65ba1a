//! What something refers to: each object is read by its name, as long as it is wanted.
//!
//! ```text
//! engine ──the newest set of names──▶ one reader for each ──▶ watch by name ──▶ Answer(object)
//!                                            │                get: 404     ──▶ Answer(Absent)
//!                                            │                403          ──▶ Answer(Unreadable)
//!                                            └ not wanted any more         ──▶ Forget
//! ```
//!
//! Nothing lists Secrets: the role needs `get` and `watch`, in the namespaces that it is bound in. A watch
//! without a version begins with the object as it is; that there is none, a `get` of its metadata tells.

use super::batch::Batches;
use super::response::{Change, Page, name_of};
use super::stream::{Backoff, LONGEST_PAUSE, Lines, OpenError, REQUEST_TIMEOUT, WATCH_SECONDS, open};
use ::kube::Client;
use ::kube::api::{GetParams, ListParams, WatchParams};
use ::kube::core::Request as Collection;
use futures::AsyncReadExt;
use model::facts::{Answer, CLASS_DEFAULTS, ConfigMap, Referent};
use model::parse::{ReferentKind, referent};
use model::{Event, Name, Ns};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How many objects are read by reference at most: each is a stream of its own.
const MAX_READERS: usize = 1000;

/// How many readers ask at the same time, so that many that are wanted at once are no burst.
const MAX_ASKING: usize = 16;

/// The longest pause before what may not be read is asked for again.
const RETRY_FORBIDDEN: Duration = Duration::from_secs(30);

/// Reads what is wanted until nobody receives or nobody can want anything any more.
pub(super) async fn run(client: Client, mut wanted: watch::Receiver<BTreeSet<Referent>>, out: Batches) {
    let asking = Arc::new(Semaphore::new(MAX_ASKING));
    let mut readers = Readers::default();
    loop {
        let now = wanted.borrow_and_update().clone();
        if readers.follow(&client, &asking, &now, &out).await.is_err() {
            return;
        }
        tokio::select! {
            () = out.closed() => return,
            changed = wanted.changed() => if changed.is_err() {
                // The engine is gone: what was read stays as it is.
                return;
            },
        }
    }
}

/// Nobody receives any more.
struct Closed;

#[derive(Default)]
struct Readers {
    running: BTreeMap<Referent, JoinHandle<()>>,
    /// Those that are wanted beyond the bound.
    beyond: BTreeSet<Referent>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

impl Readers {
    /// Ends readers of what is not wanted any more, and starts those of what is wanted now.
    async fn follow(
        &mut self,
        client: &Client,
        asking: &Arc<Semaphore>,
        wanted: &BTreeSet<Referent>,
        out: &Batches,
    ) -> Result<(), Closed> {
        let mut events = Vec::new();
        let gone: Vec<Referent> =
            self.running.keys().chain(&self.beyond).filter(|of| !wanted.contains(*of)).cloned().collect();
        for of in gone {
            if let Some(reader) = self.running.remove(&of) {
                reader.abort();
                // Until it has ended, an answer of it may still be on its way.
                if let Err(error) = reader.await
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            }
            self.beyond.remove(&of);
            events.push(Event::Forget(of));
        }
        for of in wanted {
            if self.running.contains_key(of) {
                continue;
            }
            if self.running.len() < MAX_READERS {
                self.beyond.remove(of);
                let reader = Reader {
                    client: client.clone(),
                    of: of.clone(),
                    asking: Arc::clone(asking),
                    out: out.clone(),
                    known: None,
                };
                self.running.insert(of.clone(), tokio::spawn(reader.run()));
            } else if self.beyond.insert(of.clone()) {
                let why = format!("more than {MAX_READERS} Secrets and ConfigMaps are referred to");
                events.push(Event::Answer(of.clone(), Answer::Unreadable(why.into())));
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        out.send(events.into()).await.map_err(|_| Closed)
    }
}

/// Why reading stopped at some point.
enum Stop {
    Closed,
    /// The right to this verb is missing.
    Forbidden(&'static str),
    /// There is no such object.
    NotFound,
    /// Anything else, after which it is tried again.
    Failed(String),
}

/// Reads one object, or those with a label.
struct Reader {
    client: Client,
    of: Referent,
    asking: Arc<Semaphore>,
    out: Batches,
    /// What was told last.
    known: Option<Answer>,
}

impl Reader {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            backoff.begin();
            let result = match self.of.clone() {
                Referent::Secret(name) => self.object(ReferentKind::Secret, &name).await,
                Referent::ConfigMap(name) => self.object(ReferentKind::ConfigMap, &name).await,
                Referent::ClassDefaults(ns) => self.labelled(&ns).await,
            };
            let (has_lasted, mut longest) = (backoff.has_lasted(), LONGEST_PAUSE);
            let answer = match result {
                // A watch ends after its time; one that ends at once must not be a busy loop.
                Ok(()) if has_lasted => continue,
                Ok(()) => None,
                Err(Stop::Closed) => return,
                Err(Stop::Forbidden(verb)) => {
                    longest = RETRY_FORBIDDEN;
                    Some(Answer::Unreadable(missing_right(&self.of, verb).into()))
                }
                // What was told stays: that the API server does not answer, those that list say.
                Err(Stop::Failed(error)) => {
                    tracing::debug!(of = %self.of, error, "cannot be read; trying again");
                    None
                }
                // A namespace that is not there has no list to watch.
                Err(Stop::NotFound) => Some(Answer::Absent),
            };
            if let Some(answer) = answer
                && self.answer(answer).await.is_err()
            {
                return;
            }
            backoff.wait(longest).await;
        }
    }

    /// Watches one object until the API server ends the watch.
    async fn object(&mut self, kind: ReferentKind, name: &Name) -> Result<(), Stop> {
        let collection = collection(kind, &name.ns);
        let params = WatchParams {
            field_selector: Some(format!("metadata.name={}", name.name)),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let permit = Arc::clone(&self.asking).acquire_owned().await;
        // Without a version it begins with the object as it is now.
        let request = collection.watch(&params, "").map_err(failed)?;
        let reader = self.ask("watch", request).await?;
        let request = collection.get_metadata(&name.name, &GetParams::default()).map_err(failed)?;
        match self.ask("get", request).await {
            // The watch tells it.
            Ok(_) => {}
            Err(Stop::NotFound) => self.answer(Answer::Absent).await?,
            Err(stop) => return Err(stop),
        }
        drop(permit);
        let reader = pin!(reader);
        let mut lines = Lines::new(reader);
        while let Some(line) = lines.next().await.map_err(Stop::Failed)? {
            match change(line)? {
                Change::Put { object, .. } => self.answer(read(kind, object)).await?,
                Change::Remove(_) => self.answer(Answer::Absent).await?,
                Change::Bookmark(_) | Change::Failure(_) => {}
            }
        }
        Ok(())
    }

    /// Lists and watches the ConfigMaps with defaults of classes of gateways.
    async fn labelled(&mut self, ns: &Ns) -> Result<(), Stop> {
        let kind = ReferentKind::ConfigMap;
        let collection = collection(kind, ns);
        let params = ListParams { label_selector: Some(CLASS_DEFAULTS.to_owned()), ..ListParams::default() };
        let reader = self.ask("list", collection.list(&params).map_err(failed)?).await?;
        let mut body = Vec::new();
        let mut reader = pin!(reader);
        match timeout(REQUEST_TIMEOUT, reader.read_to_end(&mut body)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Stop::Failed(error.to_string())),
            Err(_) => return Err(Stop::Failed("no answer in time".to_owned())),
        }
        let page = Page::read(&body).map_err(|error| Stop::Failed(error.to_string()))?;
        let mut maps: BTreeMap<Name, Arc<ConfigMap>> = BTreeMap::new();
        for object in page.objects() {
            put(&mut maps, object.get());
        }
        self.answer(Answer::ConfigMaps(maps.values().cloned().collect())).await?;
        let version = page.metadata.resource_version.clone().unwrap_or_default();
        let params = WatchParams {
            label_selector: Some(CLASS_DEFAULTS.to_owned()),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let reader = self.ask("watch", collection.watch(&params, &version).map_err(failed)?).await?;
        let reader = pin!(reader);
        let mut lines = Lines::new(reader);
        while let Some(line) = lines.next().await.map_err(Stop::Failed)? {
            match change(line)? {
                Change::Put { object, .. } => put(&mut maps, object),
                Change::Remove(head) => {
                    maps.remove(&Name::new(&head.namespace, &head.name));
                }
                Change::Bookmark(_) | Change::Failure(_) => {}
            }
            self.answer(Answer::ConfigMaps(maps.values().cloned().collect())).await?;
        }
        Ok(())
    }

    /// Tells what is there, if that is news.
    async fn answer(&mut self, answer: Answer) -> Result<(), Stop> {
        if self.known.as_ref() == Some(&answer) {
            return Ok(());
        }
        let event = Event::Answer(self.of.clone(), answer.clone());
        self.out.send(vec![event].into()).await.map_err(|_| Stop::Closed)?;
        self.known = Some(answer);
        Ok(())
    }

    async fn ask(
        &self,
        verb: &'static str,
        request: http::Request<Vec<u8>>,
    ) -> Result<impl futures::AsyncBufRead + use<>, Stop> {
        let answered = timeout(REQUEST_TIMEOUT, open(&self.client, request)).await;
        let answered = answered.map_err(|_| Stop::Failed("no answer in time".to_owned()))?;
        answered.map_err(|error| match error {
            OpenError::NoAnswer(cause) => Stop::Failed(cause),
            OpenError::Refused { code, message } => refused(verb, code, &message),
        })
    }
}

/// Reads a line of a watch, which ends where it is a failure.
fn change(line: &[u8]) -> Result<Change<'_>, Stop> {
    match Change::read(line).map_err(|error| Stop::Failed(error.to_string()))? {
        Change::Failure(status) => Err(refused("watch", status.code, &status.message)),
        change => Ok(change),
    }
}

fn refused(verb: &'static str, code: u16, message: &str) -> Stop {
    match code {
        403 => Stop::Forbidden(verb),
        404 => Stop::NotFound,
        _ => Stop::Failed(format!("{message} (HTTP {code})")),
    }
}

fn failed(error: ::kube::core::request::Error) -> Stop {
    Stop::Failed(error.to_string())
}

fn collection(kind: ReferentKind, ns: &Ns) -> Collection {
    Collection::new(format!("/api/v1/namespaces/{}/{}", &**ns, kind.plural()))
}

fn read(kind: ReferentKind, object: &str) -> Answer {
    match referent(kind, object.as_bytes()) {
        Ok((_, answer)) => answer,
        Err(why) => Answer::Unreadable(why.message.into()),
    }
}

/// Puts a ConfigMap among others, in the place of its former version.
fn put(maps: &mut BTreeMap<Name, Arc<ConfigMap>>, object: &str) {
    match read(ReferentKind::ConfigMap, object) {
        Answer::ConfigMap(map) => drop(maps.insert(map.name.clone(), map)),
        // An API server sends none that cannot be read.
        _ => drop(maps.remove(&name_of(object))),
    }
}

/// Says which right is missing, and how to grant it.
fn missing_right(of: &Referent, verb: &str) -> String {
    match of {
        Referent::Secret(name) => format!(
            "this control plane may not {verb} secrets in namespace {:?}; name the namespace in the value \
             secretNamespaces of its chart",
            &*name.ns
        ),
        Referent::ConfigMap(Name { ns, .. }) | Referent::ClassDefaults(ns) => format!(
            "this control plane may not {verb} configmaps in namespace {:?}; grant it as the roles of its chart do",
            &**ns
        ),
    }
}
