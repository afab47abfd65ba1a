use super::Meta;
use crate::{Labels, Str};
use std::net::IpAddr;

/// The address of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A hostname in lower case, or "" where there is no address.
    Hostname(Str),
    /// Neither, as it is written: the workload is not sent.
    Invalid(Str),
}

impl Default for EntryAddress {
    fn default() -> Self {
        EntryAddress::Hostname(Str::new())
    }
}

/// The fields that a `WorkloadEntry` spec and an inline endpoint of a `ServiceEntry` share
/// (`networking.istio.io` `WorkloadEntry`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WorkloadEntrySpec {
    /// `address`.
    pub address: EntryAddress,
    /// `ports`, ascending by name.
    pub ports: Vec<(Str, u16)>,
    /// `labels`; for a `WorkloadEntry` object see [`WorkloadEntry::labels`] instead.
    pub labels: Labels,
    /// `network`; empty when unset.
    pub network: Str,
    /// `locality`, as written (`region/zone/subzone`).
    pub locality: Str,
    /// `weight`; 0 when unset.
    pub weight: u32,
    /// `serviceAccount`; empty when unset.
    pub service_account: Str,
}

/// Facts of a `WorkloadEntry`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WorkloadEntry {
    /// Metadata.
    pub meta: Meta,
    /// `spec.labels` merged with the metadata's, the metadata's winning.
    pub labels: Labels,
    /// `spec`.
    pub spec: WorkloadEntrySpec,
}
