//! What Kubernetes' validation asks of several fields together, by kind.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::form::{is_dns_label, is_dns_subdomain};
use crate::field::{Field, Flaw, quoted};

/// What is wrong with an object whose nulls are gone and whose defaults are set.
pub(super) fn object(group: &str, kind: &str, value: &Value) -> Vec<Flaw> {
    let root = Field::root(value);
    let mut flaws = Vec::new();
    match (group, kind) {
        ("", "Service") => service(&root.get("spec"), &mut flaws),
        ("", "Pod") => pod(&root.get("spec"), &mut flaws),
        ("", "ConfigMap") => config_map(&root, &mut flaws),
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(&root, &mut flaws),
        ("gateway.networking.k8s.io", "Gateway") => gateway(&root.at("spec.listeners"), &mut flaws),
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") => {
            let spec = root.get("spec");
            selector(&spec, &mut flaws);
            template(&spec.get("template"), &["Always"], &mut flaws);
        }
        ("", "ReplicationController") => {
            replication_selector(&root.get("spec"), &mut flaws);
            template(&root.at("spec.template"), &["Always"], &mut flaws);
        }
        ("batch", "Job") => template(&root.at("spec.template"), &["OnFailure", "Never"], &mut flaws),
        ("batch", "CronJob") => {
            template(&root.at("spec.jobTemplate.spec.template"), &["OnFailure", "Never"], &mut flaws);
        }
        ("security.istio.io", "AuthorizationPolicy") => authorization(&root.get("spec"), &mut flaws),
        _ => {}
    }
    flaws
}

/// What the admission of istiod refuses, beyond the definition of the kind.
fn authorization(spec: &Field<'_>, flaws: &mut Vec<Flaw>) {
    if spec.get("action").text() == Some("DENY") && spec.get("rules").items().is_empty() {
        let help = "give rules (`rules: [{}]` denies everything), or remove the policy";
        flaws
            .push(spec.get("rules").flaw("Required value: a DENY policy without rules denies nothing", help));
    }
}

fn service(spec: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let kind = spec.get("type").text();
    let ports = spec.get("ports").items();
    let is_headless = spec.get("clusterIP").text() == Some("None");
    if kind == Some("ExternalName") {
        let name = spec.get("externalName");
        match name.text() {
            None => flaws.push(name.flaw("Required value", "")),
            Some(text) if !is_dns_subdomain(text.trim_end_matches('.')) => {
                flaws.push(name.invalid("must be a lowercase RFC 1123 subdomain", ""));
            }
            Some(_) => {}
        }
        if spec.get("clusterIP").text().is_some_and(|address| address != "None") {
            flaws.push(spec.get("clusterIP").flaw("Forbidden: may not be set for ExternalName services", ""));
        }
    } else if ports.is_empty() && !is_headless && spec.value().is_object() {
        flaws.push(spec.get("ports").flaw("Required value", "give the ports, or `clusterIP: None`"));
    }
    if is_headless && matches!(kind, Some("NodePort" | "LoadBalancer")) {
        let fault = format!("may not be set to 'None' for {} services", kind.unwrap_or_default());
        flaws.push(spec.get("clusterIP").invalid(fault, ""));
    }
    let policy = spec.get("externalTrafficPolicy");
    if policy.text().is_some() && matches!(kind, Some("ClusterIP" | "ExternalName")) {
        flaws.push(policy.invalid("may only be set for externally-accessible services", ""));
    }
    for address in spec.get("externalIPs").items() {
        let fault = match address.value().as_str().map(str::parse::<IpAddr>) {
            Some(Ok(ip)) => special(ip),
            Some(Err(_)) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            None => None,
        };
        flaws.extend(fault.map(|fault| address.invalid(fault, "")));
    }
    for port in &ports {
        if ports.len() > 1 && port.get("name").text().is_none() {
            flaws.push(port.get("name").flaw("Required value", "ports of a service with several need names"));
        }
        if kind == Some("ClusterIP") && port.get("nodePort").count().is_some_and(|port| port > 0) {
            let message = "Forbidden: may not be used when `type` is 'ClusterIP'";
            flaws.push(port.get("nodePort").flaw(message, "use the type NodePort or LoadBalancer"));
        }
    }
    let addresses = spec.get("clusterIPs").items();
    if let (Some(first), Some(address)) = (addresses.first(), spec.get("clusterIP").text())
        && first.text() != Some(address)
    {
        flaws.push(spec.get("clusterIPs").invalid("first value must match `clusterIP`", ""));
    }
    if !addresses.is_empty() && spec.get("clusterIP").text().is_none() {
        let fault = "must be empty when `clusterIP` is not specified";
        flaws.push(spec.get("clusterIPs").invalid(fault, "give the first of them as clusterIP, too"));
    }
    if addresses.len() > 1 && addresses.iter().any(|address| address.text() == Some("None")) {
        flaws.push(spec.get("clusterIPs").invalid("'None' must be the first and only value", ""));
    }
    let families = spec.get("ipFamilies").items();
    for (index, family) in families.iter().enumerate() {
        if families[..index].iter().any(|before| before.value() == family.value()) {
            flaws.push(family.flaw(format!("Duplicate value: {}", quoted(family.value())), ""));
        }
    }
    if addresses.len() > 2 {
        flaws.push(spec.get("clusterIPs").invalid("may only hold up to 2 values", ""));
    }
}

