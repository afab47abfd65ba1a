//! What the operator of this control plane chose at start.

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
    /// Domain under which services have their hostnames.
    pub domain_suffix: String,
    /// Whether policies in dry run are sent; only ztunnels from 1.29 on heed the mark.
    pub dry_run_policies: bool,
    /// Whether workloads behind a waypoint list a policy that allows that waypoint's accounts.
    pub allow_waypoints: bool,
    /// Whether what did not come through its waypoint is refused, where no annotation says otherwise.
    pub require_waypoints: bool,
    /// Whether hosts without an address have the one that their entry's status gives them.
    pub allocates_addresses: bool,
    /// Whether ServiceEntries select pods.
    pub entries_select_pods: bool,
    /// Whether Services select WorkloadEntries.
    pub services_select_entries: bool,
    /// Whether workloads of other networks are summed up behind the gateways of those networks.
    pub multi_network: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_id: "Kubernetes".to_owned(),
            system_namespace: "istio-system".to_owned(),
            revision: String::new(),
            domain_suffix: "cluster.local".to_owned(),
            dry_run_policies: false,
            allow_waypoints: false,
            require_waypoints: false,
            allocates_addresses: true,
            entries_select_pods: true,
            services_select_entries: true,
            multi_network: false,
        }
    }
}
