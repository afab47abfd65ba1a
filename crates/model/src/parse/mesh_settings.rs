use super::authorizer::Fault;
use super::enumeration::Enumeration;
use super::locality::LocalityManifest;
use super::metadata::Metadata;
use super::provider::{Provider, ProviderManifest};
use super::selector::LabelSelector;
use super::text::{Text, or_empty, shared_list};
use super::unset::Unset;
use super::unsupported::snake_case;
use super::{code, log_format, read, unsupported, wrong::Wrong};
use crate::facts::{
    AccessLog, CaCertificate, DefaultProviders, ForwardedCertificates, GatewayTopology, LocalitySetting,
    LogFormat, MatchingRule, MeshSettings, PathNormalization, RefusedPart, ServiceScope, SettingsPart,
    TracingDefaults, Visibility, VisibilityPolicy,
};
use crate::{
    Diagnostic, Kind, Name, ObjectRef, Selector, Severity, Str, TrustDomain, did_you_mean, field, host_of,
    is_dns_label, nearest, shared, yaml,
};
use serde::Deserialize;
use std::sync::LazyLock;

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
    #[serde(alias = "gateway_topology")]
    gateway_topology: Option<Topology>,
    tracing: Option<TracingManifest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TracingManifest {
    sampling: Option<f64>,
    #[serde(alias = "max_path_tag_length")]
    max_path_tag_length: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct DefaultsManifest<'a> {
    #[serde(borrow)]
    tracing: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    metrics: Option<Vec<Text<'a>>>,
    #[serde(borrow, alias = "access_logging")]
    access_logging: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Topology {
    #[serde(alias = "num_trusted_proxies")]
    num_trusted_proxies: Option<u32>,
    #[serde(alias = "forward_client_cert_details")]
    forward_client_cert_details: Option<Enumeration>,
    #[serde(alias = "proxy_protocol")]
    proxy_protocol: Option<serde::de::IgnoredAny>,
}

const FORWARDED: &[(&str, i64, ForwardedCertificates)] = &[
    ("UNDEFINED", 0, ForwardedCertificates::Set),
    ("SANITIZE", 1, ForwardedCertificates::Removed),
    ("FORWARD_ONLY", 2, ForwardedCertificates::Kept),
    ("APPEND_FORWARD", 3, ForwardedCertificates::Appended),
    ("SANITIZE_SET", 4, ForwardedCertificates::Set),
    ("ALWAYS_FORWARD_ONLY", 5, ForwardedCertificates::AlwaysKept),
];

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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Normalization {
    normalization: Option<Enumeration>,
}

const NORMALIZATIONS: &[(&str, i64, PathNormalization)] = &[
    ("DEFAULT", 0, PathNormalization::DecodeAndMergeSlashes),
    ("NONE", 1, PathNormalization::None),
    ("BASE", 2, PathNormalization::Base),
    ("MERGE_SLASHES", 3, PathNormalization::MergeSlashes),
    ("DECODE_AND_MERGE_SLASHES", 4, PathNormalization::DecodeAndMergeSlashes),
];

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

/// Returns the mesh settings of a ConfigMap: its key `mesh`, a YAML document, over the defaults. A part that
/// is wrong is refused alone: it has what fails closed.
///
/// # Errors
/// As [`super::parse`], and for YAML that cannot be read.
pub(super) fn parse(json: &[u8]) -> Result<MeshSettings, Wrong> {
    let Manifest { metadata, data } = read::manifest(json)?;
    let name = metadata.object_name(Kind::ConfigMap)?;
    let text = data.unwrap_or_default().mesh;
    Ok(lower(&read_yaml(or_empty(&text))?, name))
}

fn read_yaml(text: &str) -> Result<yaml::Mapping, Wrong> {
    let mut documents = yaml::documents(text);
    // No document, as in an empty text, and an empty document leave all defaults.
    let Some(document) = documents.next() else { return Ok(yaml::Mapping::new()) };
    let mesh: Option<yaml::Mapping> = serde_path_to_error::deserialize(document).map_err(|error| {
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

/// The fields of `MeshConfig` that are known, in the order of the table of fields.
static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut known: Vec<String> = Vec::new();
    for field in field::fields(Kind::ConfigMap) {
        let Some(below) = field.path.strip_prefix(AT).and_then(|path| path.strip_prefix('.')) else {
            continue;
        };
        let name = below.split(['.', '[']).next().unwrap_or_default();
        if !known.iter().any(|other| other == name) {
            known.push(name.to_owned());
        }
    }
    known
});

/// Returns what is told of the fields that are not read: what to use instead of those that are known, and what
/// was likely meant by others.
fn unread(mesh: &yaml::Mapping, object: &ObjectRef) -> Vec<Diagnostic> {
    let tree =
        AT.split('.').try_fold(unsupported::tree(Kind::ConfigMap), |tree, name| Some(tree?.field(name)));
    let mut told = Vec::new();
    for (name, value) in mesh.iter().filter_map(|(name, value)| Some((name.as_str()?, value))) {
        let at = format!("{AT}.{name}");
        if let Some(tree) = tree.flatten().and_then(|tree| tree.field(name)) {
            let found = tree.find(&at, value).into_iter();
            told.extend(found.map(|found| found.told(object, Severity::Info)));
        } else if !KNOWN.iter().any(|known| known == name || snake_case(known) == name) {
            let meant = nearest(name, KNOWN.iter().map(String::as_str));
            told.push(Diagnostic {
                code: code::UNKNOWN_FIELD,
                severity: Severity::Warning,
                object: Some(object.clone()),
                field: at,
                message: "is no field of the mesh settings".to_owned(),
                help: meant.map(did_you_mean).unwrap_or_default(),
                place: None,
            });
        }
    }
    told
}

/// Lowers the fields of `MeshConfig` that are read.
fn lower(mesh: &yaml::Mapping, name: Name) -> MeshSettings {
    let default = MeshSettings::default();
    let object = ObjectRef { kind: Kind::ConfigMap, name: name.clone() };
    let unread = unread(mesh, &object);
    let mut of = Parts { mesh, object, refused: Vec::new() };
    let root_namespace = of.part(SettingsPart::RootNamespace, "rootNamespace", |text: Text<'_>| {
        written(&text).map(namespace).transpose()
    });
    let own_domain = of.part(SettingsPart::TrustDomain, "trustDomain", |text: Text<'_>| {
        written(&text).map(|text| trust_domain(text, "trustDomain")).transpose()
    });
    let aliases = of.part(SettingsPart::TrustDomainAliases, "trustDomainAliases", aliases);
    let proxies = of.part(SettingsPart::DefaultConfig, "defaultConfig", |config: ProxyConfig<'_>| {
        let host = config.discovery_address.as_ref().and_then(written).map(discovery_host).transpose()?;
        let tracing = config.tracing.map(tracing).transpose()?.unwrap_or_default();
        Ok((host, config.gateway_topology.map(topology).transpose()?.unwrap_or_default(), tracing))
    });
    let (host, gateway_topology, tracing_defaults) = proxies.value().unwrap_or_default();
    let selectors = of.part(SettingsPart::DiscoverySelectors, "discoverySelectors", |list| {
        each(Some(list), "discoverySelectors", selector)
    });
    let scopes = of.part(SettingsPart::ServiceScopeConfigs, "serviceScopeConfigs", |list| {
        each(Some(list), "serviceScopeConfigs", ScopeConfig::lower)
    });
    let visibility =
        of.part(SettingsPart::ServiceEntryVisibility, "serviceEntryVisibility", EntryVisibility::lower);
    let certificates =
        of.part(SettingsPart::CaCertificates, "caCertificates", |list| Ok(ca_certificates(list)));
    let paths = of.part(SettingsPart::PathNormalization, "pathNormalization", |written: Normalization| {
        value(&written.normalization, NORMALIZATIONS, "pathNormalization.normalization")
    });
    let providers = of.part(SettingsPart::ExtensionProviders, "extensionProviders", |list| {
        each(Some(list), "extensionProviders", provider)
    });
    let (mut extension_providers, mut telemetry_providers) = (Vec::new(), Vec::new());
    for provider in providers.value().unwrap_or_default().into_iter().flatten() {
        match provider {
            Provider::Authorizer(of) => extension_providers.push(of),
            Provider::Telemetry(of) => telemetry_providers.push(of),
        }
    }
    let defaults =
        of.part(SettingsPart::DefaultProviders, "defaultProviders", |written: DefaultsManifest<'_>| {
            Ok(DefaultProviders {
                access_logging: shared_list(written.access_logging),
                metrics: shared_list(written.metrics),
                tracing: shared_list(written.tracing).into_iter().next(),
            })
        });
    let access_log = access_log(&mut of);
    let locality = of.part(SettingsPart::LocalityLbSetting, "localityLbSetting", locality);
    MeshSettings {
        name,
        root_namespace: root_namespace.value().flatten().unwrap_or(default.root_namespace),
        trust_domain: own_domain.value().flatten().unwrap_or(default.trust_domain),
        trust_domain_aliases: aliases.value().unwrap_or_default(),
        discovery_host: host.unwrap_or(default.discovery_host),
        gateway_topology,
        discovery_selectors: selectors.value().unwrap_or_default(),
        service_scopes: scopes.value().unwrap_or_default(),
        service_entry_visibility: match visibility {
            Part::Absent => None,
            Part::Written(visibility) => Some(visibility),
            // Whom an entry was hidden from is not known.
            Part::Refused => Some((Visibility::Namespace, Vec::new())),
        },
        ca_certificates: certificates.value().unwrap_or_default(),
        path_normalization: paths.value().flatten().unwrap_or_default(),
        extension_providers,
        telemetry_providers,
        default_providers: defaults.value().unwrap_or_default(),
        tracing_defaults,
        access_log,
        locality: locality.value().unwrap_or_default(),
        refused: of.refused,
        unread,
    }
}

