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
        name: metadata.object_name(Kind::Node)?,
        region: metadata.shared_label("topology.kubernetes.io/region"),
        zone: metadata.shared_label("topology.kubernetes.io/zone"),
        subzone: metadata.shared_label("topology.istio.io/subzone"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Name;

    #[test]
    fn a_node_is_where_it_is() {
        let json = br#"{"metadata":{"name":"n1","labels":{"topology.kubernetes.io/region":"r",
            "topology.kubernetes.io/zone":"z","topology.istio.io/subzone":"s","kubernetes.io/os":"linux"}},
            "status":{"conditions":[{"type":"Ready","lastHeartbeatTime":"2024-01-01T00:00:00Z"}]}}"#;
        let expected =
            Node { name: Name::new("", "n1"), region: "r".into(), zone: "z".into(), subzone: "s".into() };
        assert_eq!(parse(json).unwrap(), expected);
        let bare = parse(br#"{"metadata":{"name":"n1"}}"#).unwrap();
        assert_eq!(bare, Node { name: Name::new("", "n1"), ..Node::default() });
    }
}
