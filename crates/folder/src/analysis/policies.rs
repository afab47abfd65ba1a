//! What policies name: workloads, namespaces, accounts.

use std::collections::{BTreeMap, BTreeSet};

use model::did_you_mean;
use serde_json::Value;

use super::names::{near, problem};
use super::settings::Settings;
use crate::apiserver::{is_dns_label, is_policy, name_fault};
use crate::code;
use crate::field::Field;
use crate::object::{Object, Objects};
use crate::problem::Problem;

/// Tells of policies that select no workload, and of sources that are nearly somebody's.
pub(super) fn analyse(
    declared: &Objects,
    all: &Objects,
    system_namespace: &str,
    problems: &mut Vec<Problem>,
) {
    let there = There::new(all, system_namespace);
    for object in declared.values().filter(|object| is_policy(&object.key) && object.refused.is_none()) {
        selection(object, &there, problems);
        for rule in Field::root(&object.value).at("spec.rules").items() {
            for from in rule.get("from").items() {
                source(object, &from.get("source"), &there, problems);
            }
        }
    }
}

/// What a policy may name.
struct There<'o> {
    settings: Settings,
    namespaces: BTreeSet<&'o str>,
    /// The accounts of each namespace.
    accounts: BTreeMap<&'o str, BTreeSet<&'o str>>,
    /// Namespace and labels of everything that policies select.
    workloads: Vec<(&'o str, Vec<&'o Value>)>,
}

impl<'o> There<'o> {
    fn new(all: &'o Objects, system_namespace: &str) -> Self {
        let mut there = Self {
            settings: Settings::of(all, system_namespace),
            namespaces: BTreeSet::new(),
            accounts: BTreeMap::new(),
            workloads: Vec::new(),
        };
        for (key, object) in all {
            let namespace = key.namespace.as_str();
            let value = |pointers: &[&str]| -> Vec<&'o Value> {
                pointers.iter().filter_map(|pointer| object.value.pointer(pointer)).collect()
            };
            let mut account = |pointer: &str| {
                let name = object.value.pointer(pointer).and_then(Value::as_str);
                there.accounts.entry(namespace).or_default().extend(name);
            };
            match (key.group.as_str(), key.kind.as_str()) {
                ("", "Namespace") => {
                    there.namespaces.insert(&key.name);
                }
                ("", "ServiceAccount") => account("/metadata/name"),
                ("", "Pod") => {
                    account("/spec/serviceAccountName");
                    there.workloads.push((namespace, value(&["/metadata/labels"])));
                }
                ("networking.istio.io", "WorkloadEntry") => {
                    account("/spec/serviceAccount");
                    there.workloads.push((namespace, value(&["/metadata/labels", "/spec/labels"])));
                }
                ("networking.istio.io", "ServiceEntry") => {
                    let endpoints = object.value.pointer("/spec/endpoints").and_then(Value::as_array);
                    for endpoint in endpoints.into_iter().flatten() {
                        let name = endpoint.get("serviceAccount").and_then(Value::as_str);
                        there.accounts.entry(namespace).or_default().extend(name);
                        there.workloads.push((namespace, endpoint.get("labels").into_iter().collect()));
                    }
                }
                // Those that make no pods now.
                _ => there.workloads.extend(
                    object
                        .value
                        .pointer("/spec/template/metadata/labels")
                        .map(|labels| (namespace, vec![labels])),
                ),
            }
        }
        there
    }
}

