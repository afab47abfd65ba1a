use super::enumeration::Enumeration;
use super::metadata::Metadata;
use super::number::ProtoPort;
use super::pairs::StrictPairs;
use super::text::{Text, or_empty, shared_list};
use super::workload_entry::EntryManifest;
use super::{code, read, wrong::Wrong};
use crate::facts::{Resolution, ServiceEntry, ServiceEntryAddress, ServiceEntryPort};
use crate::{Kind, shared};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

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

/// (name, number, whether the hosts are part of the mesh).
const LOCATIONS: &[(&str, i64, bool)] = &[("MESH_EXTERNAL", 0, false), ("MESH_INTERNAL", 1, true)];

/// Returns the facts of a `ServiceEntry`.
///
/// # Errors
/// As [`super::parse`], and for an unknown `resolution` or `location`.
pub(super) fn parse(json: &[u8]) -> Result<ServiceEntry, Wrong> {
    let Manifest { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    Ok(ServiceEntry {
        meta: metadata.meta(Kind::ServiceEntry)?,
        hosts: shared_list(spec.hosts),
        addresses: spec.addresses.iter().flatten().map(|a| address(a.as_str())).collect(),
        ports: spec.ports.iter().flatten().map(PortManifest::lower).collect(),
        resolution: match &spec.resolution {
            Some(r) => r.pick(RESOLUTIONS, code::ENTRY_RESOLUTION, "spec.resolution".to_owned())?,
            None => Resolution::None,
        },
        mesh_internal: match &spec.location {
            Some(l) => l.pick(LOCATIONS, code::ENTRY_LOCATION, "spec.location".to_owned())?,
            None => false,
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
        Some((shared(or_empty(&self.host)), ip))
    }
}
