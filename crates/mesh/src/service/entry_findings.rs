//! What the author of a ServiceEntry should know.

use model::facts::{EntryAddress, Resolution, ServiceEntry, ServiceEntryAddress, ServiceEntryPort};
use model::{Diagnostic, Kind, ObjectRef, Severity, Str};
use std::collections::BTreeMap;
use std::fmt;

use super::app_protocol::PortProtocol;

/// Codes of the diagnostics that arise here.
mod code {
    /// An entry has an address that is none.
    pub(super) const ADDRESS: &str = "SE003";
    /// An entry does not have a host that it names.
    pub(super) const HOST_TAKEN: &str = "SE004";
    /// Nobody is to see an entry.
    pub(super) const NOT_VISIBLE: &str = "SE005";
    /// An endpoint has an address that is none.
    pub(super) const ENDPOINT_ADDRESS: &str = "SE006";
    /// Of endpoints with one address only the first is sent.
    pub(super) const ENDPOINT_REPEATED: &str = "SE007";
    /// Workloads are given, and the resolution leaves them out.
    pub(super) const UNUSED_WORKLOADS: &str = "SE008";
    /// DNS has no addresses for a host with a wildcard.
    pub(super) const WILDCARD_BY_DNS: &str = "SE009";
    /// A port of streams of hosts that requests name leads nowhere.
    pub(super) const STREAMS_BY_NAME: &str = "SE010";
    /// A host is within the domain of another namespace.
    pub(super) const HOST_OF_ANOTHER: &str = "SE012";
    /// An address is another's.
    pub(super) const ADDRESS_TAKEN: &str = "SE013";
}

/// Why an endpoint of an entry is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndpointFault<'e> {
    /// Its address is neither an IP address nor a hostname.
    Invalid(&'e Str),
    /// The endpoint at this place has the same address.
    Repeated(usize),
}

impl fmt::Display for EndpointFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(f, "{text:?} is neither an IP address nor a hostname"),
            Self::Repeated(first) => write!(f, "spec.endpoints[{first}] has the same address"),
        }
    }
}

/// Returns the endpoints of an entry that are not sent, by their places.
pub(crate) fn endpoint_faults(entry: &ServiceEntry) -> Vec<(usize, EndpointFault<'_>)> {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let faults = entry.endpoints.iter().enumerate().filter_map(|(n, endpoint)| {
        let address = match &endpoint.address {
            EntryAddress::Ip(ip) => ip.to_string(),
            EntryAddress::Hostname(host) => host.to_string(),
            EntryAddress::Invalid(text) => return Some((n, EndpointFault::Invalid(text))),
        };
        let place = *first.entry(address).or_insert(n);
        (place != n).then_some((n, EndpointFault::Repeated(place)))
    });
    faults.collect()
}

/// Returns what the author of an entry should know: what of it is not sent, and what is sent in vain.
/// `holder` tells which object has a hostname in the entry's namespace, `is_for_all` whether an entry of this namespace may
/// have it for others.
pub(super) fn diagnostics(
    entry: &ServiceEntry,
    is_seen: bool,
    holder: impl Fn(&Str) -> Option<ObjectRef>,
    is_for_all: impl Fn(&Str) -> bool,
) -> Vec<Diagnostic> {
    let own = ObjectRef { kind: Kind::ServiceEntry, name: entry.meta.name.clone() };
    let diagnostic = |code, severity, field: String, message, help: &str| Diagnostic {
        code,
        severity,
        object: Some(own.clone()),
        field,
        message,
        help: help.to_owned(),
        place: None,
    };
    let invalid: Vec<_> = entry
        .addresses
        .iter()
        .enumerate()
        .filter_map(|(n, address)| match address {
            ServiceEntryAddress::Invalid(text) => Some(diagnostic(
                code::ADDRESS,
                Severity::Error,
                format!("spec.addresses[{n}]"),
                format!("{text:?} is neither an IP address nor a range of them"),
                "write one such as 10.0.0.1 or 10.0.0.0/16; until then nothing of this entry is sent",
            )),
            _ => None,
        })
        .collect();
    if !invalid.is_empty() {
        return invalid;
    }
    if !is_seen {
        return vec![diagnostic(
            code::NOT_VISIBLE,
            Severity::Warning,
            String::new(),
            "serviceEntryVisibility of the mesh settings hides it from everybody".to_owned(),
            "ask whoever keeps the settings to show entries of this namespace; until then nothing of it is sent",
        )];
    }
    let taken = entry.hosts.iter().enumerate().filter_map(|(n, host)| {
        let other = holder(host).filter(|other| *other != own)?;
        Some(diagnostic(
            code::HOST_TAKEN,
            Severity::Warning,
            format!("spec.hosts[{n}]"),
            format!("host {host:?} is that of {other}"),
            "a Service goes before an entry of its namespace, and the older of two entries before the other",
        ))
    });
    let elsewhere = entry.hosts.iter().enumerate().filter(|(_, host)| !is_for_all(host)).map(|(n, host)| {
        diagnostic(
            code::HOST_OF_ANOTHER,
            Severity::Warning,
            format!("spec.hosts[{n}]"),
            format!("host {host:?} is in the domain of Services of another namespace, so namespace {:?} alone sees it", &*entry.meta.name.ns),
            "move the entry to that namespace, or to the root namespace, which may have any host",
        )
    });
    let endpoints = endpoint_faults(entry).into_iter().map(|(n, fault)| {
        let (code, severity, field, help) = match fault {
            EndpointFault::Invalid(_) => (
                code::ENDPOINT_ADDRESS,
                Severity::Error,
                ".address",
                "write an address such as 10.0.0.1 or vm.example.org, and ports in `ports`; until then the endpoint is not sent",
            ),
            EndpointFault::Repeated(_) => (
                code::ENDPOINT_REPEATED,
                Severity::Warning,
                "",
                "one endpoint is sent for an address: give each its own, or remove one of them",
            ),
        };
        diagnostic(code, severity, format!("spec.endpoints[{n}]{field}"), fault.to_string(), help)
    });
    let has = |host: &Str| holder(host).is_none_or(|holder| holder == own);
    let wildcards = wildcards(entry, &diagnostic, &has);
    let nowhere = streams_by_name(entry, &diagnostic);
    taken
        .chain(elsewhere)
        .chain(endpoints)
        .chain(unused(entry, &diagnostic))
        .chain(wildcards)
        .chain(nowhere)
        .collect()
}

