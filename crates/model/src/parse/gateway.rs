use super::listener::{ListenerManifest, Namespaces};
use super::metadata::Metadata;
use super::number::Port;
use super::pairs::{All, LabelPairs};
use super::read::{self, Manifest};
use super::reference::Reference;
use super::text::{Text, or_empty, shared_host};
use super::wrong::Wrong;
use crate::facts::{
    FrontendTls, FrontendValidation, Gateway, GatewayAddress, GatewayClass, Infrastructure, RequestedAddress,
};
use crate::{Kind, Str, shared};
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
    #[serde(borrow)]
    addresses: Option<Vec<Address<'a>>>,
    #[serde(borrow)]
    allowed_listeners: Option<AllowedListeners<'a>>,
    #[serde(borrow)]
    infrastructure: Option<InfrastructureManifest<'a>>,
    #[serde(borrow)]
    tls: Option<Tls<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct AllowedListeners<'a> {
    #[serde(borrow)]
    namespaces: Option<Namespaces<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct InfrastructureManifest<'a> {
    #[serde(borrow)]
    labels: Option<LabelPairs<'a>>,
    #[serde(borrow)]
    annotations: Option<LabelPairs<'a>>,
    #[serde(borrow)]
    parameters_ref: Option<Reference<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Tls<'a> {
    #[serde(borrow)]
    frontend: Option<Frontend<'a>>,
    #[serde(borrow)]
    backend: Option<Backend<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Backend<'a> {
    #[serde(borrow)]
    client_certificate_ref: Option<Reference<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Frontend<'a> {
    #[serde(borrow)]
    default: Option<FrontendPort<'a>>,
    #[serde(borrow)]
    per_port: Option<Vec<PerPort<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PerPort<'a> {
    port: Option<Port>,
    #[serde(borrow)]
    tls: Option<FrontendPort<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct FrontendPort<'a> {
    #[serde(borrow)]
    validation: Option<Validation<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Validation<'a> {
    #[serde(borrow)]
    ca_certificate_refs: Option<Vec<Reference<'a>>>,
    #[serde(borrow)]
    mode: Option<Text<'a>>,
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
    let Manifest::<Spec<'_>, Status<'_>, All> { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let tls = spec.tls.unwrap_or_default();
    let infrastructure = spec.infrastructure.unwrap_or_default();
    Ok(Gateway {
        meta: metadata.meta(Kind::Gateway)?,
        uid: Str::from(metadata.uid_text()),
        is_deleted: metadata.deletion_timestamp.is_some(),
        annotations: metadata.kept_annotations(),
        class: shared(or_empty(&spec.gateway_class_name)),
        listeners: spec.listeners.unwrap_or_default().into_iter().map(ListenerManifest::lower).collect(),
        requested: spec.addresses.iter().flatten().map(Address::requested).collect(),
        allowed_listeners: spec
            .allowed_listeners
            .and_then(|allowed| allowed.namespaces)
            .and_then(Namespaces::listeners),
        infrastructure: Infrastructure {
            labels: infrastructure.labels.as_ref().map(LabelPairs::labels),
            annotations: infrastructure.annotations.as_ref().map(LabelPairs::labels),
        },
        parameters: infrastructure.parameters_ref.map(|reference| reference.lower("", "")),
        frontend: tls.frontend.unwrap_or_default().lower(),
        backend_certificate: tls
            .backend
            .and_then(|backend| backend.client_certificate_ref)
            .map(|reference| reference.secret()),
        addresses: status.addresses.iter().flatten().map(Address::lower).collect(),
    })
}

impl Frontend<'_> {
    fn lower(self) -> FrontendTls {
        let validation =
            |of: Option<FrontendPort<'_>>| of.and_then(|of| of.validation).map(Validation::lower);
        let ports = self.per_port.unwrap_or_default().into_iter();
        FrontendTls {
            default: validation(self.default),
            ports: ports.map(|of| (of.port.map_or(0, Port::port), validation(of.tls))).collect(),
        }
    }
}

