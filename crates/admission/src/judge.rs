//! The decision about one object.

use crate::codes::{Weight, weight};
use crate::decision::{Decision, Reason};
use crate::review::{GroupKind, Operation, Request};
use model::facts::Object;
use model::{Diagnostic, Event, Kind, KindState, KnownKind, Severity, known_kinds, parse};
use plane::{Options, Plane, rule_faults};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The annotation with which whoever asks wants to see a denial.
const ALWAYS_REJECT: &str = "internal.istio.io/webhook-always-reject";
/// What an object of Istio's may have beside its metadata and its kind.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// The most findings that one denial names.
const MOST_NAMED: usize = 4;

/// Judges objects one by one.
#[derive(Clone, Debug)]
pub struct Judge {
    options: Options,
}

/// What is read of any object.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    generate_name: String,
    namespace: String,
    annotations: Option<BTreeMap<String, IgnoredAny>>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Judge {
    /// Makes one that judges as the control plane with these options does, whatever the revision is.
    pub fn new(options: Options) -> Self {
        Self { options: Options { revision: String::new(), owns_unlabelled: None, ..options } }
    }

    /// Returns what becomes of a write. Only a creation or an update is ever denied; and no update that leaves a `spec` as it
    /// is, however wrong: its labels, its finalizers and its status are to be written all the same.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        if request.operation == Operation::Other {
            return Decision::allowed();
        }
        let Some(object) = request.object else {
            return Decision::denied(Reason::Unreadable, "there is no object to validate");
        };
        let keys: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(object.get()) {
            Ok(keys) => keys,
            Err(error) => {
                return Decision::denied(Reason::Unreadable, format!("the object cannot be read: {error}"));
            }
        };
        let Some(kind) = known(&request.kind) else {
            let GroupKind { group, kind, .. } = &request.kind;
            let message =
                format!("{kind:?} of group {group:?} is no kind that is known: validate it elsewhere");
            return Decision::denied(Reason::UnknownKind, message);
        };
        let unknown: Vec<&str> =
            keys.keys().map(|key| &**key).filter(|key| !TOP_LEVEL.contains(key)).collect();
        if is_of_istio(kind)
            && let [first, ..] = unknown.as_slice()
        {
            let message = format!(
                "{first:?} is no field of {}: it has {} (help: what it says belongs into spec)",
                kind.name,
                TOP_LEVEL.join(", ")
            );
            return Decision::denied(Reason::Invalid, message);
        }
        let metadata = keys.get("metadata").map(|metadata| serde_json::from_str::<Metadata>(metadata.get()));
        let metadata = match metadata.unwrap_or_else(|| Ok(Metadata::default())) {
            Ok(metadata) => metadata,
            Err(error) => {
                return Decision::denied(Reason::Unreadable, format!("metadata cannot be read: {error}"));
            }
        };
        if metadata.annotations.is_some_and(|all| all.contains_key(ALWAYS_REJECT)) {
            return Decision::denied(Reason::Invalid, format!("the annotation {ALWAYS_REJECT} asks for it"));
        }
        let is_going = request.operation == Operation::Update && metadata.deletion_timestamp.is_some();
        if is_going || !is_of_istio(kind) {
            return Decision::allowed();
        }
        if let (KindState::Unread(instead), Some(told)) = (kind.state, kind.state.told()) {
            let message = format!("{} {told} (help: {instead})", kind.name);
            return Decision::Allowed { warnings: vec![message] };
        }
        let Some(kind) = Kind::ALL.iter().copied().find(|known| known.known() == kind) else {
            return Decision::allowed();
        };
        let named = match named(
            object,
            &request.namespace,
            &metadata.name,
            &metadata.generate_name,
            &metadata.namespace,
        ) {
            Ok(named) => named,
            Err(error) => {
                return Decision::denied(Reason::Unreadable, format!("the object cannot be read: {error}"));
            }
        };
        decide_by(&self.findings(kind, named.as_bytes()), is_as_before(&keys, request.old_object))
    }

    /// Returns what is wrong with an object by itself, whatever else there is; the worst first.
    pub fn findings(&self, kind: Kind, json: &[u8]) -> Vec<Diagnostic> {
        let object = match parse(kind, json) {
            Ok(object) => object,
            Err(diagnostic) => return vec![diagnostic],
        };
        let own = object.reference();
        let mut found: Vec<Diagnostic> = match &object {
            Object::VirtualService(service) => rule_faults(service).collect(),
            _ => Vec::new(),
        };
        let mut plane = Plane::new(&self.options);
        plane.apply(std::iter::once(Event::Put(object)).chain(Kind::ALL.iter().copied().map(Event::Synced)));
        let of_graph = plane.diagnostics().into_iter();
        found.extend(
            of_graph.filter(|found| found.object.as_ref() == Some(&own) && weight(found.code).is_some()),
        );
        found.sort_by(|a, b| {
            (a.severity, &a.field, a.code, &a.message).cmp(&(b.severity, &b.field, b.code, &b.message))
        });
        found.dedup_by(|a, b| a.identity() == b.identity());
        found
    }
}

