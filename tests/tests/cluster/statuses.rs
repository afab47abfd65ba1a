//! The conditions in statuses, compared with a computation from scratch.

use crate::fresh::list;
use anyhow::{Context, ensure};
use model::{Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::{LIMIT, until};
use plane::Plane;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds that have conditions of ours.
const KINDS: [Kind; 4] = [Kind::Service, Kind::ServiceEntry, Kind::WorkloadEntry, Kind::AuthorizationPolicy];
/// Says how far ztunnels are, which no computation can tell.
const DISTRIBUTED: &str = "pilothouse.io/Distributed";

/// Type, status, reason, message, `observedGeneration`.
type Condition = (String, bool, String, String, i64);

/// The conditions of each object that has any.
type Statuses = BTreeMap<ObjectRef, BTreeSet<Condition>>;

/// Waits until the statuses of the API server hold the conditions of a mesh, word for word, and no
/// others: nobody else writes any here.
pub async fn until_statuses_match(client: &kube::Client, mesh: &Plane) -> anyhow::Result<()> {
    let wanted = wanted(mesh);
    let mut found = Statuses::new();
    let are_there = async || {
        found = stored(client).await?;
        Ok((found == wanted).then_some(()))
    };
    let waited = until(LIMIT, are_there).await;
    waited.with_context(|| {
        let objects: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
        let differing = objects.into_iter().filter(|object| found.get(object) != wanted.get(object));
        let differing = differing
            .take(5)
            .map(|object| format!("{object}: {:#?} instead of {:#?}", found.get(object), wanted.get(object)));
        format!("statuses differ: {}", differing.collect::<Vec<_>>().join("\n"))
    })
}

fn wanted(mesh: &Plane) -> Statuses {
    let mut all = Statuses::new();
    for (object, row) in mesh.conditions() {
        let conditions = row
            .conditions
            .iter()
            .map(|c| (c.kind.to_owned(), c.status, c.reason.to_owned(), c.message.clone(), row.generation));
        let conditions: BTreeSet<_> = conditions.collect();
        if !conditions.is_empty() {
            all.insert(object, conditions);
        }
    }
    all
}

async fn stored(client: &kube::Client) -> anyhow::Result<Statuses> {
    let mut all = Statuses::new();
    for kind in KINDS {
        for object in list(client, kind, "").await? {
            let text = |value: &Value, at: &str| {
                value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let name = Name::new(&text(&object, "/metadata/namespace"), &text(&object, "/metadata/name"));
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
            let mut read = BTreeSet::new();
            for condition in conditions.into_iter().flatten() {
                if condition["type"] == DISTRIBUTED {
                    continue;
                }
                let status = text(condition, "/status");
                ensure!(["True", "False"].contains(&status.as_str()), "{kind} {name}: {condition}");
                let generation = condition["observedGeneration"].as_i64().unwrap_or(0);
                let [of, reason, message] = ["/type", "/reason", "/message"].map(|at| text(condition, at));
                read.insert((of, status == "True", reason, message, generation));
            }
            if !read.is_empty() {
                all.insert(ObjectRef { kind, name }, read);
            }
        }
    }
    Ok(all)
}
