//! Hosts, as settings and certificates have them.

use std::net::IpAddr;

/// Longest DNS name, in bytes.
const MAX_NAME: usize = 253;

/// Longest DNS label, in bytes.
const MAX_LABEL: usize = 63;

/// Tells whether `name` looks like a DNS name; it may have wildcards.
pub fn is_dns_name(name: &str) -> bool {
    let dns = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*');
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(dns)
}

/// Tells whether `text` is a DNS label as Kubernetes wants it for the names of namespaces (RFC 1123, lower
/// case).
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= MAX_LABEL
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
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
