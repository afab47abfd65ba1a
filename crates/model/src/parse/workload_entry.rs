use super::metadata::Metadata;
use super::number::{ProtoNumber, ProtoPort};
use super::pairs::StrictPairs;
use super::text::{Text, or_empty, shared_host};
use super::{read, wrong::Wrong};
use crate::facts::{EntryAddress, WorkloadEntry, WorkloadEntrySpec};
use crate::{Kind, is_hostname, shared};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<EntryManifest<'a>>,
}

/// `networking.istio.io` `WorkloadEntry`, as a spec and as an inline endpoint.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct EntryManifest<'a> {
    #[serde(borrow)]
    address: Option<Text<'a>>,
    #[serde(borrow)]
    ports: Option<BTreeMap<Text<'a>, ProtoPort>>,
    #[serde(borrow)]
    labels: Option<StrictPairs<'a>>,
    #[serde(borrow)]
    network: Option<Text<'a>>,
    #[serde(borrow)]
    locality: Option<Text<'a>>,
    weight: Option<ProtoNumber>,
    #[serde(borrow, alias = "service_account")]
    service_account: Option<Text<'a>>,
}

/// Returns the facts of a `WorkloadEntry`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<WorkloadEntry, Wrong> {
    let Manifest { metadata, spec } = read::manifest(json)?;
    let spec = spec.unwrap_or_default().lower();
    let meta = metadata.meta(Kind::WorkloadEntry)?;
    let labels = if spec.labels.is_empty() { meta.labels.clone() } else { spec.labels.merged(&meta.labels) };
    Ok(WorkloadEntry { meta, labels, spec })
}

impl EntryManifest<'_> {
    /// Returns the facts of the entry.
    pub(super) fn lower(self) -> WorkloadEntrySpec {
        let address = or_empty(&self.address);
        let ports = self.ports.unwrap_or_default();
        WorkloadEntrySpec {
            address: match address.parse() {
                Ok(ip) => EntryAddress::Ip(ip),
                Err(_) if address.is_empty() || is_hostname(address) => {
                    EntryAddress::Hostname(shared_host(address))
                }
                Err(_) => EntryAddress::Invalid(shared(address)),
            },
            ports: ports.iter().map(|(name, port)| (name.shared(), port.port())).collect(),
            labels: self.labels.as_ref().map(StrictPairs::labels).unwrap_or_default(),
            network: shared(or_empty(&self.network)),
            locality: shared(or_empty(&self.locality)),
            weight: self.weight.map_or(0, ProtoNumber::get),
            service_account: shared(or_empty(&self.service_account)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use serde_json::{Value, json};

    fn entry(spec: Value) -> WorkloadEntry {
        let metadata = json!({"name": "vm", "namespace": "shop", "labels": {"app": "meta", "m": "1"},
            "annotations": {"istio.io/autoRegistrationGroup": "g"}});
        parse(json!({"metadata": metadata, "spec": spec}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_entry_gives_all_its_facts() {
        let entry = entry(json!({
            "address": "192.0.2.1", "ports": {"http": 8080, "grpc": "9090"}, "labels": {"app": "spec", "s": "1"},
            "network": "n2", "locality": "r/z/s", "weight": "5", "serviceAccount": "vm",
        }));
        let expected = WorkloadEntrySpec {
            address: EntryAddress::Ip("192.0.2.1".parse().unwrap()),
            ports: vec![("grpc".into(), 9090), ("http".into(), 8080)],
            labels: Labels::new([("app", "spec"), ("s", "1")]),
            network: "n2".into(),
            locality: "r/z/s".into(),
            weight: 5,
            service_account: "vm".into(),
        };
        assert_eq!(entry.spec, expected);
        assert_eq!(entry.meta.annotations.get("istio.io/autoRegistrationGroup").unwrap(), "g");
    }

    #[test]
    fn labels_of_the_object_win_over_those_of_the_spec() {
        let merged = entry(json!({"labels": {"app": "spec", "s": "1"}})).labels;
        assert_eq!(merged, Labels::new([("app", "meta"), ("m", "1"), ("s", "1")]));
        assert_eq!(entry(json!({})).labels, Labels::new([("app", "meta"), ("m", "1")]));
    }

    #[test]
    fn an_address_is_an_ip_address_or_a_host_or_none_of_both() {
        let address = |text: &str| entry(json!({"address": text})).spec.address;
        for (text, host) in
            [("vm.example.org", "vm.example.org"), ("VM.Example.org", "vm.example.org"), ("", "")]
        {
            assert_eq!(address(text), EntryAddress::Hostname(host.into()));
        }
        assert_eq!(address("FD00::1"), EntryAddress::Ip("fd00::1".parse().unwrap()));
        for text in
            ["192.0.2.11:8080", "10.0.0.256", "unix:///run/x", "*.example.org", " 10.0.0.1", "[fd00::1]"]
        {
            assert_eq!(address(text), EntryAddress::Invalid(text.into()));
        }
    }
}
