use super::PolicySelector;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// Whether the workloads that are selected accept plain text.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
        "message": "modes of single ports need a selector with labels"
    }
]))]
pub struct PeerAuthenticationSpec {
    /// The workloads concerned. Without it, all of the namespace; in the root namespace, all of the
    /// mesh.
    pub selector: Option<PolicySelector>,
    /// The mode for all ports that have none of their own.
    pub mtls: Option<MutualTls>,
    /// Modes of single ports, by the number of the port of the workload.
    #[schemars(extend("minProperties" = 1, "x-kubernetes-validations" = [
        {"rule": "self.all(port, port.matches('^[+]?[0-9]+$') && int(port) >= 1 && int(port) <= 65535)", "message": "a port is a number from 1 to 65535"}
    ]))]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// Mutual TLS.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
pub struct MutualTls {
    /// What is accepted; `UNSET` if not given.
    pub mode: Option<MutualTlsMode>,
}

/// What is accepted.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "UPPERCASE")]
pub enum MutualTlsMode {
    /// what the wider policy says; without one, `PERMISSIVE`
    Unset,
    /// plain text only
    Disable,
    /// both
    Permissive,
    /// mutual TLS only
    Strict,
}
