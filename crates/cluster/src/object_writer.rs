//! Applies and deletes whole objects: reads each, asks what is to be done with it, and does that.

use crate::dispatcher::{Bounds, Dispatcher};
use crate::error::MissingRight;
use crate::object_client::{ObjectClient, RequestError};
use crate::stats::{WriterStats, count};
use crate::work_queue::{Completion, Lane};
use kube::Resource;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, Preconditions,
};
use kube::core::Request;
use limits::Rate;
use model::Str;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// How many objects are reconciled: what is deployed is heavier than a status.
const BOUNDS: Bounds = Bounds { rate: Rate { burst: 200, per_second: 50 }, concurrent: 8 };

/// A kind whose objects are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WrittenKind {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// The version in which it is written.
    pub version: &'static str,
    /// Its name, as in manifests.
    pub name: &'static str,
    /// Its plural resource name, as in API paths.
    pub plural: &'static str,
}

impl WrittenKind {
    /// Returns it as the client library has it.
    pub fn resource(self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.name);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}

/// An object that is written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WrittenObject {
    /// Its kind.
    pub kind: WrittenKind,
    /// Its namespace.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
}

/// What an object is to be.
pub trait DesiredObject: Clone + Send + Sync + 'static {
    /// Compares with what is stored, `None` if nothing is, and returns what is to be done.
    fn compare(&self, stored: Option<&Value>) -> Change;
}

/// What is to be done with an object.
#[derive(Debug, PartialEq)]
pub enum Change {
    /// Nothing: it is as it is to be.
    None,
    /// Nothing: it is somebody else's.
    Foreign,
    /// This is to be applied, by this field manager.
    Apply {
        /// `fieldManager`.
        manager: &'static str,
        /// The apply configuration.
        body: Value,
    },
    /// It is to be deleted if it still has this uid.
    Delete {
        /// `metadata.uid`.
        uid: String,
    },
}

/// How an object ended.
#[derive(Debug)]
pub enum Ended {
    /// It is as it is to be, or not there where it is not to be.
    Unchanged,
    /// It was applied; what the API server holds now.
    Applied(Value),
    /// It was deleted.
    Deleted,
    /// It is somebody else's, and was left alone.
    Foreign,
    /// The API server refuses it, and would again; why, in a sentence.
    Refused(String),
    /// It was given up; why, in a sentence.
    GivenUp(String),
}

enum Outcome {
    Ended(Ended),
    Failed { verb: &'static str, error: RequestError },
}

/// Writes the objects that are added to it, at a bounded rate.
pub struct ObjectWriter<'a, D: DesiredObject> {
    client: ObjectClient,
    stats: &'a WriterStats,
    dispatcher: Dispatcher<'a, WrittenObject, D, Value, Outcome>,
}

impl<'a, D: DesiredObject> ObjectWriter<'a, D> {
    /// Makes a writer with nothing to do, which counts in `stats`.
    pub fn new(client: ObjectClient, stats: &'a WriterStats) -> Self {
        Self { client, stats, dispatcher: Dispatcher::new(stats, BOUNDS) }
    }

    /// Queues an object. `stored` is what was read of it a moment ago; without it, it is read first. `lane`
    /// tells with how many others it comes.
    pub fn add(&mut self, object: WrittenObject, desired: D, stored: Option<Arc<Value>>, lane: Lane) {
        self.dispatcher.add(object, desired, stored, lane);
    }

    /// Starts what is ready and waits until something can be done again; returns an object that ended.
    /// Dropping the future loses nothing; dropping the writer ends every request.
    pub async fn process(&mut self) -> Option<(WrittenObject, Ended)> {
        let client = &self.client;
        let start = |object, desired, stored| reconcile(client.clone(), object, desired, stored);
        let (object, outcome) = self.dispatcher.next(start).await?;
        let ended = self.done(&object, outcome)?;
        Some((object, ended))
    }

