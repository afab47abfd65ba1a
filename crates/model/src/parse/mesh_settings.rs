use super::enumeration::Enumeration;
use super::metadata::Metadata;
use super::selector::LabelSelector;
use super::text::{Text, or_empty, shared_list};
use super::{code, read, wrong::Wrong};
use crate::facts::{CaCertificate, MatchingRule, MeshSettings, ServiceScope, Visibility, VisibilityPolicy};
use crate::{Kind, Name, Selector, Str, TrustDomain, host_of, is_dns_label, shared, yaml};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Data<'a> {
    #[serde(borrow)]
    mesh: Option<Text<'a>>,
}

/// The fields of `MeshConfig` that are read.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Mesh<'a> {
    #[serde(borrow, alias = "root_namespace")]
    root_namespace: Option<Text<'a>>,
    #[serde(borrow, alias = "trust_domain")]
    trust_domain: Option<Text<'a>>,
    #[serde(borrow, alias = "trust_domain_aliases")]
    trust_domain_aliases: Option<Vec<Text<'a>>>,
    #[serde(borrow, alias = "default_config")]
    default_config: Option<ProxyConfig<'a>>,
    #[serde(borrow, alias = "discovery_selectors")]
    discovery_selectors: Option<Vec<LabelSelector<'a>>>,
    #[serde(borrow, alias = "service_scope_configs")]
    service_scope_configs: Option<Vec<ScopeConfig<'a>>>,
    #[serde(borrow, alias = "service_entry_visibility")]
    service_entry_visibility: Option<EntryVisibility<'a>>,
    #[serde(borrow, alias = "ca_certificates")]
    ca_certificates: Option<Vec<CertificateManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct CertificateManifest<'a> {
    #[serde(borrow)]
    pem: Option<Text<'a>>,
    #[serde(borrow, alias = "cert_signers")]
    cert_signers: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ProxyConfig<'a> {
    #[serde(borrow, alias = "discovery_address")]
    discovery_address: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ScopeConfig<'a> {
    #[serde(borrow, alias = "namespace_selector")]
    namespace_selector: Option<LabelSelector<'a>>,
    #[serde(borrow, alias = "services_selector")]
    services_selector: Option<LabelSelector<'a>>,
    scope: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct EntryVisibility<'a> {
    #[serde(alias = "default_visibility")]
    default_visibility: Option<Enumeration>,
    #[serde(borrow)]
    policies: Option<Vec<PolicyManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PolicyManifest<'a> {
    visibility: Option<Enumeration>,
    #[serde(borrow, alias = "matching_rules")]
    matching_rules: Option<Vec<RuleManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RuleManifest<'a> {
    #[serde(borrow, alias = "namespace_selector")]
    namespace_selector: Option<LabelSelector<'a>>,
}

const VISIBILITIES: &[(&str, i64, Visibility)] = &[
    ("PUBLIC", 3, Visibility::Public),
    ("NAMESPACE", 2, Visibility::Namespace),
    ("NONE", 1, Visibility::None),
    ("VISIBILITY_UNSPECIFIED", 0, Visibility::Public),
];

/// (name, number, whether the service is global).
const SCOPES: &[(&str, i64, bool)] = &[("LOCAL", 0, false), ("GLOBAL", 1, true)];

/// Where the settings stand in the ConfigMap; paths of fields go on from here.
const AT: &str = "data.mesh";

/// Returns the mesh settings of a ConfigMap: its key `mesh`, a YAML document, over the defaults.
///
/// # Errors
/// As [`super::parse`], for YAML that cannot be read, a selector that is not valid and an unknown
/// value of an enumeration: settings are taken as a whole or not at all.
pub(super) fn parse(json: &[u8]) -> Result<MeshSettings, Wrong> {
    let Manifest { metadata, data } = read::manifest(json)?;
    let name = metadata.object_name(Kind::ConfigMap)?;
    let text = data.unwrap_or_default().mesh;
    read_yaml(or_empty(&text))?.lower(name)
}

