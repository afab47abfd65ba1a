use schemars::JsonSchema;
use std::collections::BTreeMap;

/// A port.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortNumber(#[schemars(range(min = 1, max = 65535))] pub u32);

/// A workload that is no pod: where it is, and who it is.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {"rule": "has(self.address) || has(self.network)", "message": "give an address, or a network whose gateway leads to the workload"},
    {"rule": "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports)", "message": "a Unix socket has no ports"}
]))]
pub struct WorkloadEntrySpec {
    /// An IP address, a host name, or `unix://` and the absolute path of a socket.
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = [
        {
            "rule": "!self.startsWith('unix://') || self.startsWith('unix:///') || self.startsWith('unix://@')",
            "message": "the path of a Unix socket is absolute, or abstract with @"
        },
        {"rule": "!self.startsWith('unix://') || !self.endsWith('/')", "message": "a Unix socket is no folder"}
    ]))]
    pub address: Option<String>,
    /// Ports of the workload by the names of the ports of a service.
    #[schemars(extend("maxProperties" = 128, "x-kubernetes-validations" = [
        {
            "rule": "self.all(name, name.size() < 63 && name.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
            "message": "the name of a port has letters, digits and dashes, at most 62"
        }
    ]))]
    pub ports: Option<BTreeMap<String, PortNumber>>,
    /// Labels of the workload.
    #[schemars(extend("maxProperties" = 256))]
    pub labels: Option<BTreeMap<String, String>>,
    /// The network that the address belongs to; that of the cluster if not given.
    #[schemars(length(max = 2048))]
    pub network: Option<String>,
    /// Where the workload runs, as `region/zone/subzone`.
    #[schemars(length(max = 2048))]
    pub locality: Option<String>,
    /// The share of traffic among the workloads of a service.
    #[schemars(range(min = 0, max = 4294967295u32))]
    pub weight: Option<u32>,
    /// The service account that the workload runs as.
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}
