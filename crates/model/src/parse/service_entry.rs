use super::enumeration::Enumeration;
use super::number::ProtoPort;
use super::pairs::StrictPairs;
use super::read::{self, Manifest};
use super::text::{Text, or_empty, shared_host, shared_list};
use super::workload_entry::EntryManifest;
use super::{code, wrong::Wrong};
use crate::facts::{Resolution, ServiceEntry, ServiceEntryAddress, ServiceEntryPort};
use crate::{Kind, shared};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    hosts: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    addresses: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    ports: Option<Vec<PortManifest<'a>>>,
    resolution: Option<Enumeration>,
    location: Option<Enumeration>,
    #[serde(borrow)]
    endpoints: Option<Vec<EntryManifest<'a>>>,
    #[serde(borrow, alias = "workload_selector")]
    workload_selector: Option<Selector<'a>>,
    #[serde(borrow, alias = "subject_alt_names")]
    subject_alt_names: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PortManifest<'a> {
    number: Option<ProtoPort>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    #[serde(alias = "target_port")]
    target_port: Option<ProtoPort>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Selector<'a> {
    #[serde(borrow)]
    labels: Option<StrictPairs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Status<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<StatusAddress<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct StatusAddress<'a> {
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    host: Option<Text<'a>>,
}

const RESOLUTIONS: &[(&str, i64, Resolution)] = &[
    ("NONE", 0, Resolution::None),
    ("STATIC", 1, Resolution::Static),
    ("DNS", 2, Resolution::Dns),
    ("DNS_ROUND_ROBIN", 3, Resolution::DnsRoundRobin),
    ("DYNAMIC_DNS", 4, Resolution::DynamicDns),
];

/// (name, number). No ztunnel is told where the hosts are; a value that is none is named all the same.
const LOCATIONS: &[(&str, i64, ())] = &[("MESH_EXTERNAL", 0, ()), ("MESH_INTERNAL", 1, ())];

/// Returns the facts of a `ServiceEntry`.
///
/// # Errors
/// As [`super::parse`], and for an unknown `resolution` or `location`.
pub(super) fn parse(json: &[u8]) -> Result<ServiceEntry, Wrong> {
    let Manifest::<Spec<'_>, Status<'_>> { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    if let Some(location) = &spec.location {
        location.pick(LOCATIONS, code::ENTRY_LOCATION, "spec.location".to_owned())?;
    }
    Ok(ServiceEntry {
        meta: metadata.meta(Kind::ServiceEntry)?,
        hosts: spec.hosts.iter().flatten().map(|host| shared_host(host.as_str())).collect(),
        addresses: spec.addresses.iter().flatten().map(|a| address(a.as_str())).collect(),
        ports: spec.ports.iter().flatten().map(PortManifest::lower).collect(),
        resolution: match &spec.resolution {
            Some(r) => r.pick(RESOLUTIONS, code::ENTRY_RESOLUTION, "spec.resolution".to_owned())?,
            None => Resolution::None,
        },
        endpoints: spec.endpoints.unwrap_or_default().into_iter().map(EntryManifest::lower).collect(),
        selector: spec
            .workload_selector
            .map(|s| s.labels.as_ref().map(StrictPairs::labels).unwrap_or_default()),
        subject_alt_names: shared_list(spec.subject_alt_names),
        status_addresses: status.addresses.iter().flatten().filter_map(StatusAddress::lower).collect(),
    })
}

fn address(text: &str) -> ServiceEntryAddress {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return ServiceEntryAddress::Ip(ip);
    }
    match text.parse::<IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => ServiceEntryAddress::Ip(net.addr()),
        Ok(net) => ServiceEntryAddress::Net(net.trunc()),
        Err(_) => ServiceEntryAddress::Invalid(shared(text)),
    }
}

impl PortManifest<'_> {
    fn lower(&self) -> ServiceEntryPort {
        let number = self.number.map_or(0, ProtoPort::port);
        let target = self.target_port.map_or(0, ProtoPort::port);
        ServiceEntryPort {
            number,
            name: shared(or_empty(&self.name)),
            protocol: shared(or_empty(&self.protocol)),
            target: if target == 0 { number } else { target },
        }
    }
}

