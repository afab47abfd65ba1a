//! Statuses of objects, as this control plane writes them.

use model::{Kind, ObjectRef};
use plane::{Conditions, Plane};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What is ours of the status of an object. Not in it are the times of conditions, addresses of ServiceEntries,
/// how many nodes have a policy, and what Envoys refuse: these are known where they are written only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// How it is called.
    pub metadata: ObjectName,
    /// Its status.
    pub status: Value,
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its namespace; empty for an object in none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the views of statuses are made from.
pub type StatusRows = Vec<(ObjectRef, Arc<Conditions>)>;

impl StatusView {
    /// Returns what the views of all statuses, or those of one kind, are made from; that walks the objects.
    ///
    /// # Errors
    /// That objects of the kind have no status of ours, and which have.
    pub fn rows(plane: &Plane, kind: Option<Kind>) -> Result<StatusRows, String> {
        let kinds = plane.status_kinds();
        if let Some(kind) = kind.filter(|kind| !kinds.contains(kind)) {
            let all: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            return Err(format!("no {kind} has a status of ours; those that may: {}", all.join(", ")));
        }
        let mut rows = plane.conditions();
        rows.retain(|(object, _)| kind.is_none_or(|kind| kind == object.kind));
        Ok(rows)
    }

    /// Returns the views of all that have something to say, ascending by kind, namespace and name.
    pub fn all(rows: StatusRows) -> Vec<Self> {
        let views = rows.iter().map(|(object, conditions)| Self::of(object, conditions));
        views.filter(|view| view.status.as_object().is_some_and(|fields| !fields.is_empty())).collect()
    }

    fn of(object: &ObjectRef, conditions: &Conditions) -> Self {
        let (group, version) = (object.kind.group(), object.kind.version());
        Self {
            api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
            kind: object.kind.name().to_owned(),
            metadata: ObjectName {
                namespace: object.name.ns.to_string(),
                name: object.name.name.to_string(),
            },
            status: conditions.status(),
        }
    }
}