fn config_map(root: &Field<'_>, flaws: &mut Vec<Flaw>) {
    for (name, field) in root.get("data").entries() {
        if !root.get("binaryData").get(name).is_absent() {
            flaws.push(field.flaw("Invalid value: duplicate of key present in binaryData", ""));
        }
    }
}

/// What a rule in the definition of the kind says, which is beyond what is known of rules here.
fn gateway(listeners: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let mut seen = BTreeSet::new();
    let mut is_unique = true;
    for listener in listeners.items() {
        let text = |name: &str| listener.get(name).text().unwrap_or_default().to_owned();
        is_unique &= seen.insert((listener.get("port").count(), text("protocol"), text("hostname")));
    }
    if !is_unique {
        let fault = "Combination of port, protocol and hostname must be unique for each listener";
        flaws.push(listeners.flaw(format!("Invalid value: {fault}"), ""));
    }
}

/// The selector of a ReplicationController, which is a mapping of labels alone.
fn replication_selector(spec: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let labels = spec.at("template.metadata.labels");
    let is_missed = |(name, value): (&String, Field<'_>)| labels.get(name).value() != value.value();
    if spec.get("selector").entries().any(is_missed) && spec.get("template").value().is_object() {
        flaws.push(labels.invalid("`selector` does not match template `labels`", ""));
    }
}

fn endpoint_slice(root: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let address_type = root.get("addressType").text();
    for endpoint in root.get("endpoints").items() {
        for address in endpoint.get("addresses").items() {
            let Some(text) = address.value().as_str() else { continue };
            let parsed = text.parse::<IpAddr>();
            let fault = match (address_type, parsed) {
                (Some("IPv4"), Ok(IpAddr::V4(ip))) => special(ip.into()),
                (Some("IPv6"), Ok(IpAddr::V6(ip))) if ip.to_ipv4_mapped().is_some() => {
                    Some("must not be an IPv4-mapped IPv6 address")
                }
                (Some("IPv6"), Ok(IpAddr::V6(ip))) => special(ip.into()),
                (Some("IPv4"), _) => Some("must be an IPv4 address"),
                (Some("IPv6"), _) => Some("must be an IPv6 address"),
                (Some("FQDN"), _) if !is_dns_subdomain(text) => {
                    Some("must be a lowercase RFC 1123 subdomain")
                }
                _ => None,
            };
            flaws.extend(fault.map(|fault| address.invalid(fault, "")));
        }
    }
}

/// Why an address cannot be that of an endpoint.
fn special(address: IpAddr) -> Option<&'static str> {
    let is_link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    };
    if address.is_unspecified() {
        Some("may not be unspecified")
    } else if address.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if is_link_local {
        Some("may not be in the link-local range (169.254.0.0/16,fe80::/10)")
    } else if is_link_local_multicast(address) {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

/// A template of pods whose containers may restart in these ways.
fn template(template: &Field<'_>, restart: &[&str], flaws: &mut Vec<Flaw>) {
    let spec = template.get("spec");
    let policy = spec.get("restartPolicy");
    if let Some(text) = policy.text()
        && !restart.contains(&text)
    {
        let supported: Vec<String> = restart.iter().map(|choice| format!("{choice:?}")).collect();
        let supported = supported.join(", ");
        flaws.push(if restart.contains(&"Always") {
            policy.flaw(
                format!("Unsupported value: {}: supported values: {supported}", quoted(policy.value())),
                "",
            )
        } else {
            policy.flaw(format!("Required value: valid values: {supported}"), "")
        });
    }
    pod(&spec, flaws);
}

fn pod(spec: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let mut names = BTreeSet::new();
    for container in spec.get("containers").items().into_iter().chain(spec.get("initContainers").items()) {
        let name = container.get("name");
        match name.text() {
            Some(text) if !names.insert(text) => {
                flaws.push(name.flaw(format!("Duplicate value: {}", quoted(name.value())), ""));
            }
            Some(_) => {}
            // A name that is absent is reported by its type.
            None if name.value().is_string() => flaws.push(name.flaw("Required value", "")),
            None => {}
        }
        let mut ports = BTreeSet::new();
        for port in container.get("ports").items() {
            let name = port.get("name");
            if let Some(text) = name.text()
                && !ports.insert(text)
            {
                flaws.push(name.flaw(format!("Duplicate value: {}", quoted(name.value())), ""));
            }
            let host = port.get("hostPort").count().filter(|host| *host > 0);
            if spec.get("hostNetwork").is_true()
                && host.is_some_and(|host| Some(host) != port.get("containerPort").count())
            {
                let fault = "must match `containerPort` when `hostNetwork` is true";
                flaws.push(port.get("hostPort").invalid(fault, ""));
            }
        }
    }
}

/// The selector of a controller must select something, and the template too.
fn selector(spec: &Field<'_>, flaws: &mut Vec<Flaw>) {
    let selector = spec.get("selector");
    if selector.is_absent() {
        return;
    }
    let labels = spec.at("template.metadata.labels");
    let expressions = selector.get("matchExpressions").items();
    if selector.get("matchLabels").entries().next().is_none() && expressions.is_empty() {
        return flaws.push(selector.invalid("empty selector is invalid for deployment", "give matchLabels"));
    }
    for expression in &expressions {
        let has_values = !expression.get("values").items().is_empty();
        match expression.get("operator").text() {
            Some("In" | "NotIn") if !has_values => flaws.push(
                expression
                    .get("values")
                    .flaw("Required value: must be specified when `operator` is 'In' or 'NotIn'", ""),
            ),
            Some("Exists" | "DoesNotExist") if has_values => {
                flaws.push(expression.get("values").flaw(
                    "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    "",
                ))
            }
            _ => {}
        }
    }
    let missed = selector
        .get("matchLabels")
        .entries()
        .find(|(name, value)| labels.get(name).value() != value.value())
        .map(|(name, value)| format!("{name}={}", value.value().as_str().unwrap_or_default()))
        .or_else(|| {
            let missed = expressions.iter().find(|expression| !selects(expression, &labels));
            missed.map(|expression| quoted(expression.value()))
        });
    if let (Some(missed), true) = (missed, spec.get("template").value().is_object()) {
        let help = format!("the selector wants {missed:?}");
        flaws.push(labels.invalid("`selector` does not match template `labels`", help));
    }
}

fn selects(expression: &Field<'_>, labels: &Field<'_>) -> bool {
    let value = labels.get(expression.get("key").text().unwrap_or_default());
    let is_listed = || expression.get("values").items().iter().any(|listed| listed.value() == value.value());
    match expression.get("operator").text() {
        Some("In") => is_listed(),
        Some("NotIn") => !is_listed(),
        Some("Exists") => !value.is_absent(),
        Some("DoesNotExist") => value.is_absent(),
        _ => true,
    }
}

/// What is wrong with the name of an object; `None` if it is a name for objects of the kind.
pub(super) fn name(group: &str, kind: &str, name: &str) -> Option<&'static str> {
    // The names of roles and bindings hold whatever a segment of a path can (`system:node`).
    if group == "rbac.authorization.k8s.io" {
        let is_segment = !name.is_empty()
            && name.len() <= 253
            && name != "."
            && name != ".."
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'%');
        return (!is_segment).then_some("must not contain '/', '%' or blanks");
    }
    if matches!((group, kind), ("", "Namespace" | "Service")) {
        let fault = "must be a lowercase RFC 1123 label: letters, digits and '-', at most 63";
        return (!is_dns_label(name)).then_some(fault);
    }
    let fault = "must be a lowercase RFC 1123 subdomain: letters, digits, '-' and '.', with a letter or digit at both ends of each part";
    (!is_dns_subdomain(name)).then_some(fault)
}
