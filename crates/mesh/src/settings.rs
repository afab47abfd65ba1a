//! Mesh settings, cut into the parts that different rows read.

use engine::{Builder, Graph, Table};
use model::facts::{
    AccessLog, CaCertificate, DefaultProviders, ExtensionProvider, GatewayTopology, LocalitySetting,
    MeshSettings, Meta, PathNormalization, ServiceScope, TelemetryProvider, TracingDefaults, Visibility,
    VisibilityPolicy,
};
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Selector, Severity, Str, TrustDomain, shared};
use output::Outputs;

use crate::Options;
use crate::input::Inputs;

/// The label that names a network, on the system namespace and on gateways.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";

/// The mesh settings that identities depend on. All are valid: settings that are not leave the last good
/// ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustSettings {
    /// The trust domain of all identities, as proxies are told it.
    pub trust_domain: TrustDomain,
    /// Further trust domains of this mesh, sorted.
    pub aliases: Vec<TrustDomain>,
    /// The host that proxies are told to find their control plane at; empty where none is set.
    pub discovery_host: Str,
    /// The roots of external signers.
    pub ca_certificates: Vec<CaCertificate>,
}

/// One row for each setting that something reads, so that a change reaches only its readers.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub root_namespace: Table<(), Ns>,
    /// As in identities.
    pub trust_domain: Table<(), TrustDomain>,
    /// What identities depend on.
    pub trust: Table<(), TrustSettings>,
    /// The host that proxies are told to find their control plane at; empty where none is set.
    pub discovery_host: Table<(), Str>,
    /// As sent with workloads: empty for the default `cluster.local`.
    pub sent_trust_domain: Table<(), Str>,
    pub discovery: Table<(), Vec<Selector>>,
    /// The local cluster's network.
    pub network: Table<(), Str>,
    /// Who sees services from ServiceEntries; `None` when not configured.
    pub visibility: Table<(), Option<(Visibility, Vec<VisibilityPolicy>)>>,
    /// Which services are for every network: those that one of these matches. An entry with scope
    /// LOCAL takes nothing back, so none is here.
    pub global_scopes: Table<(), Vec<ServiceScope>>,
    /// Who may decide about requests.
    pub extension_providers: Table<(), Vec<ExtensionProvider>>,
    /// Who may get access logs, metrics and spans.
    pub telemetry_providers: Table<(), Vec<TelemetryProvider>>,
    /// Who gets them where no `Telemetry` says it, and how traces are made.
    pub telemetry_defaults: Table<(), (DefaultProviders, TracingDefaults)>,
    /// How waypoints normalise paths.
    pub path_normalization: Table<(), PathNormalization>,
    /// What Envoys write of requests and streams; `None` for nothing.
    pub access_log: Table<(), Option<AccessLog>>,
    /// What is in front of gateways at the edge.
    pub gateway_topology: Table<(), GatewayTopology>,
    /// Which endpoints waypoints prefer by where they are, where nothing else says it.
    pub locality: Table<(), LocalitySetting>,
}