/// What access logs are written as: `TEXT` or `JSON`.
const ENCODINGS: &[(&str, i64, bool)] = &[("TEXT", 0, false), ("JSON", 1, true)];

/// Returns what is written of requests and streams: nothing, if any of its parts is refused.
fn access_log(of: &mut Parts<'_>) -> Option<AccessLog> {
    let part = SettingsPart::AccessLog;
    let file = of.part(part, "accessLogFile", |text: Text<'_>| written(&text).map(log_file).transpose());
    let is_json = of.part(part, "accessLogEncoding", |written: Enumeration| {
        value(&Some(written), ENCODINGS, "accessLogEncoding")
    });
    let is_json = is_json.value().flatten().unwrap_or(false);
    let format = of.part(part, "accessLogFormat", |text: Text<'_>| {
        written(&text).map(|text| log_format(text, is_json)).transpose()
    });
    let default = if is_json { LogFormat::Json(None) } else { LogFormat::Text(None) };
    let format = format.value().flatten().unwrap_or(default);
    let file = file.value().flatten()?;
    let is_refused = of.refused.iter().any(|of| of.part == part);
    (!is_refused).then_some(AccessLog { file, format })
}

/// One value that is not valid refuses all: what is left might send everything to one place.
fn locality(written: LocalityManifest<'_>) -> Result<LocalitySetting, Wrong> {
    let mut unset = Unset::default();
    let setting = written.lower(&format!("{AT}.localityLbSetting"), &mut unset);
    match unset.into_list().into_iter().next() {
        Some(of) => Err(Wrong::new(code::SETTINGS_FIELD, of.field, of.message).help(of.help)),
        None => Ok(setting),
    }
}

