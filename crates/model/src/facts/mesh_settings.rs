use super::{
    AccessLog, DefaultProviders, ExtensionProvider, Facts, LocalitySetting, TelemetryProvider,
    TracingDefaults,
};
use crate::{Diagnostic, Name, Selector, Str, TrustDomain};

/// Visibility of a service to ztunnels (`serviceEntryVisibility`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Visibility {
    /// `PUBLIC`, and `UNSPECIFIED`.
    #[default]
    Public,
    /// `NAMESPACE`.
    Namespace,
    /// `NONE`: not sent.
    None,
}

/// One matcher of a visibility policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MatchingRule {
    /// `namespaceSelector`.
    Namespace(Selector),
    /// A matcher that is not known: never matches.
    Unknown,
}

/// An entry of `serviceEntryVisibility.policies`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VisibilityPolicy {
    /// What it gives.
    pub visibility: Visibility,
    /// All of these must match.
    pub rules: Vec<MatchingRule>,
}

/// An entry of `serviceScopeConfigs`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceScope {
    /// `namespaceSelector`; missing matches everything.
    pub namespaces: Selector,
    /// `servicesSelector`; missing matches everything.
    pub services: Selector,
    /// `scope` is `GLOBAL`.
    pub global: bool,
}

/// Roots of other authorities, from `caCertificates`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaCertificate {
    /// Certificates in PEM; not read here.
    pub pem: Str,
    /// `certSigners`: the signers whose roots they are, as in `domain.example/name`.
    pub signers: Vec<Str>,
}

/// How paths of requests are normalised before anything looks at them (`pathNormalization`). Each does what the one
/// before it does, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum PathNormalization {
    /// `NONE`: not at all.
    None,
    /// `BASE`: by RFC 3986, so `..` is gone and what needs no escape has none.
    Base,
    /// `MERGE_SLASHES`: many slashes are one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: escaped slashes are slashes. The default, and `DEFAULT`: what a policy says of a
    /// path holds for whatever a server may take for that path.
    #[default]
    DecodeAndMergeSlashes,
}

impl PathNormalization {
    /// Tells whether many slashes are made one.
    pub fn merges_slashes(self) -> bool {
        self >= Self::MergeSlashes
    }

    /// Tells whether escaped slashes are made slashes.
    pub fn decodes_slashes(self) -> bool {
        self >= Self::DecodeAndMergeSlashes
    }
}

/// A part of the mesh settings: a field of `MeshConfig` that is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SettingsPart {
    /// `rootNamespace`.
    RootNamespace,
    /// `trustDomain`.
    TrustDomain,
    /// `trustDomainAliases`.
    TrustDomainAliases,
    /// `defaultConfig`.
    DefaultConfig,
    /// `discoverySelectors`.
    DiscoverySelectors,
    /// `serviceScopeConfigs`.
    ServiceScopeConfigs,
    /// `serviceEntryVisibility`.
    ServiceEntryVisibility,
    /// `caCertificates`.
    CaCertificates,
    /// `pathNormalization`.
    PathNormalization,
    /// `extensionProviders`.
    ExtensionProviders,
    /// `defaultProviders`.
    DefaultProviders,
    /// `accessLogFile`, `accessLogFormat` and `accessLogEncoding`.
    AccessLog,
    /// `localityLbSetting`.
    LocalityLbSetting,
}

impl SettingsPart {
    /// Tells whether nothing can stand in for the part: what all identities have, and where the policies of
    /// the mesh are.
    pub fn is_essential(self) -> bool {
        matches!(self, Self::RootNamespace | Self::TrustDomain)
    }
}

/// What is in front of gateways at the edge (`defaultConfig.gatewayTopology`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GatewayTopology {
    /// `numTrustedProxies`: how many proxies are in front whose `x-forwarded-for` is believed.
    pub trusted_proxies: u32,
    /// `forwardClientCertDetails`.
    pub client_certificates: ForwardedCertificates,
    /// `proxyProtocol`: connections begin with the address of the client, by the PROXY protocol.
    pub has_proxy_protocol: bool,
}

/// What becomes of `x-forwarded-client-cert` at gateways at the edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ForwardedCertificates {
    /// `SANITIZE`: it is removed.
    Removed,
    /// `FORWARD_ONLY`: that of a client with a certificate is left as it is.
    Kept,
    /// `APPEND_FORWARD`: the client's certificate is told after what it says.
    Appended,
    /// `SANITIZE_SET`, and where nothing is said: the client's certificate is told, and nothing else.
    #[default]
    Set,
    /// `ALWAYS_FORWARD_ONLY`: it is left as it is.
    AlwaysKept,
}

/// A part of the mesh settings that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedPart {
    /// Which one.
    pub part: SettingsPart,
    /// Whether its last good value is in use; if not, what stands in for it.
    pub has_last: bool,
    /// What is wrong with it.
    pub diagnostic: Diagnostic,
}

