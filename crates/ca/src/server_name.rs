//! Names that a serving certificate may have.

use crate::identity::Identity;
use std::net::IpAddr;

/// Longest DNS name, in bytes.
const MAX_BYTES: usize = 253;

/// Tells whether `name` can stand among the names of a server's certificate: an address, a SPIFFE id,
/// or what looks like a DNS name.
pub(crate) fn is_server_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || Identity::parse(name).is_ok() || is_dns_name(name)
}

fn is_dns_name(name: &str) -> bool {
    let dns = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*');
    !name.is_empty() && name.len() <= MAX_BYTES && name.bytes().all(dns)
}

/// Returns the host of `host:port`, `[address]:port`, or of a host alone, if a certificate can be for
/// it.
pub fn host_of(address: &str) -> Option<&str> {
    let alone = |host: &str| host.parse::<IpAddr>().is_ok() || is_dns_name(host);
    if alone(address) {
        return Some(address);
    }
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<IpAddr>().is_ok().then_some(host),
        // An IPv6 address with a port stands in brackets.
        None => (alone(host) && !host.contains(':')).then_some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_an_address_is_what_a_certificate_can_be_for() {
        for (address, host) in [
            ("istiod.istio-system.svc:15012", Some("istiod.istio-system.svc")),
            ("control.example.org", Some("control.example.org")),
            ("10.0.0.1:15012", Some("10.0.0.1")),
            ("[fd00::1]:15012", Some("fd00::1")),
            ("fd00::1", Some("fd00::1")),
            ("", None),
            (":15012", None),
            ("host:", None),
            ("host:port", None),
            ("host:99999", None),
            ("[host]:15012", None),
            ("two words:15012", None),
            ("https://host:15012", None),
            ("spiffe://td/ns/a/sa/b", None),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }
}
