use super::{Meta, WorkloadEntrySpec};
use crate::{Labels, Str};
use ipnet::IpNet;
use std::net::IpAddr;

/// `spec.resolution`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resolution {
    /// `NONE`.
    #[default]
    None,
    /// `STATIC`.
    Static,
    /// `DNS`.
    Dns,
    /// `DNS_ROUND_ROBIN`.
    DnsRoundRobin,
    /// `DYNAMIC_DNS`.
    DynamicDns,
}

/// An entry of `spec.addresses`: an address or a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceEntryAddress {
    /// A single host.
    Ip(IpAddr),
    /// A network, masked.
    Net(IpNet),
    /// Neither: the whole entry is not sent.
    Invalid(Str),
}

/// An entry of `spec.ports`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceEntryPort {
    /// `number`.
    pub number: u16,
    /// `name`.
    pub name: Str,
    /// `protocol`, as written.
    pub protocol: Str,
    /// `targetPort`, or `number` when unset.
    pub target: u16,
}

/// Facts of a `ServiceEntry`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceEntry {
    /// Metadata.
    pub meta: Meta,
    /// `spec.hosts`, in order and in lower case.
    pub hosts: Vec<Str>,
    /// `spec.addresses`, in order.
    pub addresses: Vec<ServiceEntryAddress>,
    /// `spec.ports`, in order.
    pub ports: Vec<ServiceEntryPort>,
    /// `spec.resolution`.
    pub resolution: Resolution,
    /// `spec.endpoints`, in order.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// `spec.workloadSelector.labels`, if a selector is written.
    pub selector: Option<Labels>,
    /// `spec.subjectAltNames`, in order.
    pub subject_alt_names: Vec<Str>,
    /// `status.addresses[]`: (host, value) that parse, in order; hosts in lower case.
    pub status_addresses: Vec<(Str, IpAddr)>,
}