fn read_yaml(text: &str) -> Result<Mesh<'_>, Wrong> {
    let mut documents = yaml::documents(text);
    // No document, as in an empty text, and an empty document leave all defaults.
    let Some(document) = documents.next() else { return Ok(Mesh::default()) };
    let mesh: Option<Mesh<'_>> = serde_path_to_error::deserialize(document).map_err(|error| {
        let field = read::join(AT, &read::path_text(error.path()));
        // The position is one in the YAML that the user wrote: it stays.
        Wrong::new(code::SETTINGS_FIELD, field, error.into_inner().to_string())
    })?;
    if documents.next().is_some() {
        return Err(Wrong::new(code::SETTINGS_FIELD, AT, "more than one YAML document")
            .help("remove the line `---` and what follows it"));
    }
    Ok(mesh.unwrap_or_default())
}

impl Mesh<'_> {
    fn lower(self, name: Name) -> Result<MeshSettings, Wrong> {
        let default = MeshSettings::default();
        let written = self.trust_domain_aliases.iter().flatten().enumerate();
        let mut aliases = written
            .map(|(i, alias)| trust_domain(alias.as_str(), &format!("trustDomainAliases[{i}]")))
            .collect::<Result<Vec<_>, _>>()?;
        aliases.sort();
        aliases.dedup();
        let discovery_address = self.default_config.and_then(|config| config.discovery_address);
        let visibility = self.service_entry_visibility.map(EntryVisibility::lower).transpose()?;
        Ok(MeshSettings {
            name,
            root_namespace: match or_empty(&self.root_namespace) {
                "" => default.root_namespace,
                text => namespace(text)?,
            },
            trust_domain: match or_empty(&self.trust_domain) {
                "" => default.trust_domain,
                text => trust_domain(text, "trustDomain")?,
            },
            trust_domain_aliases: aliases,
            discovery_host: match or_empty(&discovery_address) {
                "" => default.discovery_host,
                text => discovery_host(text)?,
            },
            discovery_selectors: each(self.discovery_selectors, "discoverySelectors", selector)?,
            service_scopes: each(self.service_scope_configs, "serviceScopeConfigs", ScopeConfig::lower)?,
            service_entry_visibility: visibility,
            ca_certificates: ca_certificates(self.ca_certificates),
        })
    }
}

fn trust_domain(text: &str, at: &str) -> Result<TrustDomain, Wrong> {
    TrustDomain::from_mesh_setting(text).map_err(|error| {
        let fault = format!("{text:?} cannot be the trust domain of identities: {error}");
        Wrong::new(code::SETTINGS_NAME, format!("{AT}.{at}"), fault)
            .help("write one such as cluster.local; until then the last one is used")
    })
}

fn namespace(text: &str) -> Result<Str, Wrong> {
    if is_dns_label(text) {
        return Ok(shared(text));
    }
    let fault = format!("{text:?} cannot be the name of a namespace");
    Err(Wrong::new(code::SETTINGS_NAME, format!("{AT}.rootNamespace"), fault)
        .help("write one such as istio-system; until then the last one is used"))
}

fn discovery_host(text: &str) -> Result<Str, Wrong> {
    host_of(text).map(shared).ok_or_else(|| {
        let fault = format!("{text:?} is not the address of a control plane");
        Wrong::new(code::SETTINGS_NAME, format!("{AT}.defaultConfig.discoveryAddress"), fault)
            .help("write host:port, such as istiod.istio-system.svc:15012; until then the last one is used")
    })
}

/// Keeps what names roots of signers; roots from elsewhere (`spiffeBundleUrl`) are not read.
fn ca_certificates(list: Option<Vec<CertificateManifest<'_>>>) -> Vec<CaCertificate> {
    let all = list.unwrap_or_default().into_iter();
    let lowered = all.map(|entry| CaCertificate {
        // Not shared: a text of its own, and long.
        pem: Str::from(or_empty(&entry.pem)),
        signers: shared_list(entry.cert_signers),
    });
    lowered.filter(|entry| !entry.pem.is_empty() && !entry.signers.is_empty()).collect()
}

