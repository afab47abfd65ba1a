//! Enumerations of APIs that are defined by protobuf.

use super::wrong::Wrong;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// The value of an enumeration: its name, or its number (the JSON mapping of protobuf allows both).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Enumeration {
    /// By name, as written.
    Name(String),
    /// By number.
    Number(i64),
}

impl Enumeration {
    /// Returns what `values` gives for this value; `values` are (name, number, meaning).
    ///
    /// # Errors
    /// When the value is none of `values`: a [`Wrong`] with `code` at `field`.
    pub(super) fn pick<T: Copy>(
        &self,
        values: &[(&str, i64, T)],
        code: &'static str,
        field: String,
    ) -> Result<T, Wrong> {
        let found = values.iter().find(|(name, number, _)| match self {
            Enumeration::Name(n) => n == name,
            Enumeration::Number(n) => n == number,
        });
        found.map(|(_, _, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|(name, ..)| *name).collect();
            Wrong::new(code, field, format!("unknown value `{self}`"))
                .help(format!("use one of {}", names.join(", ")))
        })
    }
}

impl fmt::Display for Enumeration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Enumeration::Name(name) => f.write_str(name),
            Enumeration::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Enumeration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnumerationVisitor;

        impl Visitor<'_> for EnumerationVisitor {
            type Value = Enumeration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a value")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Enumeration::Name(name.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Enumeration::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                // Numbers beyond are no value of any enumeration either.
                Ok(Enumeration::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }
        }

        deserializer.deserialize_any(EnumerationVisitor)
    }
}
