//! What clients are told: the resources of a mesh, decoded and in order.

use super::view::View;
use anyhow::anyhow;
use prost::Message;
use proto::security::Authorization;
use proto::type_url;
use proto::workload::{Address, Service, Workload, address::Type};
use runtime::views::{ConfigView, GatewayView, RouteView, StatusView, WaypointView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Resources by name, as they come in.
#[derive(Debug, Default)]
pub struct Collector {
    addresses: BTreeMap<String, Type>,
    policies: BTreeMap<String, Authorization>,
}

impl Collector {
    /// Takes an encoded resource; one of the same name is replaced.
    ///
    /// # Errors
    /// When it is of no type that clients are sent, or cannot be decoded.
    pub fn put(&mut self, type_url: &str, name: &str, body: &[u8]) -> anyhow::Result<()> {
        let broken = |error| anyhow!("the resource {name} cannot be read: {error}");
        match type_url {
            type_url::ADDRESS => {
                let address = Address::decode(body).map_err(broken)?;
                let of = address.r#type.ok_or_else(|| {
                    anyhow!(
                        "the resource {name} is neither a workload nor a service: it is of a newer version"
                    )
                })?;
                self.addresses.insert(name.to_owned(), of);
            }
            type_url::AUTHORIZATION => {
                let policy = Authorization::decode(body).map_err(broken)?;
                self.policies.insert(name.to_owned(), policy);
            }
            other => return Err(anyhow!("the resource {name} is of the unknown type {other}")),
        }
        Ok(())
    }

    /// Takes a resource away again.
    pub fn remove(&mut self, type_url: &str, name: &str) {
        match type_url {
            type_url::ADDRESS => drop(self.addresses.remove(name)),
            _ => drop(self.policies.remove(name)),
        }
    }

    /// Returns what was collected.
    pub fn finish(self) -> Resources {
        let mut all = Resources { policies: self.policies.into_values().collect(), ..Resources::default() };
        for address in self.addresses.into_values() {
            match address {
                Type::Workload(workload) => all.workloads.push(workload),
                Type::Service(service) => all.services.push(service),
            }
        }
        all.workloads.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        all.services
            .sort_by(|a, b| (&a.namespace, &a.name, &a.hostname).cmp(&(&b.namespace, &b.name, &b.hostname)));
        all.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }
}

/// The resources of a mesh, each list ascending by namespace and name.
#[derive(Debug, Default, PartialEq)]
pub struct Resources {
    /// Pods and endpoints that are no pods.
    pub workloads: Vec<Workload>,
    /// Services.
    pub services: Vec<Service>,
    /// Policies that ztunnels enforce.
    pub policies: Vec<Authorization>,
    /// What each condition of an AuthorizationPolicy says, by namespace and name; of a running control
    /// plane it is not known.
    pub statuses: Option<BTreeMap<(String, String), Vec<String>>>,
    /// Gateways of our classes.
    pub gateways: Vec<GatewayView>,
    /// Rules of routes, in the order in which they are tried at each place.
    pub routes: Vec<RouteView>,
    /// Statuses of objects.
    pub objects: Vec<StatusView>,
    /// Waypoints that are configured.
    pub waypoints: Vec<WaypointView>,
    /// What the Envoys of one of them are sent.
    pub config: Vec<ConfigView>,
}

/// The workloads of one node of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NodeSummary<'a> {
    /// Its name.
    pub name: &'a str,
    /// Region of its workloads; empty if it has none.
    pub region: &'a str,
    /// Zone of its workloads; empty if it has none.
    pub zone: &'a str,
    /// How many workloads it has.
    pub workloads: usize,
    /// How many of them take HBONE.
    pub enrolled: usize,
}

