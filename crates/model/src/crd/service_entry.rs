use super::status::{StatusCondition, ValidationMessage, WholeNumber};
use super::{LabelValue, PortNumber, WorkloadEntrySpec};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// A service that is no Kubernetes Service.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.workloadSelector) && has(self.endpoints))",
        "message": "give endpoints or a workloadSelector, not both"
    },
    {
        "rule": "!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] || !self.addresses.exists(address, address.contains('/'))",
        "message": "networks as addresses need the resolution NONE or STATIC"
    },
    {
        "rule": "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
        "message": "endpoints need a resolution other than NONE"
    },
    {
        "rule": "!has(self.endpoints) || !has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || self.endpoints.size() <= 1",
        "message": "the resolution DNS_ROUND_ROBIN has at most one endpoint"
    }
]))]
pub struct ServiceEntrySpec {
    /// The host names of the service.
    #[schemars(length(min = 1, max = 256))]
    pub hosts: Vec<EntryHost>,
    /// Addresses or networks by which the service is reached.
    #[schemars(length(max = 256))]
    pub addresses: Option<Vec<EntryIp>>,
    /// The ports of the service.
    #[schemars(length(max = 256), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [
            {"rule": "self.all(a, self.exists_one(b, a.number == b.number))", "message": "each port has a number of its own"}
        ]
    ))]
    pub ports: Option<Vec<EntryPort>>,
    /// Whether the service is part of the mesh; `MESH_EXTERNAL` if not given.
    pub location: Option<EntryLocation>,
    /// How the workloads are found; `NONE` if not given.
    pub resolution: Option<EntryResolution>,
    /// The workloads of the service.
    #[schemars(length(max = 4096))]
    pub endpoints: Option<Vec<WorkloadEntrySpec>>,
    /// Selects the workloads of the service, pods and workload entries, in its namespace.
    pub workload_selector: Option<EntrySelector>,
    /// The namespaces that see the service; waypoints only.
    pub export_to: Option<Vec<String>>,
    /// Names that the certificate of the service may have.
    pub subject_alt_names: Option<Vec<String>>,
}

/// A host name, perhaps with a wildcard for its first label.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self != '*'", "message": "a service cannot be every host"}
]))]
pub struct EntryHost(pub String);

/// An address, or a network such as `10.1.0.0/16`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct EntryIp(#[schemars(length(max = 64))] pub String);

/// A port of a service.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct EntryPort {
    /// The port of the service.
    pub number: PortNumber,
    /// The name.
    #[schemars(length(max = 256))]
    pub name: String,
    /// The protocol, such as `HTTP`, `TLS` or `TCP`.
    #[schemars(length(max = 256))]
    pub protocol: Option<String>,
    /// The port of the workloads; `number` if not given.
    pub target_port: Option<PortNumber>,
}

/// Selects workloads.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
pub struct EntrySelector {
    /// Labels that a workload must all have.
    #[schemars(extend("maxProperties" = 256))]
    pub labels: Option<BTreeMap<String, LabelValue>>,
}

/// Whether a service is part of the mesh.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryLocation {
    /// it is not
    MeshExternal,
    /// it is
    MeshInternal,
}

/// How the workloads of a service are found.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryResolution {
    /// by the address that the client already knows
    None,
    /// by the addresses of the endpoints
    Static,
    /// by asking DNS for all addresses
    Dns,
    /// by asking DNS and taking the first address
    DnsRoundRobin,
    /// by asking DNS for the host of each request
    DynamicDns,
}

/// What was found about a `ServiceEntry`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ServiceEntryStatus {
    /// Conditions, one a type.
    pub conditions: Option<Vec<StatusCondition>>,
    /// Findings of a validator.
    pub validation_messages: Option<Vec<ValidationMessage>>,
    /// The generation of the object that the conditions speak of.
    pub observed_generation: Option<WholeNumber>,
    /// Addresses that were allocated for hosts that have none.
    pub addresses: Option<Vec<ServiceEntryStatusAddress>>,
}

/// An allocated address.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceEntryStatusAddress {
    /// The address.
    pub value: Option<String>,
    /// The host that it was allocated for.
    pub host: Option<String>,
}
