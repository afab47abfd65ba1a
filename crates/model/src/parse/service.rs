use super::metadata::Metadata;
use super::number::Port;
use super::pairs::LabelPairs;
use super::text::{Text, or_empty, shared_host};
use super::{code, read, wrong::Wrong};
use crate::facts::{GatewayAddress, IpFamily, Protocol, Service, ServicePort, ServiceType, TargetPort};
use crate::{Kind, shared};
use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use std::fmt;
use std::net::IpAddr;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Status<'a> {
    #[serde(borrow)]
    load_balancer: Option<LoadBalancer<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LoadBalancer<'a> {
    #[serde(borrow)]
    ingress: Option<Vec<Ingress<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Ingress<'a> {
    #[serde(borrow)]
    ip: Option<Text<'a>>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow, rename = "type")]
    service_type: Option<Text<'a>>,
    #[serde(borrow)]
    selector: Option<LabelPairs<'a>>,
    #[serde(borrow, rename = "clusterIP")]
    cluster_ip: Option<Text<'a>>,
    #[serde(borrow, rename = "clusterIPs")]
    cluster_ips: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    ports: Option<Vec<PortManifest<'a>>>,
    ip_families: Option<Vec<Family>>,
    #[serde(borrow)]
    internal_traffic_policy: Option<Text<'a>>,
    #[serde(borrow)]
    traffic_distribution: Option<Text<'a>>,
    publish_not_ready_addresses: Option<bool>,
    #[serde(borrow, rename = "externalIPs")]
    external_ips: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
enum Family {
    IPv4,
    IPv6,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PortManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    port: Port,
    protocol: Option<ProtocolName>,
    #[serde(borrow)]
    target_port: Option<PortOrName<'a>>,
    #[serde(borrow)]
    app_protocol: Option<Text<'a>>,
}

/// A protocol of a Kubernetes port.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ProtocolName {
    Tcp,
    Udp,
    Sctp,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Tcp => Protocol::Tcp,
            ProtocolName::Udp => Protocol::Udp,
            ProtocolName::Sctp => Protocol::Sctp,
        }
    }
}

/// `intstr.IntOrString` that holds a port.
enum PortOrName<'a> {
    Port(u16),
    Name(Text<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for PortOrName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortOrNameVisitor;

        impl<'de> Visitor<'de> for PortOrNameVisitor {
            type Value = PortOrName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 0 to 65535 or the name of one")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                let port = u16::try_from(number);
                port.map(PortOrName::Port).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Text::deserialize(de::value::BorrowedStrDeserializer::new(name)).map(PortOrName::Name)
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Text::deserialize(de::value::StringDeserializer::new(name.to_owned())).map(PortOrName::Name)
            }
        }

        deserializer.deserialize_any(PortOrNameVisitor)
    }
}

/// Returns the facts of a core `Service`.
///
/// # Errors
/// As [`super::parse`], and when a cluster address is no IP address.
pub(super) fn parse(json: &[u8]) -> Result<Service, Wrong> {
    let Manifest { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let meta = metadata.meta(Kind::Service)?;
    Ok(Service {
        meta,
        service_type: match or_empty(&spec.service_type) {
            "ExternalName" => ServiceType::ExternalName,
            "LoadBalancer" => ServiceType::LoadBalancer,
            _ => ServiceType::Internal,
        },
        selector: spec.selector.as_ref().map(LabelPairs::labels).unwrap_or_default(),
        cluster_ips: spec.cluster_ips()?,
        ports: spec.ports.iter().flatten().map(PortManifest::lower).collect(),
        ip_families: spec
            .ip_families
            .iter()
            .flatten()
            .map(|f| match f {
                Family::IPv4 => IpFamily::V4,
                Family::IPv6 => IpFamily::V6,
            })
            .collect(),
        internal_traffic_local: or_empty(&spec.internal_traffic_policy) == "Local",
        traffic_distribution: shared(or_empty(&spec.traffic_distribution)),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        external: external(&spec, status),
    })
}

fn external(spec: &Spec<'_>, status: Status<'_>) -> Vec<GatewayAddress> {
    let ip = |text: &str| text.parse().ok().map(GatewayAddress::Ip);
    let balancers = status.load_balancer.and_then(|of| of.ingress).unwrap_or_default();
    let of_balancer = |entry: &Ingress<'_>| match (or_empty(&entry.ip), or_empty(&entry.hostname)) {
        ("", "") => None,
        ("", host) => Some(GatewayAddress::Hostname(shared_host(host))),
        (text, _) => ip(text),
    };
    let external_ips = spec.external_ips.iter().flatten().filter_map(|text| ip(text.as_str()));
    balancers.iter().filter_map(of_balancer).chain(external_ips).collect()
}

impl Spec<'_> {
    fn cluster_ips(&self) -> Result<Vec<IpAddr>, Wrong> {
        let mut ips = Vec::new();
        let mut add = |field: String, text: &str| match text {
            "" | "None" => Ok(()),
            text => match text.parse() {
                Ok(ip) => {
                    ips.push(ip);
                    Ok(())
                }
                Err(_) => Err(Wrong::new(code::SERVICE_ADDRESS, field, format!("`{text}` is no IP address"))
                    .help("use an IPv4 or IPv6 address, or None for a headless service")),
            },
        };
        match self.cluster_ips.as_deref() {
            None | Some([]) => add("spec.clusterIP".to_owned(), or_empty(&self.cluster_ip))?,
            Some(texts) => {
                for (i, text) in texts.iter().enumerate() {
                    add(format!("spec.clusterIPs[{i}]"), text.as_str())?;
                }
            }
        }
        Ok(ips)
    }
}