/// A proxy writes to its own output: it may not be able to write a file.
fn log_file(text: &str) -> Result<Str, Wrong> {
    if matches!(text, "/dev/stdout" | "/dev/stderr") {
        return Ok(shared(text));
    }
    let fault = format!("{text:?} is no output of a process");
    Err(Wrong::new(code::SETTINGS_FIELD, format!("{AT}.accessLogFile"), fault)
        .help("write /dev/stdout or /dev/stderr: proxies write no files"))
}

fn log_format(text: &str, is_json: bool) -> Result<LogFormat, Wrong> {
    let wrong = |fault: String| {
        Wrong::new(code::SETTINGS_FIELD, format!("{AT}.accessLogFormat"), fault)
            .help("write commands of Envoy, as in %PROTOCOL%, and %% for a percent sign")
    };
    if !is_json {
        log_format::check(text).map_err(wrong)?;
        let end = if text.ends_with('\n') { "" } else { "\n" };
        return Ok(LogFormat::Text(Some(Str::from(format!("{text}{end}")))));
    }
    let fields: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| wrong(format!("is no JSON object of texts: {error}")))?;
    for format in fields.values() {
        log_format::check(format).map_err(wrong)?;
    }
    Ok(LogFormat::Json(Some(fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect())))
}

/// Returns the text, unless it is empty: that counts as not written.
fn written<'t>(text: &'t Text<'_>) -> Option<&'t str> {
    Some(text.as_str()).filter(|text| !text.is_empty())
}

