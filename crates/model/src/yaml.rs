//! YAML, read and written: the only place of the product that names a library for it.
//!
//! [`Error::location`] tells line and column, from 1, of what is wrong with a text.

pub use serde_yaml::{Error, Mapping, Value, to_value};

use serde::{Deserializer, Serialize};

/// Returns the documents of a text, to be read one by one; an empty text may have one that holds nothing.
pub fn documents<'t>(text: &'t str) -> impl Iterator<Item = impl Deserializer<'t, Error = Error>> {
    serde_yaml::Deserializer::from_str(text)
}

/// Returns the only document of a text, to be read; reading fails where a text has several.
pub fn document<'t>(text: &'t str) -> impl Deserializer<'t, Error = Error> {
    serde_yaml::Deserializer::from_str(text)
}

/// Returns a value as one document, ending in a newline. Fields are in the order in which the value
/// gives them.
///
/// # Errors
/// When the value cannot be written as YAML, say for a key that is a mapping.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_yaml::to_string(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[test]
    fn each_document_is_read_by_itself() {
        let all: Vec<_> =
            documents("a: 1\n---\nb: [x, y]\n").map(|d| Value::deserialize(d).unwrap()).collect();
        assert_eq!(to_string(&all).unwrap(), "- a: 1\n- b:\n  - x\n  - y\n");
        assert!(documents("").all(|d| Option::<Value>::deserialize(d).unwrap().is_none()));
        assert!(Value::deserialize(document("a: 1\n---\nb: 2\n")).is_err());
    }

    #[test]
    fn errors_tell_their_place() {
        let error = Value::deserialize(document("a: 1\nb: [\n")).unwrap_err();
        assert_eq!(error.location().map(|at| at.line()), Some(3));
    }
}
