//! References to objects, as the Gateway API writes them.

use super::text::{Text, or_empty};
use crate::facts::ObjectReference;
use crate::{Str, shared};
use serde::Deserialize;

/// A reference with any of the fields that such references have.
#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// The group of the Gateway API.
pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";

impl Reference<'_> {
    /// Returns it; an unset group or kind is the default that the field has.
    pub(super) fn lower(&self, group: &str, kind: &str) -> ObjectReference {
        object_reference((&self.group, group), (&self.kind, kind), &self.namespace, &self.name)
    }

    /// Returns a reference to a Secret, unless it names another kind.
    pub(super) fn secret(&self) -> ObjectReference {
        self.lower("", "Secret")
    }
}

/// Returns a reference made of its fields, two of them with their defaults.
pub(super) fn object_reference(
    (group, default_group): (&Option<Text<'_>>, &str),
    (kind, default_kind): (&Option<Text<'_>>, &str),
    namespace: &Option<Text<'_>>,
    name: &Option<Text<'_>>,
) -> ObjectReference {
    let or = |text: &Option<Text<'_>>, default: &str| -> Str {
        text.as_ref().map_or_else(|| shared(default), Text::shared)
    };
    ObjectReference {
        group: or(group, default_group),
        kind: or(kind, default_kind),
        namespace: shared(or_empty(namespace)),
        name: shared(or_empty(name)),
    }
}
