//! The mesh settings: a YAML text in a ConfigMap, which no API server looks into.

use model::{did_you_mean, nearest, yaml};
use serde_json::{Value, json};

use super::names::{near, problem};
use crate::apiserver::judge_by;
use crate::code;
use crate::field::path_text;
use crate::key::Key;
use crate::object::Objects;
use crate::problem::Problem;
use crate::value::from_yaml;

/// The name of the ConfigMap, which may be followed by a revision.
const NAME: &str = "istio";
/// The keys of it that control planes read.
const KEYS: [&str; 2] = ["mesh", "meshNetworks"];

/// The fields of settings that are known, besides those whose parts are known too.
const OTHERS: &[&str] = &[
    "accessLogEncoding",
    "accessLogFile",
    "accessLogFormat",
    "ca",
    "certificates",
    "configSources",
    "connectTimeout",
    "defaultConfig",
    "defaultDestinationRuleExportTo",
    "defaultHttpRetryPolicy",
    "defaultProviders",
    "defaultServiceExportTo",
    "defaultVirtualServiceExportTo",
    "disableEnvoyListenerLog",
    "dnsRefreshRate",
    "enableAutoMtls",
    "enableEnvoyAccessLogService",
    "enablePrometheusMerge",
    "enableTracing",
    "extensionProviders",
    "h2UpgradePolicy",
    "hboneIdleTimeout",
    "inboundClusterStatName",
    "inboundTrafficPolicy",
    "ingressClass",
    "ingressControllerMode",
    "ingressSelector",
    "ingressService",
    "localityLbSetting",
    "meshMTLS",
    "outboundClusterStatName",
    "outboundTrafficPolicy",
    "pathNormalization",
    "protocolDetectionTimeout",
    "proxyHttpPort",
    "proxyInboundListenPort",
    "proxyListenPort",
    "serviceSettings",
    "statNameDelimiter",
    "statsTags",
    "tcpKeepalive",
    "tlsDefaults",
    "tracing",
    "verifyCertificateAtClient",
];

/// What policies depend on.
pub(super) struct Settings {
    pub(super) root_namespace: String,
    trust_domain: String,
    aliases: Vec<String>,
}