/// Returns what the author of an entry should know of addresses that are others', by their places.
pub(super) fn addresses_taken(entry: &ServiceEntry, taken: &[(usize, ObjectRef)]) -> Vec<Diagnostic> {
    let each = taken.iter().map(|(n, holder)| Diagnostic {
        code: code::ADDRESS_TAKEN,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::ServiceEntry, name: entry.meta.name.clone() }),
        field: format!("spec.addresses[{n}]"),
        message: format!("the address is that of {holder}, so it is not the entry's"),
        help: "choose another address, or leave out spec.addresses to be given one".to_owned(),
        place: None,
    });
    each.collect()
}

/// Builds a diagnostic of an entry from code, severity, field, message and help.
type Describe<'d> = dyn Fn(&'static str, Severity, String, String, &str) -> Diagnostic + 'd;

/// With resolution NONE a connection goes to the address that the client asked for.
fn unused(entry: &ServiceEntry, diagnostic: &Describe<'_>) -> Option<Diagnostic> {
    let field = match (entry.selector.is_some(), entry.endpoints.is_empty()) {
        _ if entry.resolution != Resolution::None => return None,
        (true, _) => "spec.workloadSelector",
        (false, false) => "spec.endpoints",
        (false, true) => return None,
    };
    Some(diagnostic(
        code::UNUSED_WORKLOADS,
        Severity::Warning,
        field.to_owned(),
        "with resolution NONE connections go to the address that the client asked for, so workloads of the entry are not used"
            .to_owned(),
        "set spec.resolution to STATIC, or to DNS where workloads have hostnames; or remove the field",
    ))
}

/// Without endpoints the hosts that an entry has are resolved, which DNS does not do for a wildcard.
fn wildcards(entry: &ServiceEntry, diagnostic: &Describe<'_>, has: &dyn Fn(&Str) -> bool) -> Vec<Diagnostic> {
    let by_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if !by_dns || !entry.endpoints.is_empty() || entry.selector.is_some() {
        return Vec::new();
    }
    let wildcards = entry.hosts.iter().enumerate().filter(|(_, host)| host.starts_with('*') && has(host));
    let each = wildcards.map(|(n, host)| {
        diagnostic(
            code::WILDCARD_BY_DNS,
            Severity::Warning,
            format!("spec.hosts[{n}]"),
            format!("DNS has no addresses for {host:?}, so connections to it fail"),
            "name the hosts, give endpoints, or set spec.resolution to NONE, or to DYNAMIC_DNS with a waypoint",
        )
    });
    each.collect()
}

