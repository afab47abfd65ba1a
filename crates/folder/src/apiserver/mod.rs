//! Plays the API server: what it refuses, what it sets, and what it says.
//!
//! ```text
//!  kinds.json (Kubernetes, Gateway API) ┐
//!  model::crd (our definitions)         ├──▶ catalog ─▶ schema of a kind
//!  limits (what they do not say)        ┘                  │
//!                                                          ▼
//!  object ──▶ shape: types, unknown fields, limits ──▶ complete: defaults ──▶ rules, validate ──▶ Validation
//! ```
//!
//! One walk by schema judges every field of every kind; what depends on several fields of a built-in
//! kind is in [`validate`], what depends on the version before in [`immutable`]. Messages are those of
//! API servers, in the form of `kubectl`: `Invalid value`, `Required value`, `unknown field`.

mod catalog;
mod check;
mod form;
mod immutable;
mod limits;
mod pattern;
mod rule;
mod schema;
mod served;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use form::is_dns_label;
pub(crate) use served::{Lookup, is_namespaced, lookup};

use serde_json::Value;

use crate::Key;
use crate::field::{Flaw, Step};

/// What an API server makes of an object.
#[derive(Default)]
pub(crate) struct Validation {
    /// The object as it is stored: nulls gone, defaults set. `None` if that is as it was written.
    pub(crate) stored: Option<Value>,
    /// Why it is refused; empty if it is not.
    pub(crate) flaws: Vec<Flaw>,
    /// Fields that are not known and do not count, and fields that are null.
    pub(crate) notes: Vec<Flaw>,
}

/// Judges an object; `before` is the version that is stored already, if there is one.
pub(crate) fn judge(key: &Key, value: &Value, before: Option<&Value>) -> Validation {
    let catalog = catalog::catalog();
    let schema = catalog.kind(&key.group, &key.kind).and_then(|served| served.schema.as_ref());
    let Some(schema) = schema else { return Validation::default() };
    let found = check::shape(catalog, schema, value);
    let mut stored = value.clone();
    check::complete(catalog, schema, &mut stored);
    compute(key, &mut stored);
    let mut flaws = found.flaws;
    flaws.extend(check::rules(catalog, schema, &stored));
    flaws.extend(validate::object(&key.group, &key.kind, &stored));
    if let (true, Some(before)) = (flaws.is_empty(), before) {
        flaws.extend(immutable::changes(&key.group, &key.kind, before, &stored));
    }
    // One place is reported once.
    let mut seen = Vec::new();
    flaws.retain(|flaw| {
        let is_new = !seen.contains(&flaw.path);
        seen.push(flaw.path.clone());
        is_new
    });
    let mut notes = found.ignored;
    if is_policy(key) {
        notes.extend(found.nulls);
    }
    Validation { stored: Some(stored), flaws, notes }
}

/// What is wrong with the types of a template of pods in `spec.template`, of a kind whose definition is
/// not known here. Fields that are not known or missing are no flaws: it may have more and fewer.
pub(crate) fn judge_template(value: &Value) -> Vec<Flaw> {
    let catalog = catalog::catalog();
    let Some(template) = value.pointer("/spec/template") else { return Vec::new() };
    let schema = schema::Schema::named("core.v1.PodTemplateSpec");
    let mut flaws = check::shape(catalog, &schema, template).flaws;
    flaws.retain(|flaw| !flaw.is_unknown && flaw.message.starts_with("Invalid value"));
    for flaw in &mut flaws {
        flaw.path.splice(0..0, [Step::Key("spec".to_owned()), Step::Key("template".to_owned())]);
    }
    flaws
}

/// What is wrong with a value by a schema as definitions of kinds have it, fields that are null included.
pub(crate) fn judge_by(schema: &Value, value: &Value) -> Vec<Flaw> {
    let found = check::shape(catalog::catalog(), &schema::Schema::read(schema), value);
    found.flaws.into_iter().chain(found.nulls).collect()
}

/// What is wrong with a name for objects of a kind.
pub(crate) fn name_fault(group: &str, kind: &str, name: &str) -> Option<&'static str> {
    validate::name(group, kind, name)
}

/// Tells whether objects of the kind restrict traffic: they fail closed.
pub(crate) fn is_policy(key: &Key) -> bool {
    key.group == "security.istio.io"
        && matches!(key.kind.as_str(), "AuthorizationPolicy" | "PeerAuthentication" | "RequestAuthentication")
}

/// Sets the defaults that follow from other fields.
fn compute(key: &Key, stored: &mut Value) {
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "Service") => {
            let Some(spec) = stored.get_mut("spec") else { return };
            let is_external = text(spec, "type").as_deref() == Some("ExternalName");
            let Some(spec) = spec.as_object_mut() else { return };
            if !is_external {
                spec.entry("internalTrafficPolicy").or_insert_with(|| "Cluster".into());
            }
            let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                let target = port.get("targetPort");
                let is_unset =
                    target.is_none_or(|target| target == &Value::from(0) || target == &Value::from(""));
                if let (true, Some(number)) = (is_unset, port.get("port").cloned()) {
                    port.insert("targetPort".to_owned(), number);
                }
            }
        }
        ("", "Pod") => {
            // Set by admission, unless the old name of the same field is used.
            let Some(spec) = stored.get_mut("spec") else { return };
            let account = text(spec, "serviceAccountName").or_else(|| text(spec, "serviceAccount"));
            if let Some(spec) = spec.as_object_mut() {
                spec.insert(
                    "serviceAccountName".to_owned(),
                    account.unwrap_or_else(|| "default".to_owned()).into(),
                );
            }
        }
        _ => {}
    }
}

/// The code of a flaw: that of the kind's parser where it has one for the field.
pub(crate) fn code_of(key: &Key, flaw: &Flaw) -> &'static str {
    use model::parse::code;
    if flaw.is_unknown {
        return code::UNKNOWN_FIELD;
    }
    let names: Vec<&str> = flaw
        .path
        .iter()
        .filter_map(|step| match step {
            Step::Key(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    match (key.kind.as_str(), names.as_slice()) {
        ("AuthorizationPolicy", ["spec", "action"]) => code::AUTHORIZATION_ACTION,
        ("AuthorizationPolicy", ["spec", ..]) => code::AUTHORIZATION_FIELD,
        ("PeerAuthentication", ["spec", .., "mode"]) => code::AUTHENTICATION_MODE,
        ("PeerAuthentication", ["spec", "portLevelMtls", ..]) => code::AUTHENTICATION_PORT,
        ("PeerAuthentication", ["spec", ..]) => code::AUTHENTICATION_FIELD,
        ("RequestAuthentication", ["spec", ..]) => code::REQUEST_AUTHENTICATION_FIELD,
        ("ServiceEntry", ["spec", "resolution"]) => code::ENTRY_RESOLUTION,
        ("ServiceEntry", ["spec", "location"]) => code::ENTRY_LOCATION,
        ("Service", ["spec", "clusterIP" | "clusterIPs"]) => code::SERVICE_ADDRESS,
        _ => code::FIELD,
    }
}
