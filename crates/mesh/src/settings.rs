//! Mesh settings, cut into the parts that different rows read.

use engine::{Builder, Table};
use model::facts::{MeshSettings, Namespace, Visibility, VisibilityPolicy};
use model::{Name, Selector, Str, shared};

use crate::Options;

/// The label that names a network, on the system namespace and on gateways.
pub(crate) const NETWORK_LABEL: &str = "topology.istio.io/network";

/// One row for each setting that something reads, so that a change reaches only its readers.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub root_namespace: Table<(), Str>,
    /// As in identities.
    pub trust_domain: Table<(), Str>,
    /// As sent with workloads: empty for the default `cluster.local`.
    pub sent_trust_domain: Table<(), Str>,
    pub discovery: Table<(), Vec<Selector>>,
    /// The local cluster's network.
    pub network: Table<(), Str>,
    /// Who sees services from ServiceEntries; `None` when not configured.
    pub visibility: Table<(), Option<(Visibility, Vec<VisibilityPolicy>)>>,
}

impl Settings {
    pub fn declare(
        b: &mut Builder,
        options: &Options,
        maps: Table<Name, MeshSettings>,
        namespaces: Table<Str, Namespace>,
    ) -> Self {
        let map = Name::new(&options.system_namespace, &config_map(&options.revision));
        let all = b.single("mesh_settings", move |cx| {
            cx.get(maps, &map).map_or_else(MeshSettings::default, |m| (*m).clone())
        });
        let part = |all: Option<std::sync::Arc<MeshSettings>>| all.unwrap_or_default();
        let system = shared(&options.system_namespace);
        Self {
            root_namespace: b.single("root_namespace", move |cx| part(cx.single(all)).root_namespace.clone()),
            trust_domain: b.single("trust_domain", move |cx| part(cx.single(all)).trust_domain.clone()),
            sent_trust_domain: b.single("sent_trust_domain", move |cx| {
                let domain = part(cx.single(all)).trust_domain.clone();
                if domain == "cluster.local" { Str::new() } else { domain }
            }),
            discovery: b
                .single("discovery_selectors", move |cx| part(cx.single(all)).discovery_selectors.clone()),
            visibility: b.single("service_entry_visibility", move |cx| {
                part(cx.single(all)).service_entry_visibility.clone()
            }),
            network: b.single("network", move |cx| {
                let labels = cx.get(namespaces, &system).map(|n| n.labels.clone()).unwrap_or_default();
                labels.get(NETWORK_LABEL).cloned().unwrap_or_default()
            }),
        }
    }
}

/// Returns the name of the ConfigMap that holds the mesh settings of a revision.
pub fn config_map(revision: &str) -> String {
    if revision.is_empty() || revision == "default" {
        "istio".to_owned()
    } else {
        format!("istio-{revision}")
    }
}