/// With resolution DYNAMIC_DNS a request names its host, and so does a client of TLS; any other stream names none.
fn streams_by_name(entry: &ServiceEntry, diagnostic: &Describe<'_>) -> Vec<Diagnostic> {
    if entry.resolution != Resolution::DynamicDns {
        return Vec::new();
    }
    let is_of_streams = |port: &ServiceEntryPort| {
        let protocol = PortProtocol::of_entry(&port.protocol);
        // Of UDP a waypoint gets nothing.
        !port.protocol.eq_ignore_ascii_case("UDP")
            && matches!(protocol, PortProtocol::Tcp | PortProtocol::OtherTcp)
    };
    let ports = entry.ports.iter().enumerate().filter(|(_, port)| is_of_streams(port));
    let each = ports.map(|(n, port)| {
        diagnostic(
            code::STREAMS_BY_NAME,
            Severity::Warning,
            format!("spec.ports[{n}]"),
            format!(
                "with resolution DYNAMIC_DNS a waypoint leads requests and TLS to the host that they name, and port {} \
                 is neither: connections to it fail",
                port.number
            ),
            "name the hosts and set spec.resolution to DNS, or make it a port of HTTP or TLS",
        )
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::facts::WorkloadEntrySpec;

    fn endpoint(address: EntryAddress) -> WorkloadEntrySpec {
        WorkloadEntrySpec { address, ..WorkloadEntrySpec::default() }
    }

    fn codes(entry: &ServiceEntry) -> Vec<(&'static str, String)> {
        diagnostics(entry, true, |_| None, |_| true).into_iter().map(|d| (d.code, d.field)).collect()
    }

    #[test]
    fn endpoints_that_are_not_sent_are_named_with_their_place() {
        let ip = |text: &str| EntryAddress::Ip(text.parse().unwrap_or([0, 0, 0, 0].into()));
        let host = |text: &str| EntryAddress::Hostname(text.into());
        let addresses = [
            ip("10.0.0.1"),
            EntryAddress::Invalid("10.0.0.1:80".into()),
            ip("10.0.0.1"),
            host("vm"),
            host(""),
            host("vm"),
            host(""),
            ip("10.0.0.2"),
        ];
        let entry = ServiceEntry {
            endpoints: addresses.map(endpoint).to_vec(),
            resolution: Resolution::Static,
            ..ServiceEntry::default()
        };
        let faults: Vec<(usize, String)> =
            endpoint_faults(&entry).into_iter().map(|(n, fault)| (n, fault.to_string())).collect();
        let same = |n: usize| format!("spec.endpoints[{n}] has the same address");
        let expected = [
            (1, "\"10.0.0.1:80\" is neither an IP address nor a hostname".to_owned()),
            (2, same(0)),
            (5, same(3)),
            (6, same(4)),
        ];
        assert_eq!(faults, expected);
        let (first, second) = ("spec.endpoints[1].address".to_owned(), "spec.endpoints[2]".to_owned());
        assert_eq!(codes(&entry)[..2], [("SE006", first), ("SE007", second)]);
    }

    #[test]
    fn workloads_that_resolution_none_leaves_out_are_told() {
        let entry = |resolution, selects: bool, endpoints: usize| ServiceEntry {
            resolution,
            selector: selects.then(Default::default),
            endpoints: vec![endpoint(EntryAddress::Hostname("vm".into())); endpoints],
            ..ServiceEntry::default()
        };
        let told = |field: &str| vec![("SE008", field.to_owned())];
        assert_eq!(codes(&entry(Resolution::None, true, 0)), told("spec.workloadSelector"));
        assert_eq!(codes(&entry(Resolution::None, false, 1)), told("spec.endpoints"));
        assert_eq!(codes(&entry(Resolution::None, false, 0)), []);
        for resolution in [Resolution::Static, Resolution::Dns, Resolution::DynamicDns] {
            assert_eq!(codes(&entry(resolution, true, 1)), []);
        }
    }

    #[test]
    fn ports_of_streams_of_hosts_that_requests_name_are_told() {
        let entry = |resolution| ServiceEntry {
            hosts: vec!["*.example.com".into()],
            resolution,
            ports: ["HTTP", "TLS", "https", "TCP", "MYSQL", "GRPC", "UDP", ""]
                .into_iter()
                .zip(1..)
                .map(|(protocol, number)| ServiceEntryPort {
                    number,
                    protocol: protocol.into(),
                    ..ServiceEntryPort::default()
                })
                .collect(),
            ..ServiceEntry::default()
        };
        let told: Vec<_> = (3..5).map(|n| ("SE010", format!("spec.ports[{n}]"))).collect();
        assert_eq!(codes(&entry(Resolution::DynamicDns)), told);
        assert_eq!(codes(&entry(Resolution::None)), []);
    }

    #[test]
    fn wildcards_that_dns_does_not_resolve_are_told() {
        let entry = |resolution, endpoints: usize| ServiceEntry {
            hosts: vec!["a.com".into(), "*.com".into(), "*".into()],
            resolution,
            endpoints: vec![endpoint(EntryAddress::Hostname("vm".into())); endpoints],
            ..ServiceEntry::default()
        };
        let told = vec![("SE009", "spec.hosts[1]".to_owned()), ("SE009", "spec.hosts[2]".to_owned())];
        assert_eq!(codes(&entry(Resolution::Dns, 0)), told);
        assert_eq!(codes(&entry(Resolution::DnsRoundRobin, 0)), told);
        assert_eq!(codes(&entry(Resolution::Dns, 1)), []);
        assert_eq!(
            codes(&ServiceEntry { selector: Some(Default::default()), ..entry(Resolution::Dns, 0) }),
            []
        );
        for resolution in [Resolution::None, Resolution::DynamicDns, Resolution::Static] {
            assert_eq!(codes(&entry(resolution, 0)), []);
        }
    }
}
