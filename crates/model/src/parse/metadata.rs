//! `metadata`.

use super::pairs::{Annotations, Kept, LabelPairs, OfMesh};
use super::text::{Text, or_empty};
use super::{code, ignored, uid, wrong::Wrong};
use crate::facts::Meta;
use crate::field::{MetadataPart, is_made_by_controller, reads_annotation};
use crate::timestamp;
use crate::{Diagnostic, Kind, Labels, Name, ObjectRef, Scope, Str};
use serde::Deserialize;

/// The most labels and annotations without effect that are told of an object: whoever writes it may write thousands.
pub(super) const MOST_IGNORED: usize = 8;

/// The fields of `metadata` that are read of any kind; `K` says which annotations are kept.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", expecting = "an object", bound(deserialize = "K: Kept"))]
pub(super) struct Metadata<'a, K = OfMesh> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) generate_name: Option<Text<'a>>,
    #[serde(borrow)]
    uid: Option<Text<'a>>,
    #[serde(borrow)]
    creation_timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) deletion_timestamp: Option<Text<'a>>,
    generation: Option<i64>,
    #[serde(borrow)]
    labels: Option<LabelPairs<'a>>,
    #[serde(borrow)]
    annotations: Option<Annotations<'a, K>>,
    #[serde(borrow)]
    pub(super) owner_references: Option<Vec<OwnerReference<'a>>>,
}

/// An entry of `ownerReferences`.
#[derive(Deserialize, Debug)]
#[serde(expecting = "an object")]
pub(super) struct OwnerReference<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    pub(super) controller: Option<bool>,
}

impl<K> Default for Metadata<'_, K> {
    fn default() -> Self {
        Self {
            name: None,
            namespace: None,
            generate_name: None,
            uid: None,
            creation_timestamp: None,
            deletion_timestamp: None,
            generation: None,
            labels: None,
            annotations: None,
            owner_references: None,
        }
    }
}

impl<K> Metadata<'_, K> {
    /// Returns the name of the object.
    ///
    /// # Errors
    /// When the name, or the namespace of a namespaced kind, is missing or is no name.
    pub(super) fn object_name(&self, kind: Kind) -> Result<Name, Wrong> {
        name_of(kind, or_empty(&self.namespace), or_empty(&self.name))
    }

    /// Returns the uid, 0 when unset.
    pub(super) fn uid(&self) -> u128 {
        uid::bits(or_empty(&self.uid))
    }

    /// Returns the uid as written; empty when unset.
    pub(super) fn uid_text(&self) -> &str {
        or_empty(&self.uid)
    }

    /// Returns the value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref().and_then(|l| l.get(key)).map(Text::as_str)
    }

    /// Returns the value of a label; empty when it is absent.
    pub(super) fn shared_label(&self, key: &str) -> Str {
        self.labels.as_ref().and_then(|l| l.get(key)).map(Text::shared).unwrap_or_default()
    }

    /// Returns all labels.
    pub(super) fn labels(&self) -> Labels {
        self.labels.as_ref().map(LabelPairs::labels).unwrap_or_default()
    }

    /// Returns the value of an annotation that is kept.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref().and_then(|a| a.get(key)).map(Text::as_str)
    }

    /// Returns all annotations that are kept.
    pub(super) fn kept_annotations(&self) -> Labels {
        Labels::new(self.annotations.iter().flat_map(Annotations::iter))
    }

    /// Returns the annotations that are read of a kind, without `but`.
    pub(super) fn annotations_but(&self, kind: Kind, but: &str) -> Labels {
        let kept = self.annotations.iter().flat_map(Annotations::iter);
        Labels::new(kept.filter(|(name, _)| *name != but && reads_annotation(kind, name)))
    }

    /// Returns the labels and annotations of the mesh that have no effect on an object of a kind: the path of each,
    /// and its value; one more than [`MOST_IGNORED`] if there are more.
    pub(super) fn ignored(&self, kind: Kind) -> Vec<(String, &str)> {
        let labels = || self.labels.iter().flat_map(LabelPairs::iter);
        let annotations = self.annotations.iter().flat_map(Annotations::iter);
        let all = labels()
            .map(|pair| (MetadataPart::Label, pair))
            .chain(annotations.map(|pair| (MetadataPart::Annotation, pair)));
        let found: Vec<_> = all
            .filter_map(|(part, (name, value))| {
                ignored::doubt(kind, part, name, value)?;
                Some((ignored::path(part, name), value))
            })
            .take(MOST_IGNORED + 1)
            .collect();
        // Looked for only where something is found, which is seldom.
        if !found.is_empty() && labels().any(|(name, _)| is_made_by_controller(name)) {
            return Vec::new();
        }
        found
    }

    /// Returns what is told of the labels and annotations of the mesh that have no effect on an object.
    pub(super) fn unsupported(&self, kind: Kind, name: &Name) -> Vec<Diagnostic> {
        let object = ObjectRef { kind, name: name.clone() };
        let ignored = self.ignored(kind);
        let has_more = ignored.len() > MOST_IGNORED;
        let ignored = ignored.into_iter().take(MOST_IGNORED);
        let told = ignored.filter_map(|(field, value)| ignored::diagnostic(&object, &field, value));
        told.chain(has_more.then(|| ignored::more(&object))).collect()
    }

    /// Returns the facts of the metadata.
    ///
    /// # Errors
    /// As [`Metadata::object_name`].
    pub(super) fn meta(&self, kind: Kind) -> Result<Meta, Wrong> {
        let name = self.object_name(kind)?;
        Ok(Meta {
            unsupported: self.unsupported(kind, &name),
            name,
            created: timestamp::seconds(or_empty(&self.creation_timestamp)),
            generation: self.generation.unwrap_or(0),
            labels: self.labels(),
            annotations: self.annotations_but(kind, ""),
        })
    }
}

/// Just enough of a manifest to name its object.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    metadata: BareName<'a>,
}

#[derive(Deserialize)]
struct BareName<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
}

/// Returns the reference of the object in a manifest that may be wrong elsewhere.
pub(super) fn reference(kind: Kind, json: &[u8]) -> Option<ObjectRef> {
    let bare = serde_json::from_slice::<Named<'_>>(json).ok()?.metadata;
    let name = name_of(kind, or_empty(&bare.namespace), or_empty(&bare.name)).ok()?;
    Some(ObjectRef { kind, name })
}

fn name_of(kind: Kind, namespace: &str, name: &str) -> Result<Name, Wrong> {
    check("metadata.name", name)?;
    if kind.scope() == Scope::Cluster {
        return Ok(Name::new("", name));
    }
    check("metadata.namespace", namespace)?;
    Ok(Name::new(namespace, name))
}

/// Refuses names that no API server accepts for any kind and that would be ambiguous in
/// `namespace/name`; the exact grammar, which differs by kind, is the API server's to check. No kind
/// allows an underscore, and policies of our own making have one: nobody may write their names.
fn check(field: &str, name: &str) -> Result<(), Wrong> {
    let fault = if name.is_empty() {
        "missing".to_owned()
    } else if name.len() > 253 {
        format!("a name has at most 253 characters, this one has {}", name.len())
    } else if !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'%' && b != b'_') {
        format!("{name:?} cannot be a name")
    } else {
        return Ok(());
    };
    Err(Wrong::new(code::NAME, field, fault).help(format!("set {field} to a DNS name in lower case")))
}
