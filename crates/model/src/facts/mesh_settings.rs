use super::Facts;
use crate::{Name, Selector, Str, TrustDomain};

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

/// Mesh settings: key `mesh` of the ConfigMap `istio` over the defaults of `MeshConfig`.
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
    /// `discoverySelectors`; empty means every namespace.
    pub discovery_selectors: Vec<Selector>,
    /// `serviceScopeConfigs`, in order.
    pub service_scopes: Vec<ServiceScope>,
    /// `serviceEntryVisibility`; `None` when not configured.
    pub service_entry_visibility: Option<(Visibility, Vec<VisibilityPolicy>)>,
    /// `caCertificates` with text that are some signer's, in order.
    pub ca_certificates: Vec<CaCertificate>,
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
            discovery_selectors: Vec::new(),
            service_scopes: Vec::new(),
            service_entry_visibility: None,
            ca_certificates: Vec::new(),
        }
    }
}
