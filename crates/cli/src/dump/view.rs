//! What can be printed.

use clap::ValueEnum;

/// What of the mesh is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum View {
    /// Pods, and endpoints that are no pods
    #[value(aliases = ["workload", "pods", "pod", "po"])]
    Workloads,
    /// Services
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Policies that ztunnels enforce
    #[value(aliases = ["policy", "authorizationpolicies", "authorizationpolicy"])]
    Policies,
    /// Nodes of the cluster that have workloads
    #[value(aliases = ["node", "no"])]
    Nodes,
    /// Gateways and waypoints: addresses, listeners, what is deployed for them
    #[value(aliases = ["gateway", "gw"])]
    Gateways,
    /// Rules of routes, each as a sentence where it is tried, and parents that do not take a route
    #[value(aliases = ["route", "httproutes", "httproute"])]
    Routes,
    /// Statuses of objects, of all kinds or of one
    #[value(aliases = ["statuses", "conditions"])]
    Status,
    /// Waypoints and gateways at the edge: their services, the size of their configuration, and replicas with what they have acknowledged
    #[value(aliases = ["waypoint", "wp"])]
    Waypoints,
    /// What the Envoys of a waypoint or gateway are sent
    #[value(aliases = ["configuration"])]
    Config,
}

impl View {
    /// Tells whether a control plane shows it on its monitoring port; the rest is what ztunnels are told.
    pub fn is_on_pages(self) -> bool {
        matches!(self, Self::Gateways | Self::Routes | Self::Status | Self::Waypoints | Self::Config)
    }

    /// Returns the word for several of it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Services => "services",
            Self::Policies => "policies",
            Self::Nodes => "workloads on nodes",
            Self::Gateways => "gateways",
            Self::Routes => "routes",
            Self::Status => "statuses",
            Self::Waypoints => "waypoints",
            Self::Config => "resources of waypoints",
        }
    }
}