impl Validation<'_> {
    fn lower(self) -> FrontendValidation {
        let roots = self.ca_certificate_refs.unwrap_or_default();
        FrontendValidation {
            roots: roots.iter().map(|reference| reference.lower("", "")).collect(),
            // What is unclear must not accept more.
            is_optional: or_empty(&self.mode) == "AllowInsecureFallback",
        }
    }
}

impl Address<'_> {
    fn requested(&self) -> RequestedAddress {
        let kind = self.kind.as_ref().map_or_else(|| shared("IPAddress"), Text::shared);
        RequestedAddress { kind, value: shared(or_empty(&self.value)) }
    }

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
    use crate::facts::{AllowedNamespaces, Listener, ListenerTls};
    use serde_json::{Value, json};

    fn gateway(mut manifest: Value) -> Gateway {
        manifest["metadata"] = json!({"name": "w", "namespace": "shop"});
        parse(manifest.to_string().as_bytes()).unwrap()
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
            tls: Some(ListenerTls { mode: "Terminate".into(), ..ListenerTls::default() }),
            allowed: AllowedNamespaces::All,
            ..Listener::default()
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
    fn only_what_is_written_lets_listener_sets_in() {
        let allowed = |namespaces: Value| {
            gateway(json!({"spec": {"allowedListeners": {"namespaces": namespaces}}})).allowed_listeners
        };
        assert_eq!(gateway(json!({})).allowed_listeners, None);
        assert_eq!(allowed(json!({})), None);
        assert_eq!(allowed(json!({"from": "None"})), None);
        assert_eq!(allowed(json!({"from": "Anyone"})), None);
        assert_eq!(allowed(json!({"from": "Same"})), Some(AllowedNamespaces::Same));
        assert_eq!(allowed(json!({"from": "All"})), Some(AllowedNamespaces::All));
    }

    #[test]
    fn client_certificates_are_verified_as_the_port_says_else_by_default() {
        let gateway = gateway(json!({"spec": {"tls": {
            "backend": {"clientCertificateRef": {"name": "client"}},
            "frontend": {
                "default": {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}},
                "perPort": [
                    {"port": 443, "tls": {"validation": {"mode": "AllowInsecureFallback"}}},
                    {"port": 8443, "tls": {}},
                ],
            },
        }}}));
        let default = gateway.frontend.of_port(80).unwrap();
        assert_eq!((default.roots[0].name.as_str(), default.is_optional), ("ca", false));
        assert!(gateway.frontend.of_port(443).unwrap().is_optional);
        assert_eq!(gateway.frontend.of_port(8443), None);
        assert!(gateway.backend_certificate.unwrap().is("", "Secret"));
    }

    #[test]
    fn all_annotations_and_what_is_put_on_deployed_objects_are_read() {
        let gateway = parse(
            br#"{"metadata":{"name":"w","namespace":"shop","uid":"u-1","deletionTimestamp":"2024-01-01T00:00:00Z",
            "annotations":{"a":"b","kubectl.kubernetes.io/last-applied-configuration":"{}"}},
            "spec":{"infrastructure":{"labels":{"team":"x"},"annotations":{}}}}"#,
        );
        let gateway = gateway.unwrap();
        assert_eq!(gateway.annotations, Labels::new([("a", "b")]));
        assert_eq!(gateway.meta.annotations, Labels::default());
        assert_eq!((gateway.uid.as_str(), gateway.is_deleted), ("u-1", true));
        assert_eq!(gateway.infrastructure.labels, Some(Labels::new([("team", "x")])));
        assert_eq!(gateway.infrastructure.annotations, Some(Labels::default()));
    }

    #[test]
    fn addresses_that_are_asked_for_keep_their_type() {
        let gateway = gateway(json!({"spec": {
            "addresses": [{"value": "10.0.0.1"}, {"type": "Hostname", "value": "web"}, {"type": "IPAddress"}],
            "infrastructure": {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "overlay"}},
        }}));
        let requested: Vec<(&str, &str)> =
            gateway.requested.iter().map(|a| (a.kind.as_str(), a.value.as_str())).collect();
        assert_eq!(requested, [("IPAddress", "10.0.0.1"), ("Hostname", "web"), ("IPAddress", "")]);
        assert!(gateway.parameters.unwrap().is("", "ConfigMap"));
    }
}
