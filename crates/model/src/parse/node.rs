use super::metadata::Metadata;
use super::{read, wrong::Wrong};
use crate::Kind;
use crate::facts::Node;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

/// Returns the facts of a core `Node`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Node, Wrong> {
    let Manifest { metadata } = read::manifest(json)?;
    Ok(Node {
        name: crate::shared(&metadata.object_name(Kind::Node)?.name),
        region: metadata.shared_label("topology.kubernetes.io/region"),
        zone: metadata.shared_label("topology.kubernetes.io/zone"),
        subzone: metadata.shared_label("topology.istio.io/subzone"),
    })
}