impl Resources {
    /// Returns the namespaces that hold something.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        let workloads = self.workloads.iter().map(|w| w.namespace.as_str());
        let services = self.services.iter().map(|s| s.namespace.as_str());
        let policies = self.policies.iter().map(|p| p.namespace.as_str());
        let judged = self.statuses.iter().flatten().map(|((namespace, _), _)| namespace.as_str());
        let gateways = self.gateways.iter().map(|of| of.namespace.as_str());
        let routes = self.routes.iter().map(|of| of.namespace.as_str());
        let objects = self.objects.iter().map(|of| of.metadata.namespace.as_str());
        let waypoints = self.waypoints.iter().map(|of| of.namespace.as_str());
        let sent = workloads.chain(services).chain(policies).chain(judged).chain(waypoints);
        sent.chain(gateways).chain(routes).chain(objects).filter(|ns| !ns.is_empty()).collect()
    }

    /// Returns how many resources of a view a namespace has.
    pub fn count(&self, view: View, namespace: &str) -> usize {
        match view {
            View::Workloads => self.workloads.iter().filter(|w| w.namespace == namespace).count(),
            View::Services => self.services.iter().filter(|s| s.namespace == namespace).count(),
            View::Policies => {
                let judged = self.statuses.iter().flatten().filter(|((ns, _), _)| ns == namespace).count();
                judged.max(self.policies.iter().filter(|p| p.namespace == namespace).count())
            }
            View::Nodes => self.nodes(Some(namespace)).len(),
            View::Gateways => self.gateways.iter().filter(|of| of.namespace == namespace).count(),
            View::Routes => self.routes.iter().filter(|of| of.namespace == namespace).count(),
            View::Status => self.objects.iter().filter(|of| of.metadata.namespace == namespace).count(),
            View::Waypoints => self.waypoints.iter().filter(|of| of.namespace == namespace).count(),
            View::Config => self.config.len(),
        }
    }

    /// Returns the nodes that have workloads, by name; workloads without a node are on none.
    ///
    /// With a namespace only its workloads count.
    pub fn nodes(&self, namespace: Option<&str>) -> Vec<NodeSummary<'_>> {
        let mut nodes: BTreeMap<&str, NodeSummary<'_>> = BTreeMap::new();
        let counted = self.workloads.iter().filter(|w| namespace.is_none_or(|ns| ns == w.namespace));
        for workload in counted.filter(|w| !w.node.is_empty()) {
            let node = nodes.entry(&workload.node).or_default();
            node.name = &workload.node;
            if let Some(locality) = &workload.locality {
                (node.region, node.zone) = (&locality.region, &locality.zone);
            }
            node.workloads += 1;
            node.enrolled += usize::from(is_enrolled(workload));
        }
        nodes.into_values().collect()
    }
}

/// Tells whether a workload takes HBONE.
pub fn is_enrolled(workload: &Workload) -> bool {
    workload.tunnel_protocol() == proto::workload::TunnelProtocol::Hbone
}

/// Writes an IP address of 4 or 16 bytes as text; of other bytes how many there are.
pub fn ip(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    match v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)) {
        Ok(ip) => ip.to_string(),
        Err(_) => format!("({} bytes)", bytes.len()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn workload(namespace: &str, name: &str, node: &str, hbone: bool) -> Vec<u8> {
        let workload = Workload {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: node.to_owned(),
            tunnel_protocol: i32::from(hbone),
            ..Workload::default()
        };
        Address { r#type: Some(Type::Workload(workload)) }.encode_to_vec()
    }

    #[test]
    fn resources_are_ordered_by_namespace_and_name_whatever_their_names_on_the_wire() {
        let mut collector = Collector::default();
        collector.put(type_url::ADDRESS, "1", &workload("b", "x", "", false)).unwrap();
        collector.put(type_url::ADDRESS, "2", &workload("a", "y", "", false)).unwrap();
        collector.put(type_url::ADDRESS, "3", &workload("a", "x", "", false)).unwrap();
        collector.put(type_url::ADDRESS, "gone", &workload("a", "z", "", false)).unwrap();
        collector.remove(type_url::ADDRESS, "gone");
        let all = collector.finish();
        let names: Vec<_> = all.workloads.iter().map(|w| format!("{}/{}", w.namespace, w.name)).collect();
        assert_eq!(names, ["a/x", "a/y", "b/x"]);
    }

    #[test]
    fn nodes_count_their_workloads_and_those_that_take_hbone() {
        let mut collector = Collector::default();
        for (n, (namespace, node, hbone)) in
            [("a", "n2", true), ("a", "n1", false), ("b", "n2", false), ("a", "", true)]
                .into_iter()
                .enumerate()
        {
            let body = workload(namespace, "w", node, hbone);
            collector.put(type_url::ADDRESS, &n.to_string(), &body).unwrap();
        }
        let all = collector.finish();
        let counts = |namespace| {
            let nodes = all.nodes(namespace);
            nodes.iter().map(|n| (n.name.to_owned(), n.workloads, n.enrolled)).collect::<Vec<_>>()
        };
        assert_eq!(counts(None), [("n1".to_owned(), 1, 0), ("n2".to_owned(), 2, 1)]);
        assert_eq!(counts(Some("b")), [("n2".to_owned(), 1, 0)]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = Collector::default().put(type_url::ADDRESS, "a/b", b"\xff").unwrap_err();
        assert!(error.to_string().starts_with("the resource a/b cannot be read: "), "{error}");
        assert!(Collector::default().put("x/Other", "a", b"").is_err());
    }

    #[test]
    fn bytes_that_are_no_address_are_counted() {
        assert_eq!([ip(&[10, 0, 0, 1]), ip(&[0; 16]), ip(&[1])], ["10.0.0.1", "::", "(1 bytes)"]);
    }
}
