//! What of the settings of a mesh is in what all gateways are sent.

use engine::{Builder, Cx, Table};
use model::TrustDomain;
use model::facts::{AccessLog, GatewayTopology, PathNormalization};

/// Where settings are found.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    normalization: Table<(), PathNormalization>,
    access_log: Table<(), Option<AccessLog>>,
    gateway_topology: Table<(), GatewayTopology>,
    trust_domain: Table<(), TrustDomain>,
    trust_domains: Table<(), Vec<TrustDomain>>,
    /// How many combinations of labels are counted.
    pub label_sets: u32,
}

impl Settings {
    pub fn declare(b: &mut Builder, mesh: &mesh::Tables) -> Self {
        let trust = mesh.identity.settings;
        Self {
            normalization: mesh.path_normalization,
            access_log: mesh.access_log,
            gateway_topology: mesh.gateway_topology,
            trust_domain: b.single("gateway_trust_domain", move |cx| {
                cx.single(trust).map(|trust| trust.trust_domain.clone()).unwrap_or_default()
            }),
            trust_domains: b.single("gateway_trust_domains", move |cx| {
                let trust = cx.single(trust);
                let all =
                    trust.iter().flat_map(|trust| std::iter::once(&trust.trust_domain).chain(&trust.aliases));
                all.cloned().collect()
            }),
            label_sets: mesh.metric_label_sets,
        }
    }

    /// How paths are made alike.
    pub fn normalization(self, cx: &Cx<'_>) -> PathNormalization {
        cx.single(self.normalization).map(|of| *of).unwrap_or_default()
    }

    /// What is logged of traffic, if it is.
    pub fn access_log(self, cx: &Cx<'_>) -> Option<AccessLog> {
        cx.single(self.access_log).and_then(|log| (*log).clone())
    }

    /// What is in front of gateways at the edge.
    pub fn gateway_topology(self, cx: &Cx<'_>) -> GatewayTopology {
        cx.single(self.gateway_topology).map(|of| *of).unwrap_or_default()
    }

    /// That of identities.
    pub fn trust_domain(self, cx: &Cx<'_>) -> TrustDomain {
        cx.single(self.trust_domain).map(|own| (*own).clone()).unwrap_or_default()
    }

    /// Those of which certificates are taken.
    pub fn trust_domains(self, cx: &Cx<'_>) -> Vec<TrustDomain> {
        cx.single(self.trust_domains).map(|all| (*all).clone()).unwrap_or_default()
    }
}
