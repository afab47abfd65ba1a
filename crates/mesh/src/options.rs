//! What the operator of this control plane chose at start.

use std::collections::BTreeSet;
use std::str::FromStr;

/// Which endpoints of a service clients prefer (Kubernetes: `spec.trafficDistribution`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrafficDistribution {
    /// Those in the client's zone, then in its region, then in its network.
    SameZone,
    /// Those on the client's node, then as above.
    SameNode,
}

impl FromStr for TrafficDistribution {
    type Err = String;

    /// Reads a value as annotations have it, in any case.
    ///
    /// # Errors
    /// What to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "prefersamezone" | "preferclose" => Ok(Self::SameZone),
            "prefersamenode" => Ok(Self::SameNode),
            _ => Err("write PreferSameZone or PreferSameNode".to_owned()),
        }
    }
}

/// What gateways and waypoints are deployed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    /// The image of Envoy.
    pub envoy_image: String,
    /// The image of this program, which writes the bootstrap of an Envoy.
    pub pilothouse_image: String,
    /// The ConfigMap with the roots of the mesh in every namespace.
    pub root_config_map: String,
    /// Whether nothing is deployed for classes whose proxies nobody configures.
    pub configured_only: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            envoy_image: "envoyproxy/envoy:distroless-v1.40.0".to_owned(),
            pilothouse_image: concat!("pilothouse:", env!("CARGO_PKG_VERSION")).to_owned(),
            root_config_map: "istio-ca-root-cert".to_owned(),
            configured_only: false,
        }
    }
}

/// Settings that do not change while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the local cluster, part of every workload's uid.
    pub cluster_id: String,
    /// The namespace of the control plane, which holds the ConfigMap `istio`.
    pub system_namespace: String,
    /// The revision served: policies and entries labelled `istio.io/rev` with another one are not
    /// ours. Empty serves every revision.
    pub revision: String,
    /// Whether objects that name no revision are owned by this one: their statuses are written here. Unless
    /// set, they are where this one has no name.
    pub owns_unlabelled: Option<bool>,
    /// Domain under which services have their hostnames.
    pub domain_suffix: String,
    /// Whether policies in dry run are sent; only ztunnels from 1.29 on heed the mark.
    pub dry_run_policies: bool,
    /// Whether workloads behind a waypoint list a policy that allows that waypoint's accounts.
    pub allow_waypoints: bool,
    /// Whether what did not come through its waypoint is refused, where no annotation says otherwise.
    pub require_waypoints: bool,
    /// The distribution of services that choose none, nor their namespace.
    pub traffic_distribution: Option<TrafficDistribution>,
    /// Whether hosts without an address have the one that their entry's status gives them.
    pub allocates_addresses: bool,
    /// Whether ServiceEntries select pods.
    pub entries_select_pods: bool,
    /// Whether Services select WorkloadEntries.
    pub services_select_entries: bool,
    /// Whether workloads of other networks are summed up behind the gateways of those networks.
    pub multi_network: bool,
    /// The namespaces whose Gateways may declare gateways of other networks, beside that of the control plane; `*` stands
    /// for all.
    pub network_gateway_namespaces: Vec<String>,
    /// Whether listeners and routes of the Gateway API are resolved.
    pub gateway_api: bool,
    /// Whether waypoints of our classes are configured: it needs `gateway_api`.
    pub configures_waypoints: bool,
    /// Whether all workloads are on one machine, so that waypoints may send to loopback addresses.
    pub is_one_machine: bool,
    /// How many combinations of labels an Envoy counts by; beyond, nothing new is counted.
    pub metric_label_sets: u32,
    /// What gateways are deployed with; `None` where somebody else deploys them.
    pub proxies: Option<ProxyOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_id: "Kubernetes".to_owned(),
            system_namespace: "istio-system".to_owned(),
            revision: String::new(),
            owns_unlabelled: None,
            domain_suffix: "cluster.local".to_owned(),
            dry_run_policies: false,
            allow_waypoints: false,
            require_waypoints: false,
            traffic_distribution: None,
            allocates_addresses: true,
            entries_select_pods: true,
            services_select_entries: true,
            multi_network: false,
            network_gateway_namespaces: Vec::new(),
            gateway_api: false,
            configures_waypoints: false,
            is_one_machine: false,
            metric_label_sets: 20_000,
            proxies: None,
        }
    }
}

impl Options {
    /// Returns which namespaces may declare gateways of other networks.
    pub(crate) fn network_gateways(&self) -> impl Fn(&str) -> bool + Send + use<> {
        let named: BTreeSet<String> = self.network_gateway_namespaces.iter().cloned().collect();
        let (is_all, system) = (named.contains("*"), self.system_namespace.clone());
        move |namespace| is_all || namespace == system || named.contains(namespace)
    }
}
