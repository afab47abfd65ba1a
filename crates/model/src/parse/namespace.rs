use super::metadata::Metadata;
use super::{read, wrong::Wrong};
use crate::Kind;
use crate::facts::Namespace;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

/// Returns the facts of a core `Namespace`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Namespace, Wrong> {
    let Manifest { metadata } = read::manifest(json)?;
    Ok(Namespace {
        name: crate::shared(&metadata.object_name(Kind::Namespace)?.name),
        labels: metadata.labels(),
        annotations: metadata.annotations_but(""),
    })
}