fn known(of: &GroupKind) -> Option<&'static KnownKind> {
    known_kinds().find(|known| known.group == of.group && known.name == of.kind)
}

fn is_of_istio(kind: &KnownKind) -> bool {
    kind.group.ends_with(".istio.io")
}

/// Returns the object with a name and a namespace: an API server gives a name that it makes after it has asked.
fn named<'a>(
    object: &'a RawValue,
    of_request: &str,
    name: &str,
    generate_name: &str,
    namespace: &str,
) -> Result<Cow<'a, str>, serde_json::Error> {
    if !name.is_empty() && !namespace.is_empty() {
        return Ok(Cow::Borrowed(object.get()));
    }
    let mut value: Value = serde_json::from_str(object.get())?;
    if let Some(metadata) = value
        .as_object_mut()
        .map(|object| object.entry("metadata").or_insert_with(|| Value::Object(Default::default())))
        && let Some(metadata) = metadata.as_object_mut()
    {
        if name.is_empty() && !generate_name.is_empty() {
            metadata.insert("name".to_owned(), format!("{generate_name}x").into());
        }
        if namespace.is_empty() {
            metadata.insert("namespace".to_owned(), of_request.into());
        }
    }
    Ok(Cow::Owned(value.to_string()))
}

/// Tells whether an update leaves the `spec` of an object as it was.
fn is_as_before(keys: &BTreeMap<Cow<'_, str>, &RawValue>, old: Option<&RawValue>) -> bool {
    let spec = |of: &BTreeMap<Cow<'_, str>, &RawValue>| -> Option<Value> {
        of.get("spec").map_or(Some(Value::Null), |spec| serde_json::from_str(spec.get()).ok())
    };
    let old = old.and_then(|old| serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(old.get()).ok());
    old.is_some_and(|old| spec(&old).is_some_and(|old| spec(keys) == Some(old)))
}

fn decide_by(found: &[Diagnostic], is_as_before: bool) -> Decision {
    let is_refused = |found: &&Diagnostic| {
        found.severity == Severity::Error && weight(found.code) == Some(Weight::Refused)
    };
    let refused: Vec<&Diagnostic> = found.iter().filter(is_refused).collect();
    let is_denied = !refused.is_empty() && !is_as_before;
    let told =
        found.iter().filter(|found| found.severity != Severity::Info && !(is_denied && is_refused(found)));
    let warnings = told.map(|found| format!("{found} [{}]", found.code)).collect();
    if !is_denied {
        return Decision::Allowed { warnings };
    }
    let mut message: Vec<String> =
        refused.iter().take(MOST_NAMED).map(|found| format!("{found} [{}]", found.code)).collect();
    if refused.len() > MOST_NAMED {
        message.push(format!("and {} more", refused.len() - MOST_NAMED));
    }
    Decision::Denied { reason: Reason::Invalid, message: message.join("; "), warnings }
}

#[cfg(test)]
mod tests;