impl Settings {
    /// The settings of the mesh, as far as they can be read.
    pub(super) fn of(all: &Objects, system_namespace: &str) -> Self {
        let maps = all.range(Key::new("", "ConfigMap", "", "")..);
        let mut maps = maps.take_while(|(key, _)| key.group.is_empty() && key.kind == "ConfigMap");
        let map = maps.find(|(key, _)| key.name == NAME && key.namespace == system_namespace);
        let text = map.and_then(|(_, map)| map.value.pointer("/data/mesh")?.as_str());
        let mesh = text.and_then(|text| from_yaml(text).ok()).map(camel).unwrap_or_default();
        let text = |name: &str, default: &str| {
            mesh.get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .unwrap_or(default)
                .to_owned()
        };
        let aliases = mesh.get("trustDomainAliases").and_then(Value::as_array);
        Self {
            root_namespace: text("rootNamespace", system_namespace),
            trust_domain: text("trustDomain", "cluster.local"),
            aliases: aliases.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// The trust domains that identities may have; the usual one stands for any in policies.
    pub(super) fn trust_domains(&self) -> Vec<&str> {
        let aliases = self.aliases.iter().map(String::as_str);
        [self.trust_domain.as_str(), "cluster.local"].into_iter().chain(aliases).collect()
    }
}

/// Tells of fields that settings do not have, and of names that lead nowhere.
pub(super) fn analyse(
    declared: &Objects,
    all: &Objects,
    system_namespace: &str,
    problems: &mut Vec<Problem>,
) {
    let is_map = |key: &&Key| key.group.is_empty() && key.kind == "ConfigMap";
    for key in declared.keys().filter(is_map) {
        let Some(object) = declared.get(key) else { continue };
        let data = object.value.get("data").and_then(Value::as_object);
        let is_istio = key.name == NAME
            || key.name.starts_with("istio-") && data.is_some_and(|data| data.contains_key("mesh"));
        let mut doubt = |field: String, message: String, help: String| {
            problems.push(problem(object, code::SETTINGS, field, message, help));
        };
        if !is_istio {
            let is_near = nearest(&key.name, [NAME]).is_some() || NAME.starts_with(&key.name);
            if is_near && data.is_some_and(|data| data.contains_key("mesh")) {
                let message = "has mesh settings and is not called \"istio\": nobody reads it".to_owned();
                doubt("metadata.name".to_owned(), message, did_you_mean(NAME));
            }
            continue;
        }
        if key.namespace != system_namespace {
            let message = format!("mesh settings are read in namespace {system_namespace:?} alone");
            let help = format!("move them to {system_namespace}");
            doubt("metadata.namespace".to_owned(), message, help);
            continue;
        }
        for name in
            data.into_iter().flat_map(|data| data.keys()).filter(|name| !KEYS.contains(&name.as_str()))
        {
            if let Some(meant) = nearest(name, KEYS) {
                doubt(
                    "data".to_owned(),
                    format!("{name:?} is no part of mesh settings"),
                    did_you_mean(meant),
                );
            }
        }
        let Some(text) = data.and_then(|data| data.get("mesh")).and_then(Value::as_str) else { continue };
        // What is no YAML is refused where settings are read.
        let Ok(mesh) = from_yaml(text).map_err(|_: yaml::Error| ()) else { continue };
        for flaw in judge_by(&schema(), &camel(mesh.clone())) {
            let field = format!("data.mesh.{}", path_text(&flaw.path));
            doubt(field, flaw.message, flaw.help);
        }
        let mesh = camel(mesh);
        let root = mesh.get("rootNamespace").and_then(Value::as_str).filter(|root| !root.is_empty());
        let is_namespace = |key: &&Key| key.kind == "Namespace" && key.group.is_empty();
        let known = all.keys().filter(is_namespace).map(|key| key.name.as_str());
        // A folder without namespaces says nothing of them.
        let declares = declared.keys().any(|key| is_namespace(&key));
        if let Some(root) = root.filter(|_| declares)
            && !known.clone().any(|name| name == root)
        {
            let message = format!("namespace {root:?} is not in this folder");
            let help = near(root, known).map(did_you_mean);
            let help = help.unwrap_or_else(|| "declare it, or name another".to_owned());
            doubt("data.mesh.rootNamespace".to_owned(), message, help);
        }
    }
}

/// What settings may hold, as far as a mesh depends on it.
fn schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let requirement =
        json!({"type": "object", "properties": {"key": text, "operator": text, "values": texts}});
    let selector = json!({"type": "object", "properties": {
        "matchLabels": labels, "matchExpressions": {"type": "array", "items": requirement},
    }});
    let list = |fields: Value| json!({"type": "array", "items": {"type": "object", "properties": fields}});
    let any = json!({"x-kubernetes-preserve-unknown-fields": true});
    let label = json!({"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", "maxLength": 63});
    let domain = json!({"type": "string", "pattern": "^[a-z0-9._-]*$"});
    let mut properties = json!({
        "rootNamespace": label,
        "trustDomain": domain,
        "trustDomainAliases": {"type": "array", "items": text},
        "discoverySelectors": {"type": "array", "items": selector},
        "serviceScopeConfigs": list(json!({
            "namespaceSelector": selector, "servicesSelector": selector, "scope": any,
        })),
        "serviceEntryVisibility": {"type": "object", "properties": {
            "defaultVisibility": any,
            "policies": list(json!({
                "visibility": any, "matchingRules": list(json!({"namespaceSelector": selector})),
            })),
        }},
        "caCertificates": list(json!({
            "pem": text, "spiffeBundleUrl": text, "certSigners": texts, "trustDomains": texts,
        })),
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(OTHERS.iter().map(|name| ((*name).to_owned(), any.clone())));
    }
    json!({"type": "object", "properties": properties})
}

/// Writes the names of fields as they usually are: settings may have `root_namespace`, too.
fn camel(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| {
                // Labels have names of their own.
                if name == "matchLabels" || name == "match_labels" {
                    return ("matchLabels".to_owned(), value);
                }
                let mut words = name.split('_');
                let first = words.next().unwrap_or_default().to_owned();
                let written = words.fold(first, |name, word| {
                    let mut letters = word.chars();
                    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                    name + &first.into_iter().chain(letters).collect::<String>()
                });
                (written, camel(value))
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(camel).collect(),
        other => other,
    }
}
