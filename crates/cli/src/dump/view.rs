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
}

impl View {
    /// Returns the word for several of it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Services => "services",
            Self::Policies => "policies",
            Self::Nodes => "workloads on nodes",
        }
    }
}
