//! What is to be done with an object of a gateway's deployment, given what is stored: pure.

use cluster::{Change, DesiredObject, WrittenKind, WrittenObject};
use model::{Kind, Name, Str};
use plane::{MANAGED_LABEL, Manifest, ManifestKind};
use serde_json::{Value, json};

/// The field manager of all that is deployed, which is that of istiod: what the one no longer sets goes when
/// the other takes over.
const FIELD_MANAGER: &str = "istio.io/gateway-controller";

/// What an object of a deployment is to be.
#[derive(Clone, Debug)]
pub(super) enum Desired {
    /// As its manifest says.
    Present {
        /// The manifest.
        manifest: Manifest,
        /// The uid of the Gateway.
        owner: Str,
        /// What the API server holds of it where it writes the same in other words.
        accepted: Option<Value>,
    },
    /// Not there, if it is the one with this uid.
    Absent(String),
}

impl DesiredObject for Desired {
    fn compare(&self, stored: Option<&Value>) -> Change {
        let (manifest, owner, accepted) = match self {
            Self::Absent(uid) => match stored.map(|stored| text(stored, "/metadata/uid")) {
                Some(stored) if stored == uid => return Change::Delete { uid: uid.clone() },
                _ => return Change::None,
            },
            Self::Present { manifest, owner, accepted } => (manifest, owner, accepted),
        };
        let Some(stored) = stored else {
            return Change::Apply { manager: FIELD_MANAGER, body: (*manifest.body).clone() };
        };
        let owned_by = owner_of(stored).map(|(_, uid)| uid);
        if !is_managed(stored) || owned_by.is_some_and(|uid| uid != *owner) {
            return Change::Foreign;
        }
        // What goes comes back when it is gone.
        if stored.pointer("/metadata/deletionTimestamp").is_some() || is_held(manifest, accepted, stored) {
            return Change::None;
        }
        let mut body = (*manifest.body).clone();
        // Refused if anybody has written meanwhile: then it is read and compared again.
        for field in ["uid", "resourceVersion"] {
            body["metadata"][field] = json!(text(stored, &format!("/metadata/{field}")));
        }
        Change::Apply { manager: FIELD_MANAGER, body }
    }
}

/// Tells whether an object is as its manifest says, or as the API server wrote that before.
pub(super) fn is_held(manifest: &Manifest, accepted: &Option<Value>, stored: &Value) -> bool {
    let held = manifest.held_by(stored);
    held == *manifest.body || accepted.as_ref() == Some(&held)
}

/// Tells whether an object is one that was deployed for a gateway.
pub(super) fn is_managed(stored: &Value) -> bool {
    stored.pointer("/metadata/labels").is_some_and(|labels| labels.get(MANAGED_LABEL).is_some())
}

/// Returns the Gateway that owns an object, with its uid.
pub(super) fn owner_of(stored: &Value) -> Option<(Name, Str)> {
    let owners = stored.pointer("/metadata/ownerReferences")?.as_array()?;
    let is_gateway = |owner: &&Value| {
        text(owner, "/kind") == Kind::Gateway.name()
            && text(owner, "/apiVersion").starts_with(&format!("{}/", Kind::Gateway.group()))
    };
    let owner = owners.iter().find(is_gateway)?;
    let name = Name::new(text(stored, "/metadata/namespace"), text(owner, "/name"));
    Some((name, Str::from(text(owner, "/uid"))))
}

/// Returns the text at a JSON pointer; empty without one.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a kind as it is written.
pub(super) fn written_kind(kind: ManifestKind) -> WrittenKind {
    WrittenKind { group: kind.group(), version: kind.version(), name: kind.name(), plural: kind.plural() }
}

/// Returns the object of a manifest.
pub(super) fn object_of(gateway: &Name, manifest: &Manifest) -> WrittenObject {
    WrittenObject {
        kind: written_kind(manifest.kind),
        namespace: Str::from(&*gateway.ns),
        name: manifest.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    fn desired() -> Desired {
        let body = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "wp", "namespace": "shop", "labels": {MANAGED_LABEL: "istio.io-mesh-controller"},
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "wp", "uid": "g",
                }],
            },
            "spec": {"ports": [{"port": 15008}]},
        });
        let manifest = Manifest { kind: ManifestKind::Service, name: "wp".into(), body: Arc::new(body) };
        Desired::Present { manifest, owner: "g".into(), accepted: None }
    }

    fn stored() -> Value {
        let Desired::Present { manifest, .. } = desired() else { panic!("not present") };
        let mut stored = (*manifest.body).clone();
        stored["metadata"]["uid"] = json!("u");
        stored["metadata"]["resourceVersion"] = json!("7");
        stored["spec"]["clusterIP"] = json!("10.0.0.1");
        stored
    }

    #[test]
    fn what_is_as_it_is_to_be_is_left_alone() {
        assert_eq!(desired().compare(Some(&stored())), Change::None);
    }

    #[test]
    fn drift_is_repaired_over_the_version_that_was_read() {
        let mut drifted = stored();
        drifted["spec"]["ports"] = json!([{"port": 80}]);
        let Change::Apply { body, .. } = desired().compare(Some(&drifted)) else { panic!("not applied") };
        assert_eq!(
            (&body["metadata"]["uid"], &body["metadata"]["resourceVersion"]),
            (&json!("u"), &json!("7"))
        );
        assert_eq!(body["spec"], json!({"ports": [{"port": 15008}]}));
        let Change::Apply { body, .. } = desired().compare(None) else { panic!("not created") };
        assert_eq!(body["metadata"].get("resourceVersion"), None);
    }

    #[test]
    fn an_object_of_somebody_else_is_not_touched() {
        let mut without_label = stored();
        without_label["metadata"]["labels"] = json!({"app": "wp"});
        without_label["spec"] = json!({});
        let mut of_another = stored();
        of_another["metadata"]["ownerReferences"][0]["uid"] = json!("other");
        for foreign in [without_label, of_another] {
            assert_eq!(desired().compare(Some(&foreign)), Change::Foreign, "{foreign}");
        }
    }

    #[test]
    fn the_same_in_other_words_is_not_written_again() {
        let Desired::Present { manifest, owner, .. } = desired() else { panic!("not present") };
        let mut other_words = stored();
        other_words["spec"]["ports"][0]["port"] = json!("15008");
        let accepted = Some(manifest.held_by(&other_words));
        let of = |accepted| Desired::Present { manifest: manifest.clone(), owner: owner.clone(), accepted };
        assert_ne!(of(None).compare(Some(&other_words)), Change::None);
        assert_eq!(of(accepted).compare(Some(&other_words)), Change::None);
    }

    #[test]
    fn only_the_one_that_was_seen_is_deleted() {
        let gone = Desired::Absent("u".to_owned());
        assert_eq!(gone.compare(Some(&stored())), Change::Delete { uid: "u".to_owned() });
        assert_eq!(Desired::Absent("v".to_owned()).compare(Some(&stored())), Change::None);
        assert_eq!(gone.compare(None), Change::None);
    }
}