/// Lowers the entries of the list at `field`, each with its path.
fn each<M, T>(
    list: Option<Vec<M>>,
    field: &str,
    lower: fn(M, &str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let entries = list.unwrap_or_default().into_iter().enumerate();
    entries.map(|(i, entry)| lower(entry, &format!("{field}[{i}]"))).collect()
}

fn selector(selector: LabelSelector<'_>, at: &str) -> Result<Selector, Wrong> {
    selector.selector().map_err(|(field, fault)| {
        Wrong::new(code::SETTINGS_SELECTOR, format!("{AT}.{at}.{field}"), fault)
            .help("use In or NotIn with values, Exists or DoesNotExist without")
    })
}

fn value<T: Copy>(
    written: &Option<Enumeration>,
    values: &[(&str, i64, T)],
    at: &str,
) -> Result<Option<T>, Wrong> {
    let pick = |e: &Enumeration| e.pick(values, code::SETTINGS_VALUE, format!("{AT}.{at}"));
    written.as_ref().map(pick).transpose()
}

impl ScopeConfig<'_> {
    fn lower(self, at: &str) -> Result<ServiceScope, Wrong> {
        let lower = |written: Option<_>, field: &str| match written {
            Some(written) => selector(written, &format!("{at}.{field}")),
            None => Ok(Selector::default()),
        };
        Ok(ServiceScope {
            namespaces: lower(self.namespace_selector, "namespaceSelector")?,
            services: lower(self.services_selector, "servicesSelector")?,
            global: value(&self.scope, SCOPES, &format!("{at}.scope"))?.unwrap_or(false),
        })
    }
}

impl EntryVisibility<'_> {
    fn lower(self) -> Result<(Visibility, Vec<VisibilityPolicy>), Wrong> {
        let at = "serviceEntryVisibility";
        let default = value(&self.default_visibility, VISIBILITIES, &format!("{at}.defaultVisibility"))?;
        let policies = each(self.policies, &format!("{at}.policies"), PolicyManifest::lower)?;
        Ok((default.unwrap_or_default(), policies))
    }
}

impl PolicyManifest<'_> {
    fn lower(self, at: &str) -> Result<VisibilityPolicy, Wrong> {
        Ok(VisibilityPolicy {
            visibility: value(&self.visibility, VISIBILITIES, &format!("{at}.visibility"))?
                .unwrap_or_default(),
            rules: each(self.matching_rules, &format!("{at}.matchingRules"), RuleManifest::lower)?,
        })
    }
}

