use super::metadata::Metadata;
use super::number::Port;
use super::service::ProtocolName;
use super::text::{Text, or_empty};
use super::{read, uid, wrong::Wrong};
use crate::facts::{AddressType, Endpoint, EndpointPort, EndpointSlice, EndpointTarget, Protocol};
use crate::{Kind, Name, Ns};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    address_type: Option<Text<'a>>,
    #[serde(borrow)]
    endpoints: Option<Vec<EndpointManifest<'a>>>,
    #[serde(borrow)]
    ports: Option<Vec<PortManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct EndpointManifest<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<Text<'a>>>,
    conditions: Option<Conditions>,
    #[serde(borrow)]
    target_ref: Option<TargetRef<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct TargetRef<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    uid: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PortManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    port: Option<Port>,
    protocol: Option<ProtocolName>,
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who manages the slices that follow selectors. Those that mirror hand-made Endpoints are another's.
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// Returns the facts of an `EndpointSlice`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<EndpointSlice, Wrong> {
    let manifest: Manifest<'_> = read::manifest(json)?;
    let name = manifest.metadata.object_name(Kind::EndpointSlice)?;
    let address_type = match or_empty(&manifest.address_type) {
        "FQDN" => AddressType::Fqdn,
        _ => AddressType::Ip,
    };
    Ok(EndpointSlice {
        service: manifest.metadata.shared_label("kubernetes.io/service-name"),
        follows_selector: manifest.metadata.label(MANAGED_BY) == Some(SLICE_CONTROLLER),
        address_type,
        endpoints: manifest.endpoints.iter().flatten().map(|e| e.lower(&name.ns)).collect(),
        ports: manifest.ports.iter().flatten().map(PortManifest::lower).collect(),
        name,
    })
}

impl EndpointManifest<'_> {
    fn lower(&self, ns: &Ns) -> Endpoint {
        let addresses = self.addresses.iter().flatten();
        Endpoint {
            addresses: addresses.map(|a| a.as_str().parse().ok()).collect::<Option<_>>().unwrap_or_default(),
            ready: self.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true),
            target: match &self.target_ref {
                Some(target) if or_empty(&target.kind) == "Pod" => EndpointTarget::Pod {
                    name: match or_empty(&target.namespace) {
                        "" => Name { ns: ns.clone(), name: or_empty(&target.name).into() },
                        other => Name { ns: ns.beside(other), name: or_empty(&target.name).into() },
                    },
                    uid: uid::bits(or_empty(&target.uid)),
                },
                _ => EndpointTarget::Other,
            },
        }
    }
}

impl PortManifest<'_> {
    fn lower(&self) -> EndpointPort {
        EndpointPort {
            name: self.name.as_ref().map(Text::shared),
            port: self.port.map(Port::port),
            protocol: self.protocol.map(Protocol::from),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::{Value, json};

    fn slice(mut manifest: Value) -> EndpointSlice {
        manifest["metadata"] =
            json!({"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}});
        parse(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn endpoints_and_ports_are_read_in_order() {
        let slice = slice(json!({
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false},
                 "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "far", "uid": "u"}},
                {"addresses": ["10.0.0.2"], "conditions": {}, "targetRef": {"kind": "Pod", "name": "web-2"}},
                {"addresses": ["192.0.2.1"]},
            ],
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}, {"name": null, "port": null}],
        }));
        assert_eq!(slice.name, Name::new("shop", "web-x"));
        assert_eq!(slice.service, "web");
        assert_eq!(slice.address_type, AddressType::Ip);
        let pod = |ns, name, uid| EndpointTarget::Pod { name: Name::new(ns, name), uid };
        let targets: Vec<_> = slice.endpoints.iter().map(|e| (e.ready, e.target.clone())).collect();
        assert_eq!(
            targets,
            [
                (false, pod("far", "web-1", uid::bits("u"))),
                (true, pod("shop", "web-2", 0)),
                (true, EndpointTarget::Other),
            ]
        );
        assert_eq!(
            slice.ports,
            [
                EndpointPort { name: Some("".into()), port: Some(80), protocol: Some(Protocol::Tcp) },
                EndpointPort { name: None, port: None, protocol: None },
            ]
        );
    }

    #[test]
    fn only_the_slices_of_the_controller_follow_a_selector() {
        let of = |labels: Value| {
            let manifest = json!({"metadata": {"name": "x", "namespace": "shop", "labels": labels}});
            parse(manifest.to_string().as_bytes()).unwrap().follows_selector
        };
        assert!(of(json!({MANAGED_BY: SLICE_CONTROLLER})));
        for by in ["endpointslicemirroring-controller.k8s.io", "me", ""] {
            assert!(!of(json!({MANAGED_BY: by})), "{by:?}");
        }
        assert!(!of(json!({})));
    }

    #[test]
    fn one_address_that_does_not_parse_empties_its_endpoint_only() {
        let slice = slice(json!({"endpoints": [
            {"addresses": ["10.0.0.1", "ten"]}, {"addresses": ["10.0.0.2"]}, {"addresses": null},
        ]}));
        let counts: Vec<usize> = slice.endpoints.iter().map(|e| e.addresses.len()).collect();
        assert_eq!(counts, [0, 1, 0]);
    }

    #[test]
    fn names_of_hosts_are_no_addresses() {
        let slice = slice(json!({"addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]}));
        assert_eq!(slice.address_type, AddressType::Fqdn);
        assert!(slice.endpoints[0].addresses.is_empty());
    }
}
