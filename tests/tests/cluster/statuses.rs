//! The conditions in statuses, compared with a computation from scratch.

use crate::fresh::list;
use anyhow::ensure;
use model::{Kind, Name, ObjectRef};
use plane::Plane;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds that have conditions of ours for the whole object.
const KINDS: [Kind; 7] = [
    Kind::Service,
    Kind::ServiceEntry,
    Kind::WorkloadEntry,
    Kind::AuthorizationPolicy,
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::ListenerSet,
];
/// Says how far ztunnels are, which no computation can tell.
const DISTRIBUTED: &str = "pilothouse.io/Distributed";
/// The reason of conditions that the API server itself gives to new objects.
const PENDING: &str = "Pending";

/// Type, status, reason, message, `observedGeneration`.
type Condition = (String, bool, String, String, i64);

/// Returns where the statuses of the API server do not hold the conditions and fields of a mesh, word for word, or hold
/// other conditions: nobody else writes any here.
pub async fn differences(client: &kube::Client, mesh: &Plane) -> anyhow::Result<Vec<String>> {
    let rows: BTreeMap<_, _> = mesh.conditions().into_iter().collect();
    let mut all = Vec::new();
    for (object, row) in &rows {
        ensure!(row.conditions.is_empty() || KINDS.contains(&object.kind), "conditions of {object}");
    }
    for kind in KINDS {
        for stored in list(client, kind, "").await? {
            let name = Name::new(&text(&stored, "/metadata/namespace"), &text(&stored, "/metadata/name"));
            let object = ObjectRef { kind, name };
            // One of the Gateway API that is ours no more keeps what it has: it may be another's by now (ADR 44).
            if kind.group() == Kind::Gateway.group() && !rows.contains_key(&object) {
                continue;
            }
            let found = conditions(&stored)?;
            let mut wanted = BTreeSet::new();
            if let Some(row) = rows.get(&object) {
                wanted.extend(row.conditions.iter().map(|c| {
                    (c.kind.to_owned(), c.status, c.reason.to_owned(), c.message.clone(), row.generation)
                }));
                let absent = [Value::Null, Value::Array(Vec::new())];
                for (field, value) in &row.fields {
                    let found = &stored["status"][field];
                    if found != value && !(absent.contains(found) && absent.contains(value)) {
                        all.push(format!("{object}: {field} {found} instead of {value}"));
                    }
                }
            }
            if found != wanted {
                all.push(format!("{object}: {found:#?} instead of {wanted:#?}"));
            }
        }
    }
    Ok(all)
}

/// Returns the conditions that an object of the API server holds.
fn conditions(stored: &Value) -> anyhow::Result<BTreeSet<Condition>> {
    let mut all = BTreeSet::new();
    for condition in stored.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten() {
        let [of, status, reason, message] =
            ["/type", "/status", "/reason", "/message"].map(|at| text(condition, at));
        if of == DISTRIBUTED || (status == "Unknown" && reason == PENDING) {
            continue;
        }
        ensure!(["True", "False"].contains(&status.as_str()), "{condition} in {stored}");
        let generation = condition["observedGeneration"].as_i64().unwrap_or(0);
        all.insert((of, status == "True", reason, message, generation));
    }
    Ok(all)
}

fn text(value: &Value, at: &str) -> String {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}
