use super::metadata::Metadata;
use super::read;
use super::text::{Text, or_empty};
use super::wrong::Wrong;
use crate::facts::{GrantFrom, GrantTo, ReferenceGrant};
use crate::{Kind, shared};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    from: Option<Vec<From<'a>>>,
    #[serde(borrow)]
    to: Option<Vec<To<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct From<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct To<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// Returns the facts of a Gateway API `ReferenceGrant`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<ReferenceGrant, Wrong> {
    let Manifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    let from = spec.from.iter().flatten().map(|from| GrantFrom {
        group: shared(or_empty(&from.group)),
        kind: shared(or_empty(&from.kind)),
        namespace: shared(or_empty(&from.namespace)),
    });
    let to = spec.to.iter().flatten().map(|to| GrantTo {
        group: shared(or_empty(&to.group)),
        kind: shared(or_empty(&to.kind)),
        name: shared(or_empty(&to.name)),
    });
    Ok(ReferenceGrant { meta: metadata.meta(Kind::ReferenceGrant)?, from: from.collect(), to: to.collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Name;
    use serde_json::json;

    #[test]
    fn a_grant_says_who_may_refer_to_what() {
        let manifest = json!({
            "metadata": {"namespace": "certs", "name": "for-shop"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop"}],
                "to": [{"group": "", "kind": "Secret", "name": "web"}, {"kind": "ConfigMap"}],
            },
        });
        let grant = parse(manifest.to_string().as_bytes()).unwrap();
        assert_eq!(grant.meta.name, Name::new("certs", "for-shop"));
        let from = GrantFrom {
            group: "gateway.networking.k8s.io".into(),
            kind: "Gateway".into(),
            namespace: "shop".into(),
        };
        assert_eq!(grant.from, [from]);
        let to = |kind: &str, name: &str| GrantTo { group: "".into(), kind: kind.into(), name: name.into() };
        assert_eq!(grant.to, [to("Secret", "web"), to("ConfigMap", "")]);
    }

    #[test]
    fn a_grant_without_a_spec_permits_nothing() {
        let grant = parse(br#"{"metadata": {"namespace": "certs", "name": "none"}}"#).unwrap();
        assert!(grant.from.is_empty() && grant.to.is_empty());
    }
}
