//! Gives services their cluster addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::Severity;
use serde_json::{Map, Value, json};

use super::address::Addresses;
use super::objects::{items_at, of_kind, report, text_at};
use crate::hash::Hasher;
use crate::{Key, Objects, Problem, code};

/// Completes every service of the folder.
pub(super) fn assign_addresses(
    objects: &mut Objects,
    addresses: &mut Addresses,
    problems: &mut Vec<Problem>,
) {
    let keys: Vec<Key> = of_kind(objects, "", "Service").map(|object| object.key.clone()).collect();
    let mut holders: BTreeMap<IpAddr, Key> = BTreeMap::new();
    for key in keys {
        let Some(object) = objects.get_mut(&key) else { continue };
        for address in stated(&object.value) {
            if let Some(holder) = holders.get(&address) {
                let message = format!("cluster address {address} belongs to {holder} already");
                report(
                    problems,
                    object,
                    (code::CLUSTER_ADDRESS, Severity::Warning),
                    message,
                    "leave spec.clusterIP out to get a free one",
                );
            } else {
                holders.insert(address, key.clone());
            }
        }
        let mut value = object.value.clone();
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut)
            && text(spec, "type") != Some("ExternalName")
        {
            set_addresses(spec, &key, addresses);
            set_balancer(&mut value, &key, addresses);
        }
        Arc::make_mut(object).value = value;
    }
}

/// Sets the address of a load balancer: the one that is asked for, else one of our own.
fn set_balancer(value: &mut Value, key: &Key, addresses: &mut Addresses) {
    let is_balanced = text_at(value, "/spec/type") == Some("LoadBalancer")
        && text_at(value, "/spec/loadBalancerClass").is_none()
        && items_at(value, "/status/loadBalancer/ingress").is_empty();
    if !is_balanced {
        return;
    }
    let asked: Option<IpAddr> = text_at(value, "/spec/loadBalancerIP").and_then(|text| text.parse().ok());
    let address = asked.or_else(|| {
        let hash = Hasher::new("balancer address").part(&key.namespace).part(&key.name).finish();
        addresses.balancer(hash).map(IpAddr::V4)
    });
    let status = value.as_object_mut().map(|fields| fields.entry("status").or_insert_with(|| json!({})));
    if let (Some(address), Some(Value::Object(status))) = (address, status) {
        status.insert("loadBalancer".to_owned(), json!({"ingress": [{"ip": address.to_string()}]}));
    }
}

/// The cluster addresses that the service states itself.
fn stated(value: &Value) -> Vec<IpAddr> {
    let one = text_at(value, "/spec/clusterIP");
    let more = items_at(value, "/spec/clusterIPs").iter().filter_map(Value::as_str);
    let mut all: Vec<IpAddr> = one.into_iter().chain(more).filter_map(|text| text.parse().ok()).collect();
    all.dedup();
    all
}

fn text<'s>(spec: &'s Map<String, Value>, name: &str) -> Option<&'s str> {
    spec.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Sets `clusterIP`, `clusterIPs` and `ipFamilies`, each unless it is there; a headless service has
/// the address `None`. Values of a wrong type are left for the reader of the object.
fn set_addresses(spec: &mut Map<String, Value>, key: &Key, addresses: &mut Addresses) {
    let has_list =
        spec.get("clusterIPs").is_some_and(|list| list.as_array().is_none_or(|list| !list.is_empty()));
    let families = families(spec);
    let given = match spec.get("clusterIP") {
        None | Some(Value::Null) => None,
        Some(Value::String(address)) if address.is_empty() => None,
        Some(Value::String(address)) => Some(address.clone()),
        Some(_) => return,
    };
    let list: Vec<String> = match given {
        Some(address) if address == "None" => vec![address],
        Some(address) => {
            // Without families written, the stated address tells its own.
            if let (false, Ok(parsed)) = (spec.contains_key("ipFamilies"), address.parse::<IpAddr>()) {
                let family = if parsed.is_ipv6() { "IPv6" } else { "IPv4" };
                spec.insert("ipFamilies".to_owned(), json!([family]));
            }
            vec![address]
        }
        None if has_list => {
            if let Some(first) = spec.get("clusterIPs").and_then(|list| list.get(0)).cloned() {
                spec.insert("clusterIP".to_owned(), first);
            }
            return;
        }
        None => families
            .iter()
            .filter_map(|family| {
                let hash = Hasher::new("service address").part(&key.namespace).part(&key.name).finish();
                match family.as_str() {
                    "IPv6" => Some(addresses.service_v6(hash).to_string()),
                    _ => addresses.service(hash).map(|address| address.to_string()),
                }
            })
            .collect(),
    };
    let Some(first) = list.first() else { return };
    spec.insert("clusterIP".to_owned(), json!(first));
    if !has_list {
        spec.insert("clusterIPs".to_owned(), json!(list));
    }
    spec.entry("ipFamilies").or_insert_with(|| json!(families));
}

/// The address families of the service: as written, or IPv4, with IPv6 if both are required.
fn families(spec: &Map<String, Value>) -> Vec<String> {
    let written = spec.get("ipFamilies").and_then(Value::as_array);
    let mut families: Vec<String> =
        written.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    if families.len() == 1 && text(spec, "ipFamilyPolicy") == Some("RequireDualStack") {
        families.push(if families[0] == "IPv6" { "IPv4" } else { "IPv6" }.to_owned());
    }
    families.truncate(2);
    families
}
