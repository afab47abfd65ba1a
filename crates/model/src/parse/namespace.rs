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
    let name = metadata.object_name(Kind::Namespace)?;
    Ok(Namespace {
        name: crate::Ns::own(&name.name),
        labels: metadata.labels(),
        annotations: metadata.annotations_but(Kind::Namespace, ""),
        unsupported: metadata.unsupported(Kind::Namespace, &name),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_namespace_keeps_its_labels_and_the_annotations_that_are_read() {
        let json = br#"{"metadata":{"name":"shop","namespace":"ignored","labels":{"a":"1"},
            "annotations":{"networking.istio.io/traffic-distribution":"PreferClose","other":"x"}}}"#;
        let expected = Namespace {
            name: "shop".into(),
            labels: crate::Labels::new([("a", "1")]),
            annotations: crate::Labels::new([("networking.istio.io/traffic-distribution", "PreferClose")]),
            unsupported: Vec::new(),
        };
        assert_eq!(parse(json).unwrap(), expected);
    }
}