/// What became of a part.
enum Part<T> {
    Absent,
    Written(T),
    Refused,
}

impl<T> Part<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Written(value) => Some(value),
            Self::Absent | Self::Refused => None,
        }
    }
}

/// Reads part after part, and collects what is refused.
struct Parts<'m> {
    mesh: &'m yaml::Mapping,
    object: ObjectRef,
    refused: Vec<RefusedPart>,
}

impl<'m> Parts<'m> {
    fn part<M: Deserialize<'m>, T>(
        &mut self,
        part: SettingsPart,
        field: &str,
        lower: impl FnOnce(M) -> Result<T, Wrong>,
    ) -> Part<T> {
        let lowered = match self.read(field) {
            Ok(None) => return Part::Absent,
            Ok(Some(written)) => lower(written),
            Err(wrong) => Err(wrong),
        };
        match lowered {
            Ok(value) => Part::Written(value),
            Err(wrong) => {
                let diagnostic = wrong.into_diagnostic(Some(self.object.clone()));
                self.refused.push(RefusedPart { part, has_last: false, diagnostic });
                Part::Refused
            }
        }
    }

    /// Reads a field in either of its spellings; one that is null counts as absent.
    fn read<M: Deserialize<'m>>(&self, field: &str) -> Result<Option<M>, Wrong> {
        let (at, snake) = (format!("{AT}.{field}"), snake_case(field));
        let found = (self.mesh.get(field), self.mesh.get(snake.as_str()));
        if let (Some(_), Some(_)) = found {
            let fault = format!("it is written as `{snake}` too");
            return Err(Wrong::new(code::SETTINGS_FIELD, at, fault).help("remove one of the two"));
        }
        let Some(value) = found.0.or(found.1).filter(|value| !value.is_null()) else { return Ok(None) };
        serde_path_to_error::deserialize(value).map(Some).map_err(|error| {
            let field = read::join(&at, &read::path_text(error.path()));
            Wrong::new(code::SETTINGS_FIELD, field, error.into_inner().to_string())
        })
    }
}

fn aliases(written: Vec<Text<'_>>) -> Result<Vec<TrustDomain>, Wrong> {
    let written = written.iter().enumerate();
    let aliases = written.map(|(i, alias)| trust_domain(alias.as_str(), &format!("trustDomainAliases[{i}]")));
    let mut aliases = aliases.collect::<Result<Vec<_>, _>>()?;
    aliases.sort();
    aliases.dedup();
    Ok(aliases)
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

fn topology(written: Topology) -> Result<GatewayTopology, Wrong> {
    let at = "defaultConfig.gatewayTopology.forwardClientCertDetails";
    Ok(GatewayTopology {
        trusted_proxies: written.num_trusted_proxies.unwrap_or_default(),
        client_certificates: value(&written.forward_client_cert_details, FORWARDED, at)?.unwrap_or_default(),
        has_proxy_protocol: written.proxy_protocol.is_some(),
    })
}

fn tracing(written: TracingManifest) -> Result<TracingDefaults, Wrong> {
    let default = TracingDefaults::default();
    let sampling = match written.sampling {
        None => default.sampling,
        // Within the range that was checked.
        Some(percent) if (0.0..=100.0).contains(&percent) => (percent * 1_000.0).round() as u32,
        Some(percent) => {
            let at = format!("{AT}.defaultConfig.tracing.sampling");
            let fault = format!("{percent} is no percentage");
            return Err(Wrong::new(code::SETTINGS_FIELD, at, fault).help("write a number from 0 to 100"));
        }
    };
    let max_path_length = written.max_path_tag_length.filter(|length| *length > 0);
    Ok(TracingDefaults { sampling, max_path_length })
}

/// Keeps what names roots of signers; roots from elsewhere (`spiffeBundleUrl`) are not read.
fn ca_certificates(list: Vec<CertificateManifest<'_>>) -> Vec<CaCertificate> {
    let all = list.into_iter();
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

fn provider(written: ProviderManifest<'_>, at: &str) -> Result<Option<Provider>, Wrong> {
    written.lower().map_err(|Fault { field, message, help }| {
        Wrong::new(code::SETTINGS_FIELD, format!("{AT}.{at}.{field}"), message).help(help)
    })
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
mod tests;