impl Settings {
    pub fn declare(
        b: &mut Builder,
        out: &mut Outputs,
        inputs: Inputs,
        options: &Options,
        is_ours: impl Fn(&Meta) -> bool + Send + 'static,
    ) -> Self {
        let Inputs { configmaps: maps, namespaces, .. } = inputs;
        let map = map_name(options);
        let own_map = map.clone();
        let all = b.single("mesh_settings", move |cx| {
            cx.get(maps, &map).map_or_else(MeshSettings::default, |m| (*m).clone())
        });
        let part = |all: Option<std::sync::Arc<MeshSettings>>| all.unwrap_or_default();
        let system = Ns::own(&options.system_namespace);
        let root_namespace =
            b.single("root_namespace", move |cx| Ns::own(&part(cx.single(all)).root_namespace));
        let discovery =
            b.single("discovery_selectors", move |cx| part(cx.single(all)).discovery_selectors.clone());
        out.findings(move |graph| {
            let root = graph.get(root_namespace, &());
            let found = root.and_then(|root| {
                let labels = graph.get(namespaces, &*root).map(|n| n.labels.clone()).unwrap_or_default();
                if is_discovered(&graph.get(discovery, &())?, &labels) {
                    return None;
                }
                let of = |kind, name| ObjectRef { kind, name };
                let policies =
                    graph.rows(inputs.authorizationpolicies).into_iter().filter(|(_, p)| is_ours(&p.meta));
                let policies = policies.map(|(name, _)| of(Kind::AuthorizationPolicy, name));
                let peers =
                    graph.rows(inputs.peerauthentications).into_iter().filter(|(_, p)| is_ours(&p.meta));
                let peers = peers.map(|(name, _)| of(Kind::PeerAuthentication, name));
                let first = policies.chain(peers).find(|policy| policy.name.ns == *root)?;
                Some(root_left_out(own_map.clone(), &root, &first))
            });
            found.into_iter().collect()
        });
        out.diagnostics(b, "settings_findings", maps, |_, settings: &MeshSettings| {
            let refused = settings.refused.iter().map(|of| &of.diagnostic);
            refused.chain(&settings.unread).cloned().collect::<Vec<_>>()
        });
        let trust = b.single("trust_settings", move |cx| {
            let all = part(cx.single(all));
            TrustSettings {
                trust_domain: all.trust_domain.clone(),
                aliases: all.trust_domain_aliases.clone(),
                discovery_host: all.discovery_host.clone(),
                ca_certificates: all.ca_certificates.clone(),
            }
        });
        Self {
            root_namespace,
            discovery,
            trust,
            discovery_host: b.single("discovery_host", move |cx| {
                cx.single(trust).map(|trust| trust.discovery_host.clone()).unwrap_or_default()
            }),
            trust_domain: b.single("trust_domain", move |cx| {
                cx.single(trust).map(|trust| trust.trust_domain.clone()).unwrap_or_default()
            }),
            sent_trust_domain: b.single("sent_trust_domain", move |cx| {
                let domain = cx.single(trust).map(|trust| trust.trust_domain.clone()).unwrap_or_default();
                if domain == TrustDomain::default() { Str::new() } else { shared(domain.as_str()) }
            }),
            visibility: b.single("service_entry_visibility", move |cx| {
                part(cx.single(all)).service_entry_visibility.clone()
            }),
            global_scopes: b.single("global_scopes", move |cx| {
                part(cx.single(all)).service_scopes.iter().filter(|s| s.global).cloned().collect()
            }),
            extension_providers: b
                .single("extension_providers", move |cx| part(cx.single(all)).extension_providers.clone()),
            telemetry_providers: b
                .single("telemetry_providers", move |cx| part(cx.single(all)).telemetry_providers.clone()),
            telemetry_defaults: b.single("telemetry_defaults", move |cx| {
                let all = part(cx.single(all));
                (all.default_providers.clone(), all.tracing_defaults)
            }),
            path_normalization: b
                .single("path_normalization", move |cx| part(cx.single(all)).path_normalization),
            access_log: b.single("access_log", move |cx| part(cx.single(all)).access_log.clone()),
            gateway_topology: b.single("gateway_topology", move |cx| part(cx.single(all)).gateway_topology),
            locality: b.single("locality_setting", move |cx| part(cx.single(all)).locality.clone()),
            network: b.single("network", move |cx| {
                let labels = cx.get(namespaces, &system).map(|n| n.labels.clone()).unwrap_or_default();
                labels.get(NETWORK_LABEL).cloned().unwrap_or_default()
            }),
        }
    }
}

/// Tells whether discovery selectors let a namespace with these labels in: without any, all are in.
pub(crate) fn is_discovered(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || selectors.iter().any(|s| s.matches(labels))
}

/// Codes of the diagnostics that arise here.
mod code {
    /// Policies of the root namespace are left out with it.
    pub(super) const ROOT_LEFT_OUT: &str = "MS004";
}

/// Returns what the author of the settings `map` should know where the root namespace is left out of
/// discovery and has policies, such as `first`: they hold for nobody, and nothing else says so.
fn root_left_out(map: Name, root: &Ns, first: &ObjectRef) -> Diagnostic {
    Diagnostic {
        code: code::ROOT_LEFT_OUT,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::ConfigMap, name: map }),
        field: "data.mesh.discoverySelectors".to_owned(),
        message: format!("no selector matches the root namespace {:?}, so {first} is not in force", &**root),
        help: "label the namespace so that one matches: its policies are for the whole mesh".to_owned(),
        place: None,
    }
}

/// Returns why the mesh cannot be served by the settings at hand, which nothing stands in for: they cannot
/// be read, or their trust domain or root namespace is refused, and there are no last good ones.
pub(crate) fn unusable(graph: &Graph, inputs: Inputs, options: &Options) -> Option<Diagnostic> {
    let map = map_name(options);
    match graph.get(inputs.configmaps, &map) {
        Some(settings) => settings.unusable().cloned(),
        None => {
            let of = ObjectRef { kind: Kind::ConfigMap, name: map };
            graph.get(inputs.rejected, &of).map(|why| (*why).clone())
        }
    }
}

/// Returns which ConfigMap holds the mesh settings.
fn map_name(options: &Options) -> Name {
    Name::new(&options.system_namespace, &config_map(&options.revision))
}

/// Returns the name of the ConfigMap that holds the mesh settings of a revision.
pub fn config_map(revision: &str) -> String {
    if revision.is_empty() || revision == "default" {
        "istio".to_owned()
    } else {
        format!("istio-{revision}")
    }
}
