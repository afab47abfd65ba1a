//! Fields that are known and not supported, or deprecated: which of them an object sets.
//!
//! The table of fields becomes, for each kind, a tree with those fields alone; an object is read along it, and
//! everything beside it is skipped. A kind without such fields has no tree, and its objects are not read again.
//! What is wrong with a field is not told here: that is for the parser of its kind.

use super::code;
use super::text::Text;
use crate::facts::{Facts, ObjectKey};
use crate::field::{FieldState, fields};
use crate::{Diagnostic, Kind, ObjectRef, Severity};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// What stands in a place of an object, as far as it is looked for.
#[derive(Default)]
pub(super) struct Tree {
    fields: BTreeMap<String, Tree>,
    /// Each item of a list, or each entry of a mapping.
    each: Option<Box<Tree>>,
    unsupported: Option<Unsupported>,
}

/// What is to be told of a field.
#[derive(Clone, Copy)]
struct Unsupported {
    instead: &'static str,
    unless: &'static str,
    /// Whether it is read all the same.
    is_read: bool,
}

/// A field that an object sets in vain, or that is deprecated.
pub(super) struct Found {
    /// Its path.
    pub(super) field: String,
    /// What to use instead.
    pub(super) instead: &'static str,
    /// Whether it is read all the same.
    pub(super) is_read: bool,
}

static TREES: LazyLock<Vec<Option<Tree>>> =
    LazyLock::new(|| Kind::ALL.iter().map(|&kind| Tree::of(kind)).collect());

/// Returns the tree of a kind; `None` for one without fields that are not supported or deprecated.
pub(super) fn tree(kind: Kind) -> Option<&'static Tree> {
    TREES.get(kind as usize)?.as_ref()
}

/// Notes in the facts of an object, whose manifest is the JSON document `json`, which fields it sets that are known
/// and not supported, or deprecated; in the order of the document. The mesh settings are a document in a text, and tell it of
/// themselves ([`MeshSettings::unread`](crate::facts::MeshSettings::unread)).
pub(super) fn note<F: Facts>(kind: Kind, facts: &mut F, json: &[u8]) {
    let Some(tree) = tree(kind) else { return };
    let object = ObjectRef { kind, name: facts.key().name() };
    if let Some(unsupported) = facts.unsupported_mut() {
        let found = tree.find("", &mut serde_json::Deserializer::from_slice(json)).into_iter();
        unsupported.extend(found.map(|found| found.told(&object, Severity::Warning)));
    }
}

impl Found {
    /// Returns the diagnostic.
    pub(super) fn told(self, object: &ObjectRef, severity: Severity) -> Diagnostic {
        let (code, severity, message) = match self.is_read {
            true => (code::DEPRECATED_FIELD, Severity::Info, "is read, and deprecated"),
            false => (code::UNSUPPORTED_FIELD, severity, "is known and not read"),
        };
        Diagnostic {
            code,
            severity,
            object: Some(object.clone()),
            field: self.field,
            message: message.to_owned(),
            help: self.instead.to_owned(),
            place: None,
        }
    }
}

impl Tree {
    fn of(kind: Kind) -> Option<Self> {
        let mut tree = Self::default();
        let mut is_empty = true;
        for field in fields(kind) {
            let unsupported = match field.state {
                FieldState::Unsupported { instead, unless } => {
                    Unsupported { instead, unless, is_read: false }
                }
                FieldState::Deprecated { instead } => Unsupported { instead, unless: "", is_read: true },
                FieldState::Read | FieldState::Outside(_) => continue,
            };
            tree.place(&field.path).unsupported = Some(unsupported);
            is_empty = false;
        }
        (!is_empty).then_some(tree)
    }

    /// Returns what stands at a path, made if need be.
    fn place(&mut self, path: &str) -> &mut Self {
        let mut tree = self;
        for part in path.split('.') {
            let (name, is_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
            tree = match name {
                "*" => tree.each.get_or_insert_default(),
                _ => tree.fields.entry(name.to_owned()).or_default(),
            };
            if is_list {
                tree = tree.each.get_or_insert_default();
            }
        }
        tree
    }

    /// Returns what stands in a field of this; under its name, or the one that protobuf has for it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let found = self.fields.get(name);
        if found.is_some() || !name.contains('_') {
            return found;
        }
        self.fields.iter().find(|(of, _)| snake_case(of) == name).map(|(_, tree)| tree)
    }

    /// Returns the fields that are set in what `deserializer` has, which stands at the path `at`. One that cannot be
    /// read ends the search.
    pub(super) fn find<'de>(&self, at: &str, deserializer: impl Deserializer<'de>) -> Vec<Found> {
        let mut search = Search { path: at.to_owned(), found: Vec::new() };
        // The parser of the kind tells what cannot be read.
        let _ = Place { tree: self, search: &mut search }.deserialize(deserializer);
        search.found
    }
}

