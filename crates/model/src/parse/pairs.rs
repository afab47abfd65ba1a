//! Maps of strings.

use super::text::Text;
use crate::Labels;
use crate::field::may_be_of_mesh;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// The labels of an object: a null value counts as empty, as an API server has it.
#[derive(Debug, Default)]
pub(super) struct LabelPairs<'a>(Vec<(Text<'a>, Text<'a>)>);

/// A map of strings to strings in a policy: a null value is an error, since reading it as "" could
/// make the policy select less than was meant.
#[derive(Debug, Default)]
pub(super) struct StrictPairs<'a>(Vec<(Text<'a>, Text<'a>)>);

/// Which annotations the metadata of a kind keeps; the others are skipped unread.
pub(super) trait Kept {
    /// Tells whether it keeps the one of this name.
    fn keeps(name: &str) -> bool;
}

/// Those that belong to a mesh, or were meant to.
#[derive(Debug, Default)]
pub(super) struct OfMesh;

/// All: they are handed on to what is made of the object.
#[derive(Debug, Default)]
pub(super) struct All;

impl Kept for OfMesh {
    fn keeps(name: &str) -> bool {
        may_be_of_mesh(name)
    }
}

impl Kept for All {
    fn keeps(name: &str) -> bool {
        // What `kubectl apply` keeps there is the whole object, which is nobody else's business.
        name != "kubectl.kubernetes.io/last-applied-configuration"
    }
}

/// The annotations that are kept.
#[derive(Debug)]
pub(super) struct Annotations<'a, K>(Vec<(Text<'a>, Text<'a>)>, PhantomData<K>);

impl<'a> LabelPairs<'a> {
    /// Returns the value of `key`; of repeated keys the last one holds.
    pub(super) fn get(&self, key: &str) -> Option<&Text<'a>> {
        find(&self.0, key)
    }

    /// Returns those in order as they are written.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the shared set.
    pub(super) fn labels(&self) -> Labels {
        labels(&self.0)
    }
}

impl StrictPairs<'_> {
    /// Returns the pairs, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the shared set.
    pub(super) fn labels(&self) -> Labels {
        labels(&self.0)
    }
}

impl<'a, K> Annotations<'a, K> {
    /// Returns the value of `key`; of repeated keys the last one holds.
    pub(super) fn get(&self, key: &str) -> Option<&Text<'a>> {
        find(&self.0, key)
    }

    /// Returns those in order as they are written.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn find<'t, 'a>(pairs: &'t [(Text<'a>, Text<'a>)], key: &str) -> Option<&'t Text<'a>> {
    pairs.iter().rev().find(|(k, _)| k.as_str() == key).map(|(_, v)| v)
}

fn labels(pairs: &[(Text<'_>, Text<'_>)]) -> Labels {
    Labels::new(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

impl<'de: 'a, 'a> Deserialize<'de> for LabelPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor { null: true, keep: |_| true }).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StrictPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor { null: false, keep: |_| true }).map(Self)
    }
}

impl<'de: 'a, 'a, K: Kept> Deserialize<'de> for Annotations<'a, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = deserializer.deserialize_map(PairsVisitor { null: true, keep: K::keeps })?;
        Ok(Self(pairs, PhantomData))
    }
}

struct PairsVisitor {
    null: bool,
    keep: fn(&str) -> bool,
}

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Vec<(Text<'de>, Text<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if !(self.keep)(key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else if self.null {
                pairs.push((key, map.next_value::<Option<Text<'de>>>()?.unwrap_or_default()));
            } else {
                pairs.push((key, map.next_value()?));
            }
        }
        Ok(pairs)
    }
}
