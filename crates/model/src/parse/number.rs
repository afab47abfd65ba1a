//! Whole numbers with a bound.

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use std::fmt;

/// A whole number from 0 to `MAX`. With `TEXT`, also as a decimal string or a number with a zero
/// fraction: the JSON mapping of protobuf allows both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bounded<const MAX: u32, const TEXT: bool>(u32);

/// A port of a Kubernetes API.
pub(super) type Port = Bounded<65535, false>;
/// A port of an API that is defined by protobuf.
pub(super) type ProtoPort = Bounded<65535, true>;
/// A `uint32` of an API that is defined by protobuf.
pub(super) type ProtoNumber = Bounded<{ u32::MAX }, true>;

impl<const MAX: u32, const TEXT: bool> Bounded<MAX, TEXT> {
    /// Returns the number.
    pub(super) fn get(self) -> u32 {
        self.0
    }
}

impl<const TEXT: bool> Bounded<65535, TEXT> {
    /// Returns the number as a port.
    pub(super) fn port(self) -> u16 {
        // The bound holds for every value of this type.
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }
}

impl<'de, const MAX: u32, const TEXT: bool> Deserialize<'de> for Bounded<MAX, TEXT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BoundedVisitor::<MAX, TEXT>)
    }
}

struct BoundedVisitor<const MAX: u32, const TEXT: bool>;

impl<'de, const MAX: u32, const TEXT: bool> Visitor<'de> for BoundedVisitor<MAX, TEXT> {
    type Value = Bounded<MAX, TEXT>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match u32::try_from(number) {
            Ok(n) if n <= MAX => Ok(Bounded(n)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(n) => self.visit_u64(n),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        // Within the bound a cast is exact; casts saturate, so nothing can overflow.
        let whole = number as u32;
        if TEXT && f64::from(whole) == number && whole <= MAX {
            Ok(Bounded(whole))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text.parse::<u64>() {
            Ok(n) if TEXT => self.visit_u64(n),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}