/// Returns the name of a field as protobuf has it, which is read as well.
pub(super) fn snake_case(field: &str) -> String {
    let mut snake = String::with_capacity(field.len() + 4);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

struct Search {
    path: String,
    found: Vec<Found>,
}

/// A place of an object that is searched.
struct Place<'t, 's> {
    tree: &'t Tree,
    search: &'s mut Search,
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.tree.unsupported {
            None => deserializer.deserialize_any(self),
            Some(Unsupported { instead, unless, is_read }) => {
                if deserializer.deserialize_any(IsSet { unless })? {
                    self.search.found.push(Found { field: self.search.path.clone(), instead, is_read });
                }
                Ok(())
            }
        }
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tree, search } = self;
        let end = search.path.len();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let Some(below) = tree.field(key.as_str()).or(tree.each.as_deref()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if end > 0 {
                search.path.push('.');
            }
            search.path.push_str(key.as_str());
            map.next_value_seed(Place { tree: below, search: &mut *search })?;
            search.path.truncate(end);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { tree, search } = self;
        let Some(below) = tree.each.as_deref() else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let end = search.path.len();
        for index in 0.. {
            search.path.push_str(&format!("[{index}]"));
            let item = list.next_element_seed(Place { tree: below, search: &mut *search })?;
            search.path.truncate(end);
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Tells whether a value asks for something.
struct IsSet {
    unless: &'static str,
}

impl<'de> Visitor<'de> for IsSet {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut is_set = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            is_set = true;
        }
        Ok(is_set)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let mut is_set = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_set = true;
        }
        Ok(is_set)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(!text.is_empty() && text != self.unless)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::parse;
    use serde_json::{Value, json};

    fn told(kind: Kind, mut manifest: Value) -> Vec<Diagnostic> {
        manifest["metadata"] = json!({"name": "web", "namespace": "shop"});
        let object = parse(kind, manifest.to_string().as_bytes()).unwrap();
        let found = object.unsupported().to_vec();
        let is_whole =
            |d: &Diagnostic| d.code == "KO007" && !d.help.is_empty() && d.object == Some(object.reference());
        assert!(found.iter().all(is_whole));
        found
    }

    fn fields_of(kind: Kind, manifest: Value) -> Vec<String> {
        let mut fields: Vec<_> = told(kind, manifest).into_iter().map(|found| found.field).collect();
        // The order of keys in a document of the test depends on the build.
        fields.sort();
        fields
    }

    #[test]
    fn each_field_that_is_set_is_told_with_its_path() {
        let route = json!({"spec": {
            "useDefaultGateways": "All",
            "rules": [
                {"matches": [{"extensionRef": "of no filter"}]},
                {"filters": [
                    {"type": "CORS"},
                    {"type": "ExternalAuth", "externalAuth": {"protocol": "HTTP"}},
                ], "backendRefs": [{"filters": [{"extensionRef": {"name": "x"}}]}]},
            ],
        }});
        assert_eq!(
            fields_of(Kind::HTTPRoute, route),
            [
                "spec.rules[1].backendRefs[0].filters[0].extensionRef",
                "spec.rules[1].filters[1].externalAuth",
                "spec.useDefaultGateways",
            ]
        );
        let entry = json!({"spec": {"export_to": ["."]}});
        let told: Vec<_> = told(Kind::ServiceEntry, entry).iter().map(ToString::to_string).collect();
        let help =
            "who sees the entry is not restricted by it: use serviceEntryVisibility of the mesh settings";
        let line = format!("ServiceEntry shop/web, spec.export_to: is known and not read (help: {help})");
        assert_eq!(told, [line]);
    }

    #[test]
    fn deprecated_field_is_told_with_what_replaces_it() {
        let session = json!({"sessionName": "s", "cookieConfig": {"lifetimeType": "Session"}});
        let mut policy = json!({"spec": {"sessionPersistence": session}});
        policy["metadata"] = json!({"name": "web", "namespace": "shop"});
        let object = parse(Kind::XBackendTrafficPolicy, policy.to_string().as_bytes()).unwrap();
        let mut told: Vec<_> =
            object.unsupported().iter().map(|d| (d.code, d.severity, d.field.as_str())).collect();
        told.sort();
        let at =
            ["cookieConfig.lifetimeType", "sessionName"].map(|at| format!("spec.sessionPersistence.{at}"));
        assert_eq!(told, at.each_ref().map(|at| ("KO009", Severity::Info, at.as_str())));
    }

    #[test]
    fn a_value_that_asks_for_nothing_is_not_told() {
        for (affinity, is_told) in
            [(json!("None"), false), (json!(""), false), (json!(null), false), (json!("ClientIP"), true)]
        {
            let service = json!({"spec": {"sessionAffinity": affinity}});
            assert_eq!(!fields_of(Kind::Service, service).is_empty(), is_told);
        }
        for empty in [json!(null), json!([])] {
            assert_eq!(fields_of(Kind::ServiceEntry, json!({"spec": {"exportTo": empty}})), [""; 0]);
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        let tree = tree(Kind::Service).unwrap();
        let cut = "{\"spec\": {\"sessionAffinity\": \"ClientIP\"";
        for (json, count) in [("", 0), ("{", 0), ("[]", 0), ("7", 0), ("{\"spec\": []}", 0), (cut, 1)] {
            assert_eq!(tree.find("", &mut serde_json::Deserializer::from_str(json)).len(), count, "{json}");
        }
    }

    #[test]
    fn objects_of_the_most_frequent_kinds_are_not_read_for_it() {
        for kind in [Kind::Pod, Kind::EndpointSlice, Kind::Node, Kind::Namespace] {
            assert!(tree(kind).is_none(), "{kind}");
        }
        assert!(tree(Kind::Service).is_some());
    }
}
