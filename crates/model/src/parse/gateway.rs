use super::metadata::Metadata;
use super::number::Port;
use super::read::{self, Manifest};
use super::selector::LabelSelector;
use super::text::{Text, or_empty, shared_host};
use super::wrong::Wrong;
use crate::facts::{AllowedNamespaces, Gateway, GatewayAddress, GatewayClass, Listener};
use crate::{Kind, Selector, SelectorOperator, SelectorRequirement, shared};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ClassManifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<ClassSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ClassSpec<'a> {
    #[serde(borrow)]
    controller_name: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    gateway_class_name: Option<Text<'a>>,
    #[serde(borrow)]
    listeners: Option<Vec<ListenerManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ListenerManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    port: Option<Port>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    #[serde(borrow)]
    tls: Option<Tls<'a>>,
    #[serde(borrow)]
    allowed_routes: Option<AllowedRoutes<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Tls<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct AllowedRoutes<'a> {
    #[serde(borrow)]
    namespaces: Option<RouteNamespaces<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RouteNamespaces<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    selector: Option<LabelSelector<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Status<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<Address<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Address<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

/// Returns the facts of a Gateway API `GatewayClass`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_class(json: &[u8]) -> Result<GatewayClass, Wrong> {
    let ClassManifest { metadata, spec } = read::manifest(json)?;
    Ok(GatewayClass {
        meta: metadata.meta(Kind::GatewayClass)?,
        controller: shared(or_empty(&spec.unwrap_or_default().controller_name)),
    })
}

/// Returns the facts of a Gateway API `Gateway`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Gateway, Wrong> {
    let Manifest::<Spec<'_>, Status<'_>> { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    Ok(Gateway {
        meta: metadata.meta(Kind::Gateway)?,
        class: shared(or_empty(&spec.gateway_class_name)),
        listeners: spec.listeners.unwrap_or_default().into_iter().map(ListenerManifest::lower).collect(),
        addresses: status.addresses.iter().flatten().map(Address::lower).collect(),
    })
}

impl ListenerManifest<'_> {
    fn lower(self) -> Listener {
        let namespaces = self.allowed_routes.and_then(|r| r.namespaces);
        Listener {
            name: shared(or_empty(&self.name)),
            port: self.port.map_or(0, Port::port),
            protocol: shared(or_empty(&self.protocol)),
            tls_mode: self.tls.map(|t| shared(or_empty(&t.mode))).unwrap_or_default(),
            allowed: namespaces.map(RouteNamespaces::lower).unwrap_or_default(),
        }
    }
}

impl RouteNamespaces<'_> {
    fn lower(self) -> AllowedNamespaces {
        match (or_empty(&self.from), self.selector) {
            ("All", _) => AllowedNamespaces::All,
            // A selector that is not valid must not let more in than a valid one would.
            ("Selector", Some(selector)) => {
                selector.selector().map_or(AllowedNamespaces::Same, AllowedNamespaces::Selector)
            }
            ("Selector", None) => AllowedNamespaces::Selector(nothing()),
            _ => AllowedNamespaces::Same,
        }
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

impl Address<'_> {
    fn lower(&self) -> GatewayAddress {
        let value = or_empty(&self.value);
        match or_empty(&self.kind) {
            "" | "IPAddress" => value.parse().map_or(GatewayAddress::Other, GatewayAddress::Ip),
            "Hostname" => GatewayAddress::Hostname(shared_host(value)),
            _ => GatewayAddress::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use serde_json::{Value, json};

    fn gateway(mut manifest: Value) -> Gateway {
        manifest["metadata"] = json!({"name": "w", "namespace": "shop"});
        parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn allowed(namespaces: Value) -> AllowedNamespaces {
        let mut gateway =
            gateway(json!({"spec": {"listeners": [{"allowedRoutes": {"namespaces": namespaces}}]}}));
        gateway.listeners.remove(0).allowed
    }

    #[test]
    fn a_class_names_its_controller() {
        let class = parse_class(
            br#"{"metadata":{"name":"c","labels":{"istio.io/waypoint-for":"all"}},
            "spec":{"controllerName":"istio.io/mesh-controller"}}"#,
        );
        let class = class.unwrap();
        assert_eq!(class.controller, "istio.io/mesh-controller");
        assert_eq!(class.meta.labels, Labels::new([("istio.io/waypoint-for", "all")]));
        assert_eq!(class.meta.name, crate::Name::new("", "c"));
    }

    #[test]
    fn a_waypoint_gives_its_listeners_and_addresses() {
        let gateway = gateway(json!({
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [
                    {"name": "mesh", "port": 15008, "protocol": "HBONE", "tls": {"mode": "Terminate"},
                     "allowedRoutes": {"namespaces": {"from": "All"}, "kinds": []}},
                    {"name": "plain", "port": 80, "protocol": "HTTP"},
                ],
            },
            "status": {"addresses": [
                {"type": "Hostname", "value": "W.shop.svc"}, {"type": "IPAddress", "value": "10.1.0.9"},
                {"value": "fd00::9"}, {"type": "IPAddress", "value": "ten"}, {"type": "NamedAddress", "value": "n"},
            ]},
        }));
        assert_eq!(gateway.class, "istio-waypoint");
        let expected = Listener {
            name: "mesh".into(),
            port: 15008,
            protocol: "HBONE".into(),
            tls_mode: "Terminate".into(),
            allowed: AllowedNamespaces::All,
        };
        assert_eq!(gateway.listeners[0], expected);
        assert_eq!(gateway.listeners[1].allowed, AllowedNamespaces::Same);
        assert_eq!(
            gateway.addresses,
            [
                GatewayAddress::Hostname("w.shop.svc".into()),
                GatewayAddress::Ip("10.1.0.9".parse().unwrap()),
                GatewayAddress::Ip("fd00::9".parse().unwrap()),
                GatewayAddress::Other,
                GatewayAddress::Other,
            ]
        );
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