/// Mesh settings: key `mesh` of the ConfigMap `istio` over the defaults of `MeshConfig`.
///
/// A part that is refused has its last good value, once [`MeshSettings::keep`] was told of it; without one
/// it has what fails closed: the default, and for `serviceEntryVisibility` that no entry is seen outside of
/// its namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeshSettings {
    /// Name of the ConfigMap.
    pub name: Name,
    /// `rootNamespace`.
    pub root_namespace: Str,
    /// `trustDomain`.
    pub trust_domain: TrustDomain,
    /// `trustDomainAliases`, sorted.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The host of `defaultConfig.discoveryAddress`, where proxies find their control plane; empty where
    /// none is set.
    pub discovery_host: Str,
    /// `defaultConfig.gatewayTopology`.
    pub gateway_topology: GatewayTopology,
    /// `discoverySelectors`; empty means every namespace.
    pub discovery_selectors: Vec<Selector>,
    /// `serviceScopeConfigs`, in order.
    pub service_scopes: Vec<ServiceScope>,
    /// `serviceEntryVisibility`; `None` when not configured.
    pub service_entry_visibility: Option<(Visibility, Vec<VisibilityPolicy>)>,
    /// `caCertificates` with text that are some signer's, in order.
    pub ca_certificates: Vec<CaCertificate>,
    /// `pathNormalization`.
    pub path_normalization: PathNormalization,
    /// `extensionProviders`, in order: those that decide about requests.
    pub extension_providers: Vec<ExtensionProvider>,
    /// `extensionProviders`, in order: those that get access logs, metrics or spans.
    pub telemetry_providers: Vec<TelemetryProvider>,
    /// `defaultProviders`.
    pub default_providers: DefaultProviders,
    /// `defaultConfig.tracing`.
    pub tracing_defaults: TracingDefaults,
    /// `accessLogFile` and what is written there; `None` where nothing is.
    pub access_log: Option<AccessLog>,
    /// `localityLbSetting`.
    pub locality: LocalitySetting,
    /// The parts that are refused.
    pub refused: Vec<RefusedPart>,
    /// What is told of fields that are not read.
    pub unread: Vec<Diagnostic>,
}

impl MeshSettings {
    /// Returns the settings with the parts that are refused as `last` has them, the settings in use.
    #[must_use]
    pub fn keep(mut self, last: &Self) -> Self {
        let mut refused = std::mem::take(&mut self.refused);
        for RefusedPart { part, has_last, .. } in &mut refused {
            *has_last = last.refused.iter().find(|of| of.part == *part).is_none_or(|of| of.has_last);
            match part {
                SettingsPart::RootNamespace => self.root_namespace.clone_from(&last.root_namespace),
                SettingsPart::TrustDomain => self.trust_domain.clone_from(&last.trust_domain),
                SettingsPart::TrustDomainAliases => {
                    self.trust_domain_aliases.clone_from(&last.trust_domain_aliases);
                }
                SettingsPart::DefaultConfig => {
                    self.discovery_host.clone_from(&last.discovery_host);
                    self.gateway_topology = last.gateway_topology;
                    self.tracing_defaults = last.tracing_defaults;
                }
                SettingsPart::DiscoverySelectors => {
                    self.discovery_selectors.clone_from(&last.discovery_selectors);
                }
                SettingsPart::ServiceScopeConfigs => self.service_scopes.clone_from(&last.service_scopes),
                SettingsPart::ServiceEntryVisibility => {
                    self.service_entry_visibility.clone_from(&last.service_entry_visibility);
                }
                SettingsPart::CaCertificates => self.ca_certificates.clone_from(&last.ca_certificates),
                SettingsPart::PathNormalization => self.path_normalization = last.path_normalization,
                SettingsPart::ExtensionProviders => {
                    self.extension_providers.clone_from(&last.extension_providers);
                    self.telemetry_providers.clone_from(&last.telemetry_providers);
                }
                SettingsPart::DefaultProviders => self.default_providers.clone_from(&last.default_providers),
                SettingsPart::AccessLog => self.access_log.clone_from(&last.access_log),
                SettingsPart::LocalityLbSetting => self.locality.clone_from(&last.locality),
            }
        }
        Self { refused, ..self }
    }

    /// Returns why the mesh cannot be served by these settings: an essential part is refused, and there is
    /// no last good value of it.
    pub fn unusable(&self) -> Option<&Diagnostic> {
        let missing = self.refused.iter().find(|of| of.part.is_essential() && !of.has_last);
        missing.map(|of| &of.diagnostic)
    }
}

impl Facts for MeshSettings {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            name: Name::default(),
            root_namespace: crate::shared("istio-system"),
            trust_domain: TrustDomain::default(),
            trust_domain_aliases: Vec::new(),
            discovery_host: Str::new(),
            gateway_topology: GatewayTopology::default(),
            discovery_selectors: Vec::new(),
            service_scopes: Vec::new(),
            service_entry_visibility: None,
            ca_certificates: Vec::new(),
            path_normalization: PathNormalization::default(),
            extension_providers: Vec::new(),
            telemetry_providers: Vec::new(),
            default_providers: DefaultProviders::default(),
            tracing_defaults: TracingDefaults::default(),
            access_log: None,
            locality: LocalitySetting::default(),
            refused: Vec::new(),
            unread: Vec::new(),
        }
    }
}
