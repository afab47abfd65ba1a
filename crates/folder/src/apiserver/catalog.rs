//! The kinds that an API server with our definitions serves, and what their objects may hold.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::limits;
use super::schema::{Others, Schema, Shape};

/// The kinds and definitions that Kubernetes and the projects of the mesh publish. Written by
/// `UPDATE_KINDS=1 cargo test -p pilothouse-tests --test crds kinds`.
const KINDS: &str = include_str!("kinds.json");

/// Everything that is served.
pub(super) struct Catalog {
    /// By group and kind.
    kinds: BTreeMap<(String, String), Served>,
    definitions: BTreeMap<String, Schema>,
    /// What a definition that is not there says.
    empty: Schema,
}

/// A kind that is served.
pub(super) struct Served {
    pub(super) versions: Vec<String>,
    pub(super) is_namespaced: bool,
    /// What its objects may hold; `None` for a kind that is not read.
    pub(super) schema: Option<Schema>,
}

/// The catalog; read once.
pub(super) fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::read);
    &CATALOG
}

impl Catalog {
    fn read() -> Self {
        // The table is part of the program, and a test reads it: what could not be read would check nothing.
        let table: Value = serde_json::from_str(KINDS).unwrap_or_default();
        let definitions = table["definitions"].as_object().into_iter().flatten();
        let mut definitions: BTreeMap<String, Schema> =
            definitions.map(|(name, schema)| (name.clone(), Schema::read(schema))).collect();
        limits::add(&mut definitions);
        let mut ours: BTreeMap<(String, String), Schema> = model::crd::schemas()
            .into_iter()
            .map(|(kind, schema)| ((kind.group().to_owned(), kind.name().to_owned()), custom(&schema)))
            .collect();
        let mut kinds = BTreeMap::new();
        for kind in table["kinds"].as_array().into_iter().flatten() {
            let text = |name: &str| kind[name].as_str().unwrap_or_default().to_owned();
            let key = (text("group"), text("kind"));
            let versions = kind["versions"].as_object();
            let schema = versions.into_iter().flatten().find_map(|(_, version)| version["schema"].as_str());
            let schema = match ours.remove(&key) {
                Some(schema) => Some(schema),
                // Those of the Gateway API are custom resources as well.
                None if key.0.starts_with("gateway.networking.") => {
                    schema.and_then(|name| table["definitions"].get(name)).map(custom)
                }
                None => schema.map(Schema::named),
            };
            let served = Served {
                versions: versions.into_iter().flatten().map(|(version, _)| version.clone()).collect(),
                is_namespaced: versions
                    .into_iter()
                    .flatten()
                    .all(|(_, version)| version["namespaced"] == Value::Bool(true)),
                schema,
            };
            kinds.insert(key, served);
        }
        Self { kinds, definitions, empty: Schema::default() }
    }

    /// A kind by its group and name.
    pub(super) fn kind(&self, group: &str, kind: &str) -> Option<&Served> {
        self.kinds.get(&(group.to_owned(), kind.to_owned()))
    }

    /// The kinds that are served, as group, kind and what is known of it.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&str, &str, &Served)> {
        self.kinds.iter().map(|((group, kind), served)| (group.as_str(), kind.as_str(), served))
    }

    /// Follows a schema to the definition that it names.
    pub(super) fn resolve<'c>(&'c self, schema: &'c Schema) -> &'c Schema {
        match &schema.shape {
            Shape::Named(name) => self.definitions.get(name).unwrap_or(&self.empty),
            _ => schema,
        }
    }
}

/// The schema of a custom resource: an API server adds what all objects have.
fn custom(schema: &Value) -> Schema {
    let mut schema = Schema::read(schema);
    if let Shape::Object(object) = &mut schema.shape {
        for name in ["apiVersion", "kind"] {
            object.fields.insert(name.to_owned(), Schema { shape: Shape::Text, ..Schema::default() });
        }
        object.fields.insert("metadata".to_owned(), Schema::named("meta.v1.ObjectMeta"));
        object.others = Others::None;
    }
    schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_kind_that_is_read_is_served_with_a_schema() {
        for kind in model::Kind::ALL {
            let served = catalog().kind(kind.group(), kind.name()).unwrap();
            assert!(served.schema.is_some(), "{kind}");
            assert!(served.versions.iter().any(|version| version == kind.version()), "{kind}");
            assert_eq!(served.is_namespaced, kind.scope() == model::Scope::Namespaced, "{kind}");
        }
    }

    #[test]
    fn every_definition_that_is_named_is_there() {
        fn check(schema: &Schema, catalog: &Catalog) {
            match &schema.shape {
                Shape::Named(name) => assert!(catalog.definitions.contains_key(name), "{name}"),
                Shape::List(items) => check(items, catalog),
                Shape::Object(object) => {
                    object.fields.values().for_each(|field| check(field, catalog));
                    if let Others::Each(each) = &object.others {
                        check(each, catalog);
                    }
                }
                _ => {}
            }
        }
        let catalog = catalog();
        assert!(catalog.definitions.len() > 100);
        catalog.definitions.values().for_each(|schema| check(schema, catalog));
        catalog
            .kinds
            .values()
            .filter_map(|kind| kind.schema.as_ref())
            .for_each(|schema| check(schema, catalog));
    }
}