impl RuleManifest<'_> {
    fn lower(self, at: &str) -> Result<MatchingRule, Wrong> {
        match self.namespace_selector {
            Some(written) => {
                selector(written, &format!("{at}.namespaceSelector")).map(MatchingRule::Namespace)
            }
            // A matcher of a newer version.
            None => Ok(MatchingRule::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use serde_json::json;

    fn settings(mesh: &str) -> Result<MeshSettings, Wrong> {
        let manifest = json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh, "other": "x"}});
        parse(manifest.to_string().as_bytes())
    }

    fn default() -> MeshSettings {
        MeshSettings { name: Name::new("istio-system", "istio"), ..MeshSettings::default() }
    }

    #[test]
    fn nothing_written_leaves_the_defaults() {
        for mesh in ["", "# a comment\n", "---\n", "null", "{}", "trustDomain: \"\"\nrootNamespace:\n"] {
            assert_eq!(settings(mesh).unwrap(), default(), "{mesh:?}");
        }
        let without = json!({"metadata": {"name": "istio", "namespace": "istio-system"}});
        assert_eq!(parse(without.to_string().as_bytes()).unwrap(), default());
    }

    #[test]
    fn every_field_that_is_read_is_read() {
        let mesh = "
    trustDomain: example.org
    trustDomainAliases: [old.example.org, b, old.example.org]
    rootNamespace: mesh-root
    defaultConfig:
      discoveryAddress: control.example.org:15012
      holdApplicationUntilProxyStarts: true
    discoverySelectors:
    - matchLabels: {mesh: \"on\"}
    - matchExpressions:
      - {key: env, operator: In, values: [prod, stage]}
    serviceScopeConfigs:
    - servicesSelector: {matchLabels: {istio.io/global: \"true\"}}
      scope: GLOBAL
    serviceEntryVisibility:
      defaultVisibility: NAMESPACE
      policies:
      - visibility: NONE
        matchingRules:
        - namespaceSelector: {matchLabels: {team: a}}
        - fromTheFuture: {}
      - {}
    caCertificates:
    - pem: roots of a
      certSigners: [issuers.example/a, issuers.example/b]
    - pem: of no signer
    - spiffeBundleUrl: https://example.org
      certSigners: [issuers.example/c]
    ";
        let settings = settings(mesh).unwrap();
        assert_eq!(settings.trust_domain.as_str(), "example.org");
        assert_eq!(
            settings.trust_domain_aliases,
            ["b", "old.example.org"].map(|d| TrustDomain::parse(d).unwrap())
        );
        assert_eq!(settings.root_namespace, "mesh-root");
        assert_eq!(settings.discovery_host, "control.example.org");
        assert!(settings.discovery_selectors[0].matches(&Labels::new([("mesh", "on")])));
        assert!(settings.discovery_selectors[1].matches(&Labels::new([("env", "stage")])));
        assert!(!settings.discovery_selectors[1].matches(&Labels::new([("env", "dev")])));
        let scope = ServiceScope {
            namespaces: Selector::default(),
            services: Selector {
                match_labels: Labels::new([("istio.io/global", "true")]),
                match_expressions: vec![],
            },
            global: true,
        };
        assert_eq!(settings.service_scopes, [scope]);
        let team = Selector { match_labels: Labels::new([("team", "a")]), match_expressions: vec![] };
        let policies = vec![
            VisibilityPolicy {
                visibility: Visibility::None,
                rules: vec![MatchingRule::Namespace(team), MatchingRule::Unknown],
            },
            VisibilityPolicy { visibility: Visibility::Public, rules: vec![] },
        ];
        assert_eq!(settings.service_entry_visibility, Some((Visibility::Namespace, policies)));
        let signers = vec![shared("issuers.example/a"), shared("issuers.example/b")];
        assert_eq!(settings.ca_certificates, [CaCertificate { pem: shared("roots of a"), signers }]);
    }

    #[test]
    fn a_dot_of_the_trust_domain_may_be_spelled_as_an_at_sign() {
        assert_eq!(settings("trustDomain: corp@test").unwrap().trust_domain.as_str(), "corp.test");
    }

    #[test]
    fn faults_are_named_with_their_path() {
        for (mesh, code, field) in [
            ("trustDomain: [", "MS001", "data.mesh.trustDomain"),
            ("- a\n", "MS001", "data.mesh"),
            ("a: 1\n---\nb: 2\n", "MS001", "data.mesh"),
            ("trustDomainAliases: x\n", "MS001", "data.mesh.trustDomainAliases"),
            ("defaultConfig: {discoveryAddress: []}", "MS001", "data.mesh.defaultConfig.discoveryAddress"),
            ("caCertificates: [{pem: {}}]", "MS001", "data.mesh.caCertificates[0].pem"),
            (
                "discoverySelectors: [{matchExpressions: [{key: a, operator: Near}]}]",
                "MS002",
                "data.mesh.discoverySelectors[0].matchExpressions[0].operator",
            ),
            (
                "discoverySelectors: [{}, {matchExpressions: [{key: a, operator: In}]}]",
                "MS002",
                "data.mesh.discoverySelectors[1].matchExpressions[0].values",
            ),
            (
                "serviceScopeConfigs: [{servicesSelector: {matchExpressions: [{operator: Exists}]}}]",
                "MS002",
                "data.mesh.serviceScopeConfigs[0].servicesSelector.matchExpressions[0].key",
            ),
            ("serviceScopeConfigs: [{scope: EVERYWHERE}]", "MS003", "data.mesh.serviceScopeConfigs[0].scope"),
            (
                "serviceEntryVisibility: {defaultVisibility: SOME}",
                "MS003",
                "data.mesh.serviceEntryVisibility.defaultVisibility",
            ),
            (
                "serviceEntryVisibility: {policies: [{visibility: SOME}]}",
                "MS003",
                "data.mesh.serviceEntryVisibility.policies[0].visibility",
            ),
            ("trustDomain: Corp.Test", "MS005", "data.mesh.trustDomain"),
            ("trustDomain: corp test", "MS005", "data.mesh.trustDomain"),
            ("trustDomainAliases: [old.test, '*']", "MS005", "data.mesh.trustDomainAliases[1]"),
            ("rootNamespace: istio_system", "MS005", "data.mesh.rootNamespace"),
            (
                "defaultConfig: {discoveryAddress: 'https://control.example.org'}",
                "MS005",
                "data.mesh.defaultConfig.discoveryAddress",
            ),
        ] {
            let diagnostic = settings(mesh).unwrap_err().into_diagnostic(None);
            assert_eq!((diagnostic.code, diagnostic.field.as_str()), (code, field), "{mesh}");
        }
    }
}
