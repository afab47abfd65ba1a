//! Listeners of gateways and of sets of them.

use super::metadata::Metadata;
use super::number::Port;
use super::pairs::LabelPairs;
use super::read;
use super::reference::{GATEWAY_API, Reference};
use super::selector::LabelSelector;
use super::text::{Text, or_empty};
use super::wrong::Wrong;
use crate::facts::{AllowedNamespaces, Listener, ListenerSet, ListenerTls, RouteGroupKind};
use crate::{Kind, Selector, SelectorOperator, SelectorRequirement, Str, shared};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SetManifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<SetSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct SetSpec<'a> {
    #[serde(borrow)]
    parent_ref: Option<Reference<'a>>,
    #[serde(borrow)]
    listeners: Option<Vec<ListenerManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ListenerManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    port: Option<Port>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    #[serde(borrow)]
    tls: Option<Tls<'a>>,
    #[serde(borrow)]
    allowed_routes: Option<AllowedRoutes<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Tls<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(borrow)]
    certificate_refs: Option<Vec<Reference<'a>>>,
    #[serde(borrow)]
    options: Option<LabelPairs<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct AllowedRoutes<'a> {
    #[serde(borrow)]
    namespaces: Option<Namespaces<'a>>,
    #[serde(borrow)]
    kinds: Option<Vec<GroupKind<'a>>>,
}

/// Which namespaces are let in.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Namespaces<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    selector: Option<LabelSelector<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GroupKind<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
}

/// Returns the facts of a Gateway API `ListenerSet`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_set(json: &[u8]) -> Result<ListenerSet, Wrong> {
    let SetManifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default();
    Ok(ListenerSet {
        meta: metadata.meta(Kind::ListenerSet)?,
        parent: spec.parent_ref.unwrap_or_default().lower(GATEWAY_API, "Gateway"),
        listeners: spec.listeners.unwrap_or_default().into_iter().map(ListenerManifest::lower).collect(),
    })
}

impl ListenerManifest<'_> {
    pub(super) fn lower(self) -> Listener {
        let (namespaces, kinds) =
            self.allowed_routes.map(|routes| (routes.namespaces, routes.kinds)).unwrap_or_default();
        Listener {
            name: shared(or_empty(&self.name)),
            hostname: hostname(or_empty(&self.hostname)),
            port: self.port.map_or(0, Port::port),
            protocol: shared(or_empty(&self.protocol)),
            tls: self.tls.map(Tls::lower),
            allowed: namespaces.map(Namespaces::routes).unwrap_or_default(),
            kinds: kinds.iter().flatten().map(GroupKind::lower).collect(),
        }
    }
}

/// Returns a hostname as it is compared: case says nothing in names.
pub(super) fn hostname(text: &str) -> Str {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return shared(&text.to_ascii_lowercase());
    }
    shared(text)
}

impl Tls<'_> {
    fn lower(self) -> ListenerTls {
        ListenerTls {
            mode: shared(or_empty(&self.mode)),
            certificates: self.certificate_refs.iter().flatten().map(Reference::secret).collect(),
            options: self.options.as_ref().map(LabelPairs::labels).unwrap_or_default(),
        }
    }
}

impl GroupKind<'_> {
    fn lower(&self) -> RouteGroupKind {
        RouteGroupKind {
            group: self.group.as_ref().map_or_else(|| shared(GATEWAY_API), Text::shared),
            kind: shared(or_empty(&self.kind)),
        }
    }
}

impl Namespaces<'_> {
    /// Returns whose routes a listener takes.
    fn routes(self) -> AllowedNamespaces {
        match or_empty(&self.from) {
            "All" => AllowedNamespaces::All,
            // A selector that is not valid must not let more in than a valid one would.
            "Selector" => self.selected().unwrap_or_default(),
            _ => AllowedNamespaces::Same,
        }
    }

    /// Returns whose ListenerSets a gateway takes; nobody's unless it says so.
    pub(super) fn listeners(self) -> Option<AllowedNamespaces> {
        match or_empty(&self.from) {
            "All" => Some(AllowedNamespaces::All),
            "Same" => Some(AllowedNamespaces::Same),
            "Selector" => self.selected(),
            _ => None,
        }
    }

    /// Returns the selector; `None` for one that is not valid.
    fn selected(self) -> Option<AllowedNamespaces> {
        let selector = self.selector.map_or_else(|| Ok(nothing()), LabelSelector::selector);
        selector.ok().map(AllowedNamespaces::Selector)
    }
}

