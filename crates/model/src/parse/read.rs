//! From bytes to manifests: fast when all is well, precise when not.

use super::metadata::Metadata;
use super::pairs::{Kept, OfMesh};
use super::{code, wrong::Wrong};
use serde::Deserialize;
use serde_json::error::Category;

/// A manifest of a kind whose `spec` and `status` are read; `K` says which annotations are kept.
#[derive(Deserialize)]
#[serde(expecting = "an object", bound(deserialize = "S: Deserialize<'de>, T: Deserialize<'de>, K: Kept"))]
pub(super) struct Manifest<'a, S, T, K = OfMesh> {
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a, K>,
    pub(super) spec: Option<S>,
    pub(super) status: Option<T>,
}

/// Reads a whole manifest.
///
/// # Errors
/// When `json` is not a JSON document, or a field has the wrong type.
pub(super) fn manifest<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Wrong> {
    serde_json::from_slice(json).map_err(|error| explain::<T>(json, "", code::FIELD, &error))
}

/// Reads the part of a manifest that stands at the field `at`.
///
/// # Errors
/// When a field has the wrong type: a [`Wrong`] with `code` at the full path.
pub(super) fn part<'a, T: Deserialize<'a>>(json: &'a str, at: &str, code: &'static str) -> Result<T, Wrong> {
    serde_json::from_str(json).map_err(|error| explain::<T>(json.as_bytes(), at, code, &error))
}

/// Reads again with the path tracked, to say where the error is.
fn explain<'a, T: Deserialize<'a>>(
    json: &'a [u8],
    at: &str,
    code: &'static str,
    error: &serde_json::Error,
) -> Wrong {
    // A part has no syntax of its own: if it nests too deep, that is a fault of the field.
    if at.is_empty() && matches!(error.classify(), Category::Syntax | Category::Eof | Category::Io) {
        return Wrong::new(code::SYNTAX, "", format!("not a JSON document: {error}"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => String::new(),
        Err(error) => path_text(error.path()),
    };
    Wrong::new(code, join(at, &path), without_position(&error.to_string()))
}

/// Returns the path as `a.b[0].c`, without a part that the error could not place.
pub(super) fn path_text(path: &serde_path_to_error::Path) -> String {
    let text = path.to_string();
    let text = text.trim_end_matches(['?', '.']);
    text.to_owned()
}

/// Returns `path` under the field `at`.
pub(super) fn join(at: &str, path: &str) -> String {
    match (at.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => at.to_owned(),
        _ if path.starts_with('[') => format!("{at}{path}"),
        _ => format!("{at}.{path}"),
    }
}

/// Returns the message without the position in the JSON, which is not what the user wrote.
pub(super) fn without_position(message: &str) -> String {
    message.rfind(" at line ").map_or(message, |end| &message[..end]).to_owned()
}
