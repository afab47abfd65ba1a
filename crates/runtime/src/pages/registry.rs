//! Services and their endpoints in the shapes of Istio's pages.
//!
//! What is listed is what ztunnels are sent; what those do not need (labels, names of ports) comes from the objects.

use super::ambient::{addresses, ip, snapshot};
use super::answer::{self, Answer, gone};
use super::asked::Asked;
use super::monitoring::Monitoring;
use axum::http::StatusCode;
use model::facts::{self, Protocol, Resolution};
use model::{Labels, Name, rfc3339};
use proto::workload::address::Type;
use proto::workload::service::Visibility;
use proto::workload::{AppProtocol, Service, Workload, WorkloadStatus};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xds::Snapshot;

/// The address of what has none, in Istio's registry.
const UNSPECIFIED: &str = "0.0.0.0";

/// A service. That names are in several cases is Istio's doing.
#[derive(Serialize)]
struct RegistryService {
    #[serde(rename = "Attributes")]
    attributes: Attributes,
    ports: Vec<Port>,
    #[serde(rename = "creationTime")]
    creation_time: String,
    hostname: String,
    #[serde(rename = "clusterVIPs")]
    cluster_vips: Addresses,
    #[serde(rename = "defaultAddress")]
    default_address: String,
    #[serde(rename = "Resolution")]
    resolution: u8,
    #[serde(rename = "MeshExternal")]
    mesh_external: bool,
    /// Versions of objects are not kept.
    #[serde(rename = "ResourceVersion")]
    resource_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    service_registry: &'static str,
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    export_to: BTreeMap<&'static str, Empty>,
    label_selectors: BTreeMap<String, String>,
    cluster_external_addresses: Addresses,
    #[serde(rename = "Type")]
    service_type: &'static str,
    node_local: bool,
    object_name: String,
    publish_not_ready_addresses: bool,
}

/// An element of what is a set in Go.
#[derive(Serialize)]
struct Empty {}

/// Addresses by cluster.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Addresses {
    addresses: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct Port {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    port: u32,
    protocol: &'static str,
}

/// The object that a service is of.
enum Object {
    Service(Arc<facts::Service>),
    Entry(Arc<facts::ServiceEntry>),
}

/// The objects that services are of, by name.
struct Directory {
    services: BTreeMap<Name, Arc<facts::Service>>,
    entries: BTreeMap<Name, Arc<facts::ServiceEntry>>,
    domain: String,
}

impl Directory {
    async fn read(m: &Monitoring) -> Option<Self> {
        let rows = m.engine.query(|plane| (plane.services(), plane.service_entries())).await;
        let (services, entries) = rows?;
        let domain = m.about.naming.domain.clone();
        Some(Self {
            services: services.into_iter().collect(),
            entries: entries.into_iter().collect(),
            domain,
        })
    }

    fn object(&self, service: &Service) -> Option<Object> {
        let name = Name::new(&service.namespace, &service.name);
        let of_service = format!("{}.{}.svc.{}", service.name, service.namespace, self.domain);
        let entry = || {
            let named =
                self.entries.get(&name).filter(|of| of.hosts.iter().any(|host| **host == *service.hostname));
            named.or_else(|| {
                let of_namespace = self.entries.iter().filter(|(of, _)| *of.ns == *service.namespace);
                let mut has =
                    of_namespace.filter(|(_, of)| of.hosts.iter().any(|host| **host == *service.hostname));
                has.next().map(|(_, of)| of)
            })
        };
        if service.hostname == of_service
            && let Some(found) = self.services.get(&name)
        {
            return Some(Object::Service(Arc::clone(found)));
        }
        entry().map(|entry| Object::Entry(Arc::clone(entry)))
    }
}

impl Object {
    fn meta(&self) -> &facts::Meta {
        match self {
            Self::Service(of) => &of.meta,
            Self::Entry(of) => &of.meta,
        }
    }

    /// The name of a port, and whether it is of UDP.
    fn port(&self, port: u32) -> Option<(String, bool)> {
        match self {
            Self::Service(of) => {
                let mut ports = of.ports.iter().filter(|of| u32::from(of.port) == port);
                ports.next().map(|of| (of.name.to_string(), of.protocol == Protocol::Udp))
            }
            Self::Entry(of) => {
                let mut ports = of.ports.iter().filter(|of| u32::from(of.number) == port);
                ports.next().map(|of| (of.name.to_string(), of.protocol.eq_ignore_ascii_case("UDP")))
            }
        }
    }
}

