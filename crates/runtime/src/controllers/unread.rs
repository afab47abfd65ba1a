//! The condition of objects of kinds that are known and not read: that nothing of them is active.
//!
//! Nothing of such objects is watched. Their metadata is listed when this replica becomes the leader and every few
//! minutes; a status is read, compared and perhaps written only if the object is another than when that was done last.
//! The condition is taken from objects that are of another revision, or of a namespace that takes no part.

use super::settings::StatusSettings;
use super::stats::StatusStats;
use super::status::ACCEPTED;
use crate::engine_thread::EngineHandle;
use cluster::{Action, DesiredStatus, Lane, ListedObject, ObjectClient, StatusTarget, StatusWriter};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use model::{KindState, KnownKind, Name, Str, known_kinds};
use plane::{Condition, Conditions, Plane};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// The field manager of the condition.
const MANAGER: &str = "pilothouse-unread";
const REASON: &str = "KindNotRead";
const REVISION: &str = "istio.io/rev";

/// An object of a kind that is not read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: &'static KnownKind,
    name: Name,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name, self.name)
    }
}

impl StatusTarget for Object {
    fn kind(&self) -> &'static KnownKind {
        self.kind
    }

    fn name(&self) -> &Name {
        &self.name
    }
}

/// Whether an object is to have the condition.
#[derive(Clone)]
struct Notice {
    is_wanted: bool,
}

/// The part of an object that is read before its status is written.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Stored {
    metadata: StoredMeta,
    status: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StoredMeta {
    generation: i64,
    resource_version: String,
}

impl DesiredStatus for Notice {
    type Target = Object;
    type Stored = Stored;

    fn compare(&self, object: &Object, stored: &Stored, now: Timestamp) -> Action {
        let desired = Conditions {
            generation: stored.metadata.generation,
            conditions: self.is_wanted.then(|| condition(object.kind)).flatten().into_iter().collect(),
            ..Conditions::default()
        };
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let Some(mut status) = desired.merged_into(&stored.status, &[ACCEPTED], &now) else {
            return Action::None;
        };
        Action::Merge {
            manager: MANAGER,
            body: json!({
                // Refused if anybody has written meanwhile: then it is read and compared again.
                "metadata": {"resourceVersion": stored.metadata.resource_version},
                // Of the status nothing else is ours; what others wrote into the list is passed on in it.
                "status": {"conditions": status["conditions"].take()},
            }),
        }
    }
}

/// Returns the condition of objects of a kind; `None` for one that is read.
fn condition(kind: &KnownKind) -> Option<Condition> {
    let KindState::Unread(instead) = kind.state else { return None };
    let told = kind.state.told()?;
    let message = format!("the kind {told}: {instead}");
    Some(Condition { kind: ACCEPTED, status: false, reason: REASON, message })
}

/// Writes the condition until the future is dropped, which is when this replica no longer leads, or the engine has
/// ended.
pub(super) async fn run(
    client: &Client,
    engine: &EngineHandle,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let is_told =
        |kind: &&KnownKind| matches!(kind.state, KindState::Unread(_)) && kind.has_open_conditions();
    let mut kinds: Vec<Kind> = known_kinds().filter(is_told).map(Kind::new).collect();
    let client = ObjectClient::new(client.clone());
    let mut writer = StatusWriter::new(client.clone(), &stats.unread);
    let mut due = Instant::now();
    loop {
        if writer.has_given_up() {
            kinds.iter_mut().for_each(|kind| kind.compared.clear());
            due = due.min(Instant::now() + settings.resync_delay);
        }
        tokio::select! {
            biased;
            () = sleep_until(due) => {
                let namespaces = engine.query(|plane: &Plane| Arc::clone(plane.identity().namespaces())).await;
                let Some(namespaces) = namespaces else { return };
                let scope = Scope { revision: &settings.revision, namespaces: &namespaces };
                for kind in &mut kinds {
                    kind.look(&client, &scope, &mut writer).await;
                }
                due = Instant::now() + settings.relist_interval;
            }
            () = writer.process() => {}
        }
    }
}

/// Which objects are ours.
struct Scope<'s> {
    revision: &'s str,
    namespaces: &'s BTreeSet<Str>,
}

impl Scope<'_> {
    fn has(&self, object: &ListedObject) -> bool {
        let is_of_revision = self.revision.is_empty()
            || object.labels.get(REVISION).is_none_or(|revision| revision == self.revision);
        is_of_revision && self.namespaces.contains(object.namespace.as_str())
    }
}

/// A kind, and which of its objects were looked at.
struct Kind {
    known: &'static KnownKind,
    /// The version of each object that was compared, and with what.
    compared: BTreeMap<Name, (String, bool)>,
}