    /// Returns how an object ended; `None` if it is tried again.
    fn done(&mut self, object: &WrittenObject, outcome: Outcome) -> Option<Ended> {
        let (completion, ended) = match outcome {
            Outcome::Ended(ended) => {
                match &ended {
                    Ended::Applied(_) | Ended::Deleted => {
                        count(&self.stats.written);
                        self.stats.set_problem(object.kind.name, None);
                    }
                    _ => count(&self.stats.unchanged),
                }
                (Completion::Done, ended)
            }
            Outcome::Failed { verb, error } => {
                count(&self.stats.failed);
                let completion = self.failed(object, verb, &error);
                let sentence = format!("cannot {verb} {object}: {error}");
                let is_refused = matches!(error.code, 400 | 422);
                let ended = if is_refused { Ended::Refused(sentence) } else { Ended::GivenUp(sentence) };
                (completion, ended)
            }
        };
        let is_given_up = self.dispatcher.done(object, completion);
        (is_given_up || completion == Completion::Done).then_some(ended)
    }

    fn failed(&mut self, object: &WrittenObject, verb: &str, error: &RequestError) -> Completion {
        tracing::debug!(%object, code = error.code, "cannot {verb} it: {error}");
        match error.code {
            // Another attempt is refused likewise.
            400 | 422 => return Completion::GiveUp,
            403 if !error.is_of_terminating_namespace() => {}
            403 => return Completion::GiveUp,
            _ => return Completion::Retry,
        }
        let kind = object.kind;
        // Creating by an apply needs both.
        let verbs = if verb == "apply" { "create and patch" } else { verb };
        let right = MissingRight { verb, verbs, group: kind.group, plural: kind.plural, part: "" };
        self.stats.set_missing_right(kind.name, &right, &error.message);
        self.dispatcher.drop_waiting(|other| other.kind == kind);
        Completion::GiveUp
    }
}

impl fmt::Display for WrittenObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name, self.namespace, self.name)
    }
}

async fn reconcile<D: DesiredObject>(
    client: ObjectClient,
    object: WrittenObject,
    desired: D,
    stored: Option<Arc<Value>>,
) -> Outcome {
    let requests = requests(&object);
    let stored = match stored {
        Some(stored) => Some(stored),
        None => {
            // As a list of one: the right to list, which the watch needs anyway, suffices.
            let only = ListParams::default().fields(&format!("metadata.name={}", object.name));
            match client.send::<Value>(requests.list(&only)).await {
                Ok(page) => page["items"].as_array().and_then(|items| items.first()).cloned().map(Arc::new),
                Err(error) => return Outcome::Failed { verb: "list", error },
            }
        }
    };
    match desired.compare(stored.as_deref()) {
        Change::None => Outcome::Ended(Ended::Unchanged),
        Change::Foreign => Outcome::Ended(Ended::Foreign),
        Change::Apply { manager, body } => {
            let params = PatchParams::apply(manager).force();
            match client.send(requests.patch(&object.name, &params, &Patch::Apply(body))).await {
                Ok(now) => Outcome::Ended(Ended::Applied(now)),
                Err(error) => Outcome::Failed { verb: "apply", error },
            }
        }
        Change::Delete { uid } => {
            let preconditions = Preconditions { uid: Some(uid), ..Preconditions::default() };
            let params = DeleteParams::background().preconditions(preconditions);
            match client.send::<Value>(requests.delete(&object.name, &params)).await {
                Ok(_) => Outcome::Ended(Ended::Deleted),
                // It is gone, or another one has its name.
                Err(error) if matches!(error.code, 404 | 409) => Outcome::Ended(Ended::Unchanged),
                Err(error) => Outcome::Failed { verb: "delete", error },
            }
        }
    }
}

/// Returns what makes the requests for objects of a kind in the namespace of one of them.
fn requests(object: &WrittenObject) -> Request {
    Request::new(DynamicObject::url_path(&object.kind.resource(), Some(&object.namespace)))
}
