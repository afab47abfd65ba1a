//! Objects, each with what its status is to say of it.

use crate::replica::Replica;
use crate::world::{Condition, Text, World, owned};
use anyhow::{Context, ensure};
use model::Kind;
use serde_json::{Value, json};

/// Objects and their conditions, collected before a replica sees any of them.
#[derive(Default)]
pub struct Cases {
    yaml: String,
    expected: Vec<(Object, Vec<Condition>)>,
}

/// A kind of ours, a namespace and a name.
type Object = (Kind, String, String);

impl Cases {
    /// Adds objects of which nothing is expected.
    pub fn with(&mut self, yaml: &str) {
        self.yaml += &format!("---\n{yaml}\n");
    }

    /// Adds an object that is to have these conditions of ours and no others.
    pub fn add(&mut self, object: Value, conditions: &[Text<'_>]) {
        self.with(&object.to_string());
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = Kind::from_manifest(&text("/apiVersion"), &text("/kind")).unwrap();
        let of = (kind, text("/metadata/namespace"), text("/metadata/name"));
        self.expected.push((of, owned(conditions)));
    }

    /// Lets a replica see them all at once, waits for every condition, and counts the writes: one for
    /// each object that has any.
    pub async fn check(self, world: &World) -> anyhow::Result<()> {
        world.put_all(&self.yaml).await?;
        let replica = Replica::start(&world.account, "one").await?;
        for ((kind, ns, name), conditions) in &self.expected {
            world.until_told((*kind, ns, name), conditions).await?;
            let object = world.get(*kind, ns, name).await?;
            let generation = &object["metadata"]["generation"];
            let all = object.pointer("/status/conditions").and_then(Value::as_array);
            for condition in all.into_iter().flatten() {
                let observed = condition.get("observedGeneration");
                let is_right = match kind {
                    Kind::AuthorizationPolicy => observed == Some(generation),
                    _ => observed.is_none(),
                };
                ensure!(is_right, "{kind} {ns}/{name} of generation {generation}: {condition}");
            }
        }
        let count = self.expected.iter().filter(|(_, conditions)| !conditions.is_empty()).count() as u64;
        world.has_written(count).await?;
        replica.has_written((count, 0)).await?;
        replica.stop().await.context("the replica")
    }
}

/// Returns an object with these labels and annotations.
pub fn named(mut object: Value, labels: Value, annotations: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object["metadata"]["annotations"] = annotations;
    object
}

/// Returns `more` with the fields of `base` besides.
pub fn and(base: &Value, more: Value) -> Value {
    let mut all = base.as_object().cloned().unwrap_or_default();
    all.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(all)
}

/// The label by which an entry takes no address, which would be one more write.
pub fn no_address() -> Value {
    json!({"networking.istio.io/enable-autoallocate-ip": "false"})
}