/// Returns a selector that matches nothing, as a missing `metav1.LabelSelector` does.
fn nothing() -> Selector {
    Selector {
        match_expressions: vec![SelectorRequirement {
            key: shared("kubernetes.io/metadata.name"),
            operator: SelectorOperator::In,
            values: Vec::new(),
        }],
        ..Selector::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use crate::facts::ObjectReference;
    use serde_json::{Value, json};

    fn listener(manifest: Value) -> Listener {
        let set = json!({
            "metadata": {"name": "s", "namespace": "shop"},
            "spec": {"parentRef": {"name": "gw"}, "listeners": [manifest]},
        });
        parse_set(set.to_string().as_bytes()).unwrap().listeners.remove(0)
    }

    fn allowed(namespaces: Value) -> AllowedNamespaces {
        listener(json!({"allowedRoutes": {"namespaces": namespaces}})).allowed
    }

    #[test]
    fn a_set_names_its_gateway_and_has_listeners_as_gateways_do() {
        let manifest = json!({
            "metadata": {"name": "s", "namespace": "shop", "generation": 3},
            "spec": {
                "parentRef": {"name": "gw", "namespace": "infra"},
                "listeners": [{"name": "a", "port": 80, "protocol": "HTTP", "hostname": "Shop.Example.com"}],
            },
        });
        let set = parse_set(manifest.to_string().as_bytes()).unwrap();
        let parent = ObjectReference {
            group: GATEWAY_API.into(),
            kind: "Gateway".into(),
            namespace: "infra".into(),
            name: "gw".into(),
        };
        assert_eq!((set.meta.generation, &set.parent), (3, &parent));
        let expected = Listener {
            name: "a".into(),
            hostname: "shop.example.com".into(),
            port: 80,
            protocol: "HTTP".into(),
            ..Listener::default()
        };
        assert_eq!(set.listeners, [expected]);
    }

    #[test]
    fn certificates_are_secrets_unless_another_kind_is_written() {
        let tls = listener(json!({"tls": {
            "certificateRefs": [{"name": "web"}, {"group": "x.io", "kind": "Cert", "name": "c", "namespace": "certs"}],
            "options": {"a": "b"},
        }}));
        let tls = tls.tls.unwrap();
        let reference = |group: &str, kind: &str, namespace: &str, name: &str| ObjectReference {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        let expected = [reference("", "Secret", "", "web"), reference("x.io", "Cert", "certs", "c")];
        assert_eq!((tls.mode.as_str(), tls.certificates.as_slice()), ("", expected.as_slice()));
        assert_eq!(tls.options, Labels::new([("a", "b")]));
    }

    #[test]
    fn kinds_are_of_the_gateway_api_unless_a_group_is_written() {
        let kinds = listener(
            json!({"allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}, {"group": "", "kind": "X"}]}}),
        );
        let kind = |group: &str, kind: &str| RouteGroupKind { group: group.into(), kind: kind.into() };
        assert_eq!(kinds.kinds, [kind(GATEWAY_API, "HTTPRoute"), kind("", "X")]);
    }

    #[test]
    fn a_selector_lets_in_what_it_matches() {
        let selector = allowed(json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}));
        let AllowedNamespaces::Selector(selector) = selector else { panic!("{selector:?}") };
        assert!(selector.matches(&Labels::new([("team", "a"), ("x", "y")])));
        assert!(!selector.matches(&Labels::default()));
    }

    #[test]
    fn nothing_unclear_lets_more_in() {
        assert_eq!(allowed(json!({"from": "Anyone"})), AllowedNamespaces::Same);
        assert_eq!(allowed(json!({})), AllowedNamespaces::Same);
        let bad = json!({"matchExpressions": [{"key": "team", "operator": "Near", "values": ["a"]}]});
        assert_eq!(allowed(json!({"from": "Selector", "selector": bad})), AllowedNamespaces::Same);
        let AllowedNamespaces::Selector(none) = allowed(json!({"from": "Selector"})) else { panic!() };
        assert!(!none.matches(&Labels::new([("kubernetes.io/metadata.name", "shop")])));
        assert!(!none.matches(&Labels::default()));
    }
}