impl StatusAddress<'_> {
    fn lower(&self) -> Option<(crate::Str, IpAddr)> {
        let ip = or_empty(&self.value).parse().ok()?;
        Some((shared_host(or_empty(&self.host)), ip))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use crate::facts::EntryAddress;
    use serde_json::{Value, json};

    fn entry(mut manifest: Value) -> Result<ServiceEntry, Wrong> {
        manifest["metadata"] = json!({"name": "ext", "namespace": "shop"});
        parse(manifest.to_string().as_bytes())
    }

    #[test]
    fn an_entry_gives_all_its_facts() {
        let entry = entry(json!({
            "spec": {
                "hosts": ["a.example.org", "*.b.example.org"],
                "addresses": ["192.0.2.1", "10.1.2.3/8", "192.0.2.7/32", "fd00::1/64", "nonsense"],
                "ports": [
                    {"number": 443, "name": "tls", "protocol": "TLS", "targetPort": 8443},
                    {"number": "80", "name": "http"},
                ],
                "resolution": "STATIC", "location": "MESH_INTERNAL",
                "endpoints": [{"address": "10.0.0.1", "labels": {"a": "b"}}],
                "workloadSelector": {"labels": {"app": "x"}}, "subjectAltNames": ["spiffe://x"], "exportTo": ["."],
            },
            "status": {"addresses": [
                {"value": "240.240.0.1", "host": "a.example.org"}, {"value": "broken", "host": "h"},
            ]},
        }))
        .unwrap();
        assert_eq!(entry.hosts, ["a.example.org", "*.b.example.org"]);
        assert_eq!(
            entry.addresses,
            [
                ServiceEntryAddress::Ip("192.0.2.1".parse().unwrap()),
                ServiceEntryAddress::Net("10.0.0.0/8".parse().unwrap()),
                ServiceEntryAddress::Ip("192.0.2.7".parse().unwrap()),
                ServiceEntryAddress::Net("fd00::/64".parse().unwrap()),
                ServiceEntryAddress::Invalid("nonsense".into()),
            ]
        );
        let ports: Vec<_> =
            entry.ports.iter().map(|p| (p.number, p.name.as_str(), p.protocol.as_str(), p.target)).collect();
        assert_eq!(ports, [(443, "tls", "TLS", 8443), (80, "http", "", 80)]);
        assert_eq!(entry.resolution, Resolution::Static);
        assert_eq!(entry.endpoints[0].address, EntryAddress::Ip("10.0.0.1".parse().unwrap()));
        assert_eq!(entry.selector, Some(Labels::new([("app", "x")])));
        assert_eq!(entry.subject_alt_names, ["spiffe://x"]);
        assert_eq!(entry.status_addresses, [("a.example.org".into(), "240.240.0.1".parse().unwrap())]);
    }

    #[test]
    fn hosts_are_in_lower_case_wherever_they_stand() {
        let entry = entry(json!({
            "spec": {"hosts": ["API.Example.org", "*.B.example.org"], "endpoints": [{"address": "VM.Example.org"}]},
            "status": {"addresses": [{"value": "240.240.0.1", "host": "API.example.ORG"}]},
        }))
        .unwrap();
        assert_eq!(entry.hosts, ["api.example.org", "*.b.example.org"]);
        assert_eq!(entry.endpoints[0].address, EntryAddress::Hostname("vm.example.org".into()));
        assert_eq!(entry.status_addresses, [("api.example.org".into(), "240.240.0.1".parse().unwrap())]);
    }

    #[test]
    fn resolutions_are_read_by_name_and_by_number() {
        for (written, resolution) in [
            (json!("NONE"), Resolution::None),
            (json!("DNS"), Resolution::Dns),
            (json!("DNS_ROUND_ROBIN"), Resolution::DnsRoundRobin),
            (json!("DYNAMIC_DNS"), Resolution::DynamicDns),
            (json!(1), Resolution::Static),
            (json!(null), Resolution::None),
        ] {
            assert_eq!(entry(json!({"spec": {"resolution": written}})).unwrap().resolution, resolution);
        }
    }

    #[test]
    fn a_selector_without_labels_is_still_one() {
        assert_eq!(
            entry(json!({"spec": {"workloadSelector": {}}})).unwrap().selector,
            Some(Labels::default())
        );
        assert_eq!(entry(json!({"spec": {}})).unwrap().selector, None);
    }

    #[test]
    fn a_wrong_endpoint_is_named_with_its_path() {
        let endpoints = json!([{"address": "10.0.0.1"}, {"ports": {"http": 70000}}]);
        let wrong = entry(json!({"spec": {"endpoints": endpoints}})).unwrap_err();
        assert_eq!(wrong.into_diagnostic(None).field, "spec.endpoints[1].ports.http");
    }
}
