//! Finds the line and column of a field by reading its document again and stopping there.
//!
//! Done only when there is something to complain about; the objects keep no places of fields.

use std::fmt;

use model::yaml;
use serde::Deserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::document;
use crate::field::Step;
use crate::object::Origin;

/// Documents above this many bytes are not read again; their problems get the line of the document.
const MAX_SOUGHT_BYTES: usize = 1 << 20;

/// The line and column, from 1 and within `text`, of the field at `path`, or of the nearest field
/// around it if there is none; `None` for a document that is too large or no longer readable.
pub(crate) fn locate(text: &str, json: bool, path: &[Step]) -> Option<(u32, u32)> {
    if text.len() > MAX_SOUGHT_BYTES {
        return None;
    }
    (1..=path.len()).rev().find_map(|length| seek(text, json, &path[..length]))
}

/// The line and column of a field of an object in the text of its file.
pub(crate) fn place(text: &str, origin: &Origin, field: &[Step]) -> Option<(u32, u32)> {
    let json = document::is_json(&origin.file);
    let document = if json { text.get(origin.start..)? } else { document::at(text, origin.start)? };
    let mut path = Vec::new();
    for item in &origin.items {
        path.extend([Step::Key("items".to_owned()), Step::Index(*item)]);
    }
    path.extend_from_slice(field);
    let (line, column) = locate(document, json, &path)?;
    Some((line.saturating_add(origin.lines_before), column))
}

fn seek(text: &str, json: bool, path: &[Step]) -> Option<(u32, u32)> {
    let (line, column) = if json {
        let error = Seek { path }.deserialize(&mut serde_json::Deserializer::from_str(text)).err()?;
        error.to_string().contains(HERE).then(|| (error.line(), error.column()))?
    } else {
        let error = Seek { path }.deserialize(yaml::document(text)).err()?;
        let at = error.location()?;
        error.to_string().contains(HERE).then(|| (at.line(), at.column()))?
    };
    Some((u32::try_from(line).ok()?, u32::try_from(column).ok()?))
}

/// The message of the error that carries the place out of the parser.
const HERE: &str = "the sought field is here";

struct Seek<'p> {
    path: &'p [Step],
}

impl Seek<'_> {
    fn scalar<E: de::Error>(&self) -> Result<(), E> {
        if self.path.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.scalar()?;
        let Some((Step::Index(wanted), rest)) = self.path.split_first() else {
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        for _ in 0..*wanted {
            if access.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        access.next_element_seed(Seek { path: rest })?;
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.scalar()?;
        while let Some(KeyText(key)) = access.next_key()? {
            match self.path.split_first() {
                Some((Step::Key(wanted), rest)) if *wanted == key => {
                    access.next_value_seed(Seek { path: rest })?;
                }
                // A label may be called `0`: a path written as text cannot tell it from an index.
                Some((Step::Index(wanted), rest)) if wanted.to_string() == key => {
                    access.next_value_seed(Seek { path: rest })?;
                }
                _ => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let (_tag, content) = access.variant::<String>()?;
        content.newtype_variant_seed(self)
    }
}

/// A key of whatever scalar type, as text.
struct KeyText(String);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = KeyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<KeyText, E> {
                Ok(KeyText(key.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, key: bool) -> Result<KeyText, E> {
                Ok(KeyText(key.to_string()))
            }

            fn visit_i64<E: de::Error>(self, key: i64) -> Result<KeyText, E> {
                Ok(KeyText(key.to_string()))
            }

            fn visit_u64<E: de::Error>(self, key: u64) -> Result<KeyText, E> {
                Ok(KeyText(key.to_string()))
            }

            fn visit_f64<E: de::Error>(self, key: f64) -> Result<KeyText, E> {
                Ok(KeyText(key.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}