impl Kind {
    fn new(known: &'static KnownKind) -> Self {
        Self { known, compared: BTreeMap::new() }
    }

    /// Lists the objects and queues those that are others than before.
    async fn look(
        &mut self,
        client: &ObjectClient,
        scope: &Scope<'_>,
        writer: &mut StatusWriter<'_, Notice>,
    ) {
        let (mut compared, mut changed) = (BTreeMap::new(), Vec::new());
        let each = |object: ListedObject| {
            let is_wanted = scope.has(&object);
            if !is_wanted && !object.has_status_of(MANAGER) {
                return;
            }
            let name = Name::new(&object.namespace, &object.name);
            let now = (object.resource_version, is_wanted);
            if self.compared.get(&name) != Some(&now) {
                changed.push((Object { kind: self.known, name: name.clone() }, Notice { is_wanted }));
            }
            compared.insert(name, now);
        };
        let listed = client.list_metadata(self.known, each).await;
        let lane = Lane::of(changed.len());
        for (object, notice) in changed {
            writer.add(object, notice, None, lane);
        }
        match listed {
            Ok(_) => self.compared = compared,
            // What was queued is compared; all is looked at again.
            Err(error) => {
                self.compared.clear();
                tracing::debug!(kind = self.known.name, "cannot list a kind that is not read: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn known(name: &str) -> &'static KnownKind {
        known_kinds().find(|kind| kind.name == name && kind.has_open_conditions()).unwrap()
    }

    fn compared(kind: &str, is_wanted: bool, status: Value) -> Action {
        let metadata = json!({"name": "web", "namespace": "shop", "resourceVersion": "7", "generation": 3});
        let stored = serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap();
        let object = Object { kind: known(kind), name: Name::new("shop", "web") };
        Notice { is_wanted }.compare(&object, &stored, Timestamp::UNIX_EPOCH)
    }

    fn other() -> Value {
        json!({"type": "Reconciled", "status": "True", "lastTransitionTime": "2001-09-09T01:46:40Z"})
    }

    fn own(generation: i64) -> Value {
        json!({
            "type": "pilothouse.io/Accepted", "status": "False", "reason": "KindNotRead",
            "message": "the kind is known and not read, so nothing of it is active: nothing is patched into what is sent: use routes, policies, Telemetry and TrafficExtension",
            "lastTransitionTime": "1970-01-01T00:00:00Z", "observedGeneration": generation,
        })
    }

    fn written(conditions: Value) -> Action {
        Action::Merge {
            manager: MANAGER,
            body: json!({
                "metadata": {"resourceVersion": "7"},
                "status": {"conditions": conditions},
            }),
        }
    }

    #[test]
    fn an_object_says_once_that_nothing_of_it_is_active_beside_what_others_say() {
        let both = json!([other(), own(3)]);
        assert_eq!(compared("EnvoyFilter", true, json!({"conditions": [other()]})), written(both.clone()));
        assert_eq!(compared("EnvoyFilter", true, json!({"conditions": both})), Action::None);
        assert_eq!(compared("EnvoyFilter", true, json!(null)), written(json!([own(3)])));
        // What was said of an older generation is said again.
        let older = json!({"conditions": [own(2)]});
        assert_eq!(compared("EnvoyFilter", true, older), written(json!([own(3)])));
    }

    #[test]
    fn an_object_that_is_not_ours_loses_the_condition() {
        let both = json!({"conditions": [other(), own(3)]});
        assert_eq!(compared("EnvoyFilter", false, both), written(json!([other()])));
        assert_eq!(compared("EnvoyFilter", false, json!({"conditions": [other()]})), Action::None);
        // So does one of a kind that has come to be read.
        assert_eq!(condition(model::Kind::ServiceEntry.known()), None);
    }

    #[test]
    fn an_object_is_ours_by_revision_and_namespace() {
        let namespaces = BTreeSet::from([Str::from("shop")]);
        let object = |namespace: &str, revision: Option<&str>| -> ListedObject {
            let labels = revision.map(|of| json!({ REVISION: of })).unwrap_or_else(|| json!({}));
            serde_json::from_value(json!({"namespace": namespace, "labels": labels})).unwrap()
        };
        for (own, namespace, revision, is_ours) in [
            ("", "shop", None, true),
            ("", "shop", Some("blue"), true),
            ("blue", "shop", Some("blue"), true),
            ("blue", "shop", None, true),
            ("blue", "shop", Some("green"), false),
            ("", "elsewhere", None, false),
        ] {
            let scope = Scope { revision: own, namespaces: &namespaces };
            assert_eq!(scope.has(&object(namespace, revision)), is_ours, "{own} {namespace} {revision:?}");
        }
    }
}
