use super::metadata::Metadata;
use super::number::{ProtoNumber, ProtoPort};
use super::pairs::StrictPairs;
use super::text::{Text, or_empty};
use super::{read, wrong::Wrong};
use crate::facts::{EntryAddress, WorkloadEntry, WorkloadEntrySpec};
use crate::{Kind, shared};
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
                Err(_) => EntryAddress::Hostname(shared(address)),
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