fn selection(object: &Object, there: &There<'_>, problems: &mut Vec<Problem>) {
    let spec = Field::root(&object.value).get("spec");
    let labels: Vec<(&String, Field<'_>)> = spec.at("selector.matchLabels").entries().collect();
    let is_of_gateway =
        |name: &String| name.starts_with("gateway.networking.k8s.io/") || name.starts_with("istio.io/");
    let has_target = !spec.get("targetRef").is_absent() || !spec.get("targetRefs").is_absent();
    // The pods of gateways are made by whoever deploys them; a folder without workloads says nothing of them.
    if has_target || there.workloads.is_empty() || labels.iter().any(|(name, _)| is_of_gateway(name)) {
        return;
    }
    let namespace = object.key.namespace.as_str();
    let is_root = namespace == there.settings.root_namespace;
    let within = || there.workloads.iter().filter(|(of, _)| is_root || *of == namespace);
    let has =
        |all: &[&Value], name: &str, value: &Value| all.iter().any(|labels| labels.get(name) == Some(value));
    if within().any(|(_, all)| labels.iter().all(|(name, value)| has(all, name, value.value()))) {
        return;
    }
    let help = labels.iter().find_map(|(name, value)| {
        let text = value.text()?;
        let values: BTreeSet<&str> =
            within().flat_map(|(_, all)| all).filter_map(|labels| labels.get(name)?.as_str()).collect();
        if values.contains(text) {
            return None;
        }
        near(text, values.iter().copied()).map(|near| did_you_mean(&format!("{name}: {near}")))
    });
    let (field, other) = match labels.is_empty() {
        true => ("metadata.namespace", "no workload is in its namespace"),
        false => ("spec.selector", "compare it with the labels of the pods"),
    };
    problems.push(problem(
        object,
        code::SELECTS_NOTHING,
        field.to_owned(),
        "selects no workload of this folder".to_owned(),
        help.unwrap_or_else(|| other.to_owned()),
    ));
}

fn source(object: &Object, source: &Field<'_>, there: &There<'_>, problems: &mut Vec<Problem>) {
    let mut doubt = |field: &Field<'_>, what: &str, written: &str, meant: &str| {
        let message = format!("{what} {written:?} is not in this folder");
        let help = did_you_mean(meant);
        problems.push(problem(object, code::REFERENCE, field.path(), message, help));
    };
    let namespace_meant = |namespace: &str| {
        let is_there = namespace.contains('*') || there.namespaces.contains(namespace);
        if is_there { None } else { near(namespace, there.namespaces.iter().copied()) }
    };
    let account_meant = |namespace: &str, account: &str| {
        let accounts = there.accounts.get(namespace)?;
        let is_there = account.contains('*') || accounts.contains(account);
        if is_there { None } else { near(account, accounts.iter().copied()) }
    };
    // What nobody can be called is told where policies are read.
    for name in ["namespaces", "notNamespaces"] {
        for field in source.get(name).items() {
            let Some(text) = field.text().filter(|text| is_dns_label(text)) else { continue };
            if let Some(meant) = namespace_meant(text) {
                doubt(&field, "namespace", text, meant);
            }
        }
    }
    for name in ["serviceAccounts", "notServiceAccounts"] {
        for field in source.get(name).items() {
            let Some(text) = field.text() else { continue };
            let (namespace, account) = text.split_once('/').unwrap_or((&object.key.namespace, text));
            if !is_dns_label(namespace) || !is_account(account) {
                continue;
            }
            if let Some(meant) = namespace_meant(namespace) {
                doubt(&field, "namespace", namespace, meant);
            } else if let Some(meant) = account_meant(namespace, account) {
                doubt(&field, "service account", account, meant);
            }
        }
    }
    for name in ["principals", "notPrincipals"] {
        for field in source.get(name).items() {
            let Some(text) = field.text() else { continue };
            let parts: Vec<&str> = text.splitn(5, '/').collect();
            // A trust domain that is not the mesh's is told where policies are read, too.
            let [domain, "ns", namespace, "sa", account] = parts[..] else { continue };
            let is_possible = is_dns_label(namespace) && is_account(account);
            if !is_possible || !there.settings.trust_domains().contains(&domain) {
                continue;
            }
            if let Some(meant) = namespace_meant(namespace) {
                doubt(&field, "namespace", namespace, meant);
            } else if let Some(meant) = account_meant(namespace, account) {
                doubt(&field, "service account", account, meant);
            }
        }
    }
}

/// Tells whether a service account can be called so.
fn is_account(name: &str) -> bool {
    name_fault("", "ServiceAccount", name).is_none()
}