fn labels(of: &Labels) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

impl RegistryService {
    fn new(service: Service, object: Option<&Object>, cluster: &str) -> Self {
        let (of_service, of_entry) = match object {
            Some(Object::Service(of)) => (Some(of), None),
            Some(Object::Entry(of)) => (None, Some(of)),
            None => (None, None),
        };
        let mut addresses: Vec<_> =
            service.addresses.iter().filter_map(|of| Some(ip(&of.address)?.to_string())).collect();
        if addresses.is_empty() {
            addresses.push(UNSPECIFIED.to_owned());
        }
        let is_headless = of_service.is_some_and(|of| of.cluster_ips.is_empty());
        let resolution = match of_entry.map(|of| of.resolution) {
            None => {
                if is_headless {
                    2
                } else {
                    0
                }
            }
            Some(Resolution::Static) => 0,
            Some(Resolution::Dns) => 1,
            Some(Resolution::None) => 2,
            Some(Resolution::DnsRoundRobin) => 3,
            Some(Resolution::DynamicDns) => 5,
        };
        let ports = service.ports.iter().map(|of| {
            let (name, is_udp) = object.and_then(|object| object.port(of.service_port)).unwrap_or_default();
            let protocol = if is_udp { "UDP" } else { protocol(of.app_protocol()) };
            Port { name, port: of.service_port, protocol }
        });
        let ports = ports.collect();
        let external =
            of_service.map(|of| of.external.iter().map(external_address).collect()).unwrap_or_default();
        let meta = object.map(Object::meta);
        let selector = match object {
            Some(Object::Service(of)) => Some(&of.selector),
            Some(Object::Entry(of)) => of.selector.as_ref(),
            None => None,
        };
        let is_public = service.visibility() == Visibility::Public;
        let by_cluster = |addresses: Vec<String>| Addresses {
            addresses: [(cluster.to_owned(), addresses)]
                .into_iter()
                .filter(|(_, of)| !of.is_empty())
                .collect(),
        };
        Self {
            ports,
            creation_time: rfc3339(meta.map_or(0, |meta| meta.created).try_into().unwrap_or(0)),
            hostname: service.hostname,
            default_address: addresses[0].clone(),
            cluster_vips: by_cluster(addresses),
            resolution,
            mesh_external: of_entry.is_some(),
            resource_version: "",
            attributes: Attributes {
                service_registry: if of_entry.is_some() { "External" } else { "Kubernetes" },
                labels: meta.map(|meta| labels(&meta.labels)).unwrap_or_default(),
                export_to: [(if is_public { "*" } else { "." }, Empty {})].into(),
                label_selectors: selector.map(labels).unwrap_or_default(),
                cluster_external_addresses: by_cluster(external),
                service_type: match of_service.map(|of| of.service_type) {
                    None => "",
                    Some(facts::ServiceType::Internal) => "ClusterIP",
                    Some(facts::ServiceType::LoadBalancer) => "LoadBalancer",
                    Some(facts::ServiceType::ExternalName) => "ExternalName",
                },
                node_local: of_service.is_some_and(|of| of.internal_traffic_local),
                object_name: meta.map(|meta| meta.name.name.to_string()).unwrap_or_default(),
                publish_not_ready_addresses: of_service.is_some_and(|of| of.publish_not_ready),
                name: service.name,
                namespace: service.namespace,
            },
        }
    }
}

fn external_address(of: &facts::GatewayAddress) -> String {
    match of {
        facts::GatewayAddress::Ip(ip) => ip.to_string(),
        facts::GatewayAddress::Hostname(host) => host.to_string(),
        facts::GatewayAddress::Other => String::new(),
    }
}

/// What Istio calls a protocol.
fn protocol(of: AppProtocol) -> &'static str {
    match of {
        AppProtocol::Http11 => "HTTP",
        AppProtocol::Http2 => "HTTP2",
        AppProtocol::Grpc => "GRPC",
        AppProtocol::Tcp => "TCP",
        AppProtocol::Tls => "TLS",
        AppProtocol::Unknown => "UnsupportedProtocol",
    }
}

fn services(snapshot: &Snapshot) -> impl Iterator<Item = Service> + '_ {
    addresses(snapshot).filter_map(|of| match of {
        Type::Service(service) => Some(service),
        Type::Workload(_) => None,
    })
}

