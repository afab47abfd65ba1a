//! Strings of a manifest.

use crate::{Str, shared};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A string that is borrowed from the manifest unless it holds escapes.
///
/// The derive borrows a bare `Cow<str>` only, not one in an `Option` or a `Vec`; this type always does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// Returns the string.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the shared copy: for strings that repeat across objects.
    pub(super) fn shared(&self) -> Str {
        shared(&self.0)
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Returns the string, or "" when it is absent.
pub(super) fn or_empty<'t>(text: &'t Option<Text<'_>>) -> &'t str {
    text.as_ref().map_or("", Text::as_str)
}

/// Returns the shared copy of a hostname, in lower case: hosts are compared without case.
pub(super) fn shared_host(host: &str) -> Str {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        shared(&host.to_ascii_lowercase())
    } else {
        shared(host)
    }
}

/// Returns the shared copies of the strings, in order.
pub(super) fn shared_list(list: Option<Vec<Text<'_>>>) -> Vec<Str> {
    list.unwrap_or_default().iter().map(Text::shared).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
