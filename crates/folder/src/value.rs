//! Reads one document, YAML or JSON, into a JSON value: strict about keys, bounded in size.

use std::cell::Cell;
use std::fmt;

use model::yaml;
use serde::Deserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Number, Value};

/// How many units (nodes and bytes of text) a document of `bytes` may have once its aliases are
/// followed: some reuse is normal, a bomb is not.
fn budget_for(bytes: usize) -> usize {
    bytes.saturating_mul(8).saturating_add(1 << 20)
}

/// Reads a YAML document.
///
/// # Errors
///
/// Wrong YAML, a key given twice, a key that is no scalar, nesting deeper than the parser's bound
/// of 128, or aliases that unfold to many times the size of the text. The error has a location.
pub(crate) fn from_yaml(text: &str) -> Result<Value, yaml::Error> {
    let left = Cell::new(budget_for(text.len()));
    Node { left: &left }.deserialize(yaml::document(text))
}

/// A JSON value read with the same strictness; for use with a JSON stream.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // JSON has no aliases: the text is the bound.
        let left = Cell::new(usize::MAX);
        Node { left: &left }.deserialize(deserializer).map(Strict)
    }
}

#[derive(Clone, Copy)]
struct Node<'b> {
    left: &'b Cell<usize>,
}

impl Node<'_> {
    fn spend<E: de::Error>(self, units: usize) -> Result<(), E> {
        match self.left.get().checked_sub(units) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom("aliases make this document many times larger than its text")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a sequence, a string, a number, a boolean or null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.spend(1)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("`{value}` is no number that an object can hold")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.spend(1 + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.spend(1)?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(1)?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(1)?;
        let mut map = Map::new();
        let mut merged: Option<Value> = None;
        while let Some(key) = access.next_key_seed(MapKey { seen: &map, node: self })? {
            let value = access.next_value_seed(self)?;
            if key == "<<" {
                merged = Some(value);
            } else {
                map.insert(key, value);
            }
        }
        match merged {
            None => {}
            Some(Value::Object(base)) => merge(&mut map, base),
            Some(Value::Array(bases)) => {
                for base in bases {
                    let Value::Object(base) = base else {
                        return Err(de::Error::custom("a merge key `<<` takes mappings only"));
                    };
                    merge(&mut map, base);
                }
            }
            Some(_) => {
                return Err(de::Error::custom("a merge key `<<` takes a mapping or a list of mappings"));
            }
        }
        Ok(Value::Object(map))
    }

    /// A value with a tag: other tools give tags a meaning, Kubernetes knows only the value.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (_tag, content) = access.variant::<String>()?;
        content.newtype_variant_seed(self)
    }
}

/// Adds the entries of a merged mapping that are not set already.
fn merge(map: &mut Map<String, Value>, base: Map<String, Value>) {
    for (key, value) in base {
        map.entry(key).or_insert(value);
    }
}

/// Reads a key as a string, as Kubernetes does with numbers and booleans; refuses one seen before
/// while the parser still knows the place of the key.
struct MapKey<'m, 'b> {
    seen: &'m Map<String, Value>,
    node: Node<'b>,
}

impl<'de> DeserializeSeed<'de> for MapKey<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for MapKey<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string as the key of a mapping")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        self.node.spend(1 + key.len())?;
        if self.seen.contains_key(key) {
            return Err(E::custom(format!("key `{key}` occurs twice in one mapping")));
        }
        Ok(key.to_owned())
    }

    fn visit_bool<E: de::Error>(self, key: bool) -> Result<String, E> {
        self.visit_str(if key { "true" } else { "false" })
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_f64<E: de::Error>(self, key: f64) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }
}