impl PortManifest<'_> {
    fn lower(&self) -> ServicePort {
        let port = self.port.port();
        ServicePort {
            name: shared(or_empty(&self.name)),
            port,
            protocol: self.protocol.map(Protocol::from).unwrap_or_default(),
            // An API server fills an unset (or zero) target with the port itself.
            target: match &self.target_port {
                None | Some(PortOrName::Port(0)) => TargetPort::Number(port),
                Some(PortOrName::Port(number)) => TargetPort::Number(*number),
                Some(PortOrName::Name(name)) if name.as_str().is_empty() => TargetPort::Number(port),
                Some(PortOrName::Name(name)) => TargetPort::Name(name.shared()),
            },
            app_protocol: shared(or_empty(&self.app_protocol)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Result<Service, Wrong> {
        parse(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}).to_string().as_bytes())
    }

    #[test]
    fn a_service_gives_all_its_facts() {
        let service = parse(
            json!({
                "metadata": {
                    "name": "web", "namespace": "shop", "generation": 3, "creationTimestamp": "1970-01-01T00:01:00Z",
                    "labels": {"istio.io/use-waypoint": "w"}, "annotations": {"unread": "x"},
                },
                "spec": {
                    "type": "LoadBalancer", "selector": {"app": "web"},
                    "clusterIP": "10.1.0.1", "clusterIPs": ["10.1.0.1", "fd00::1"],
                    "ports": [
                        {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "kubernetes.io/h2c"},
                        {"port": 53, "protocol": "UDP", "targetPort": 5353},
                        {"port": 443, "protocol": "TCP"},
                    ],
                    "ipFamilies": ["IPv4", "IPv6"], "internalTrafficPolicy": "Local",
                    "trafficDistribution": "PreferClose", "publishNotReadyAddresses": true,
                },
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let port = |name: &str, port, protocol, target, app: &str| ServicePort {
            name: name.into(),
            port,
            protocol,
            target,
            app_protocol: app.into(),
        };
        let expected = Service {
            meta: crate::facts::Meta {
                name: crate::Name::new("shop", "web"),
                created: 60,
                generation: 3,
                labels: crate::Labels::new([("istio.io/use-waypoint", "w")]),
                annotations: crate::Labels::default(),
                unsupported: Vec::new(),
            },
            service_type: ServiceType::LoadBalancer,
            selector: crate::Labels::new([("app", "web")]),
            cluster_ips: vec!["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ports: vec![
                port("http", 80, Protocol::Tcp, TargetPort::Name("web".into()), "kubernetes.io/h2c"),
                port("", 53, Protocol::Udp, TargetPort::Number(5353), ""),
                port("", 443, Protocol::Tcp, TargetPort::Number(443), ""),
            ],
            ip_families: vec![IpFamily::V4, IpFamily::V6],
            internal_traffic_local: true,
            traffic_distribution: "PreferClose".into(),
            publish_not_ready: true,
            external: Vec::new(),
        };
        assert_eq!(service, expected);
    }

    #[test]
    fn a_load_balancer_has_the_addresses_that_it_was_given() {
        let service = parse(
            json!({
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.9", "ten"]},
                "status": {"loadBalancer": {"ingress": [
                    {"ip": "192.0.2.1", "hostname": "x"}, {"hostname": "LB.example.com"}, {"ip": "no"}, {},
                ]}},
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(service.service_type, ServiceType::LoadBalancer);
        let ip = |text: &str| GatewayAddress::Ip(text.parse().unwrap());
        let host = GatewayAddress::Hostname("lb.example.com".into());
        assert_eq!(service.external, [ip("192.0.2.1"), host, ip("192.0.2.9")]);
    }

    #[test]
    fn headless_and_pending_services_have_no_address() {
        for spec in [
            json!({"clusterIP": "None", "clusterIPs": ["None"]}),
            json!({"clusterIP": "None"}),
            json!({"clusterIPs": [""]}),
            json!({}),
            json!(null),
        ] {
            assert!(service(spec).unwrap().cluster_ips.is_empty());
        }
        assert_eq!(service(json!({"clusterIP": "10.1.0.1", "clusterIPs": []})).unwrap().cluster_ips.len(), 1);
    }

    #[test]
    fn an_external_name_is_told_apart() {
        assert_eq!(service(json!({"type": "ExternalName"})).unwrap().service_type, ServiceType::ExternalName);
    }

    #[test]
    fn an_unset_target_is_the_port_itself() {
        for target in [json!(null), json!(0), json!("")] {
            let service = service(json!({"ports": [{"port": 80, "targetPort": target}]})).unwrap();
            assert_eq!(service.ports[0].target, TargetPort::Number(80));
        }
    }

    #[test]
    fn a_port_that_does_not_fit_is_named_with_its_path() {
        let wrong = |spec: Value| service(spec).unwrap_err().into_diagnostic(None);
        let diagnostic = wrong(json!({"ports": [{"port": 80}, {"port": 70000}]}));
        assert_eq!(diagnostic.field, "spec.ports[1].port");
        assert_eq!(
            diagnostic.message,
            "invalid value: integer `70000`, expected a whole number from 0 to 65535"
        );
        assert_eq!(
            wrong(json!({"ports": [{"port": 1, "targetPort": -1}]})).field,
            "spec.ports[0].targetPort"
        );
        assert_eq!(wrong(json!({"ports": [{"port": 1, "protocol": "tcp"}]})).field, "spec.ports[0].protocol");
        assert_eq!(wrong(json!({"ports": [{"name": "x"}]})).message, "missing field `port`");
        assert_eq!(wrong(json!({"ports": {}})).field, "spec.ports");
    }
}