/// `/debug/registryz`.
pub(super) async fn registryz(m: &Monitoring, _: &Asked) -> Answer {
    let snapshot = match snapshot(m) {
        Ok(snapshot) => snapshot,
        Err(early) => return early,
    };
    let Some(directory) = Directory::read(m).await else { return gone() };
    let view = |service: Service| {
        let object = directory.object(&service);
        RegistryService::new(service, object.as_ref(), &m.about.cluster_id)
    };
    let mut all: Vec<_> = services(&snapshot).map(view).collect();
    all.sort_by(|a, b| (&a.hostname, &a.attributes.namespace).cmp(&(&b.hostname, &b.attributes.namespace)));
    answer::json(StatusCode::OK, &all)
}

/// The endpoints of a host in a namespace.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoints {
    shards: BTreeMap<String, Vec<serde_json::Value>>,
    service_accounts: BTreeMap<String, Empty>,
}

/// `/debug/endpointz` and `/debug/endpointShardz`.
pub(super) async fn endpointz(m: &Monitoring, _: &Asked) -> Answer {
    let snapshot = match snapshot(m) {
        Ok(snapshot) => snapshot,
        Err(early) => return early,
    };
    let Some(directory) = Directory::read(m).await else { return gone() };
    let mut names: BTreeMap<(String, u32), String> = BTreeMap::new();
    for service in services(&snapshot) {
        let Some(object) = directory.object(&service) else { continue };
        for port in &service.ports {
            let name = object.port(port.service_port).map(|(name, _)| name).unwrap_or_default();
            names.insert((format!("{}/{}", service.namespace, service.hostname), port.service_port), name);
        }
    }
    let mut hosts: BTreeMap<String, BTreeMap<String, Endpoints>> = BTreeMap::new();
    let workloads = addresses(&snapshot).filter_map(|of| match of {
        Type::Workload(workload) => Some(workload),
        Type::Service(_) => None,
    });
    for workload in workloads {
        let registry = if workload.uid.contains("networking.istio.io/") { "External" } else { "Kubernetes" };
        let shard = format!("{registry}/{}", workload.cluster_id);
        let account = account(&workload);
        let of_workload = endpoint(&workload, &account);
        for (key, ports) in &workload.services {
            let Some((namespace, host)) = key.split_once('/') else { continue };
            let by_namespace = hosts.entry(host.to_owned()).or_default();
            let of = by_namespace.entry(namespace.to_owned()).or_default();
            of.service_accounts.insert(account.clone(), Empty {});
            let numbers: BTreeSet<_> =
                ports.ports.iter().map(|of| (of.service_port, of.target_port)).collect();
            for (service_port, target) in numbers {
                let mut endpoint = of_workload.clone();
                let name = names.get(&(key.clone(), service_port)).cloned().unwrap_or_default();
                endpoint["ServicePortName"] = name.into();
                endpoint["EndpointPort"] = target.into();
                of.shards.entry(shard.clone()).or_default().push(endpoint);
            }
        }
    }
    answer::json(StatusCode::OK, &hosts)
}

fn account(of: &Workload) -> String {
    let domain = if of.trust_domain.is_empty() { "cluster.local" } else { &of.trust_domain };
    let account = if of.service_account.is_empty() { "default" } else { &of.service_account };
    format!("spiffe://{domain}/ns/{}/sa/{account}", of.namespace)
}

/// An endpoint, without the port.
fn endpoint(of: &Workload, account: &str) -> serde_json::Value {
    let locality = of.locality.clone().unwrap_or_default();
    let parts = [locality.region, locality.zone, locality.subzone];
    let label = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("/");
    json!({
        "Labels": {
            "service.istio.io/canonical-name": of.canonical_name,
            "service.istio.io/canonical-revision": of.canonical_revision,
        },
        "Addresses": of.addresses.iter().filter_map(|of| Some(ip(of)?.to_string())).collect::<Vec<_>>(),
        "ServiceAccount": account,
        "Network": of.network,
        "Locality": { "Label": label, "ClusterID": of.cluster_id },
        "LbWeight": of.capacity.unwrap_or_default(),
        "TLSMode": "disabled",
        "Namespace": of.namespace,
        "WorkloadName": of.workload_name,
        "HostName": of.hostname,
        "HealthStatus": if of.status() == WorkloadStatus::Healthy { 1 } else { 2 },
        "NodeName": of.node,
    })
}
